import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { temporaryFolder } from '../support/cli.js';
import { canRun } from '../support/program.js';

/*
 * Locks between real processes: some in PID namespaces of their own, as containers have them, where none sees whether
 * another one runs. Every clock but the monotonic one is free to be wrong.
 */

vi.setConfig({ testTimeout: 120_000 });

const CONTAINER = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'] as const;
/** As `unshare` alone makes it: /proc shows the pids of the namespace outside. */
const FOREIGN_PROC = ['unshare', '--pid', '--fork', '--kill-child'] as const;
const canUnshare = await canRun(CONTAINER[0], ...CONTAINER.slice(1), 'true');

let worker = '';
const made = mkdtempSync(join(tmpdir(), 'deribit-keys-locks-'));
beforeAll(async () => {
  worker = join(made, 'lock-worker.mjs');
  const entry = new URL('../support/lock-worker.ts', import.meta.url).pathname;
  await build({
    entryPoints: [entry],
    outfile: worker,
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'error',
  });
});
afterAll(() => rmSync(made, { recursive: true, force: true }));

const running: { kill(signal: 'SIGKILL'): boolean }[] = [];
afterEach(() => {
  for (const child of running.splice(0)) child.kill('SIGKILL');
});

interface WorkerOptions {
  readonly waitMs?: number;
  readonly leaseMs?: number;
  readonly rounds?: number;
  /** How far its own clock is ahead. */
  readonly aheadMs?: number;
}

/** A process that takes the lock `bot` of a folder; its lines of output, and how to answer them. */
function startWorker(folder: string, within: readonly string[], options: WorkerOptions = {}) {
  const [command, ...words] = [...within, process.execPath, worker, folder, JSON.stringify(options)];
  const child = spawn(command as string, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  running.push(child);
  let text = '';
  child.stdout.on('data', (chunk) => {
    text += chunk;
  });
  const ended = once(child, 'close').then(() => text.trim());
  const holds = vi.waitFor(() => expect(text).toContain('held'), { timeout: 60_000, interval: 5 });
  holds.catch(() => {});
  return { child, holds, ended, release: () => child.stdin.end() };
}

const lockFile = (folder: string) => join(folder, '.bot.lock');

describe.skipIf(!canUnshare)('between containers (needs unshare --pid)', () => {
  it.each([
    ['a /proc of its own', CONTAINER],
    ['the /proc of its host', FOREIGN_PROC],
  ])('a lock whose holder runs is not taken, by whoever has a clock 90 s ahead, with %s', async (_what, container) => {
    const folder = temporaryFolder();
    const holder = startWorker(folder, container);
    await holder.holds;
    const content = readFileSync(lockFile(folder), 'utf8');
    const takers = [container, []].map((within) =>
      startWorker(folder, within, { waitMs: 1_500, leaseMs: 60_000, aheadMs: 90_000 }),
    );
    // the holder renews its lease every 5 s: a taker that waits shorter watches until it sees that
    expect(await Promise.all(takers.map(({ ended }) => ended))).toEqual(['ERR_LOCKED', 'ERR_LOCKED']);
    expect(readFileSync(lockFile(folder), 'utf8')).toBe(content);
    holder.release();
    expect(await holder.ended).toBe('held\nreleased');
  });

  it.each([
    ['a /proc of its own', CONTAINER],
    ['the /proc of its host', FOREIGN_PROC],
  ])('a lock whose holder was killed is taken when its lease is over, with %s', async (_what, container) => {
    const folder = temporaryFolder();
    const holder = startWorker(folder, container);
    await holder.holds;
    holder.child.kill('SIGKILL');
    await holder.ended;
    utimesSync(lockFile(folder), Date.now() / 1000 + 86_400, Date.now() / 1000 + 86_400);
    const taker = startWorker(folder, container, { waitMs: 100, leaseMs: 1_500 });
    await taker.holds;
    taker.release();
    expect(await taker.ended).toBe('held\nreleased');
    expect(readdirSync(folder)).toEqual([]);
  });

  it('only one of many holds it at a time', async () => {
    const folder = temporaryFolder();
    const workers = [CONTAINER, FOREIGN_PROC, [], CONTAINER].map((within, index) =>
      startWorker(folder, within, { rounds: 10, waitMs: 60_000, aheadMs: index * 90_000 }),
    );
    // each writes a line as it takes and as it releases the lock, to one file: they never interleave
    expect(await Promise.all(workers.map(({ ended }) => ended))).toEqual(Array(4).fill('done'));
    const lines = readFileSync(join(folder, 'journal'), 'utf8').trim().split('\n');
    expect(lines).toHaveLength(80);
    for (let at = 0; at < lines.length; at += 2) {
      expect(lines[at]).toMatch(/^in /);
      expect(lines[at + 1]).toBe(lines[at]?.replace('in', 'out'));
    }
  });
});

describe('between processes of one host', () => {
  it.skipIf(process.platform !== 'linux')('a holder that is stopped keeps its lock beyond any lease', async () => {
    const folder = temporaryFolder();
    const holder = startWorker(folder, []);
    await holder.holds;
    holder.child.kill('SIGSTOP');
    const taker = startWorker(folder, [], { waitMs: 1_500, leaseMs: 200 });
    expect(await taker.ended).toBe('ERR_LOCKED');
    holder.child.kill('SIGCONT');
    holder.release();
    expect(await holder.ended).toBe('held\nreleased');
  });

  it.skipIf(process.platform !== 'linux')(
    'a holder that is dead has ended, although its parent never asks',
    async () => {
      const folder = temporaryFolder();
      const words = [process.execPath, worker, folder, '{}'].map((word) => `'${word}'`).join(' ');
      // the shell becomes a program that never waits for its children: the killed one stays as a zombie
      const script = `tail -f /dev/null | ${words} & exec sleep 600`;
      const { pid } = spawn('sh', ['-c', script], { stdio: 'ignore', detached: true });
      if (pid === undefined) throw new Error('no child process');
      running.push({ kill: () => process.kill(-pid, 'SIGKILL') });
      const holder = await vi.waitFor(
        () => JSON.parse(readFileSync(lockFile(folder), 'utf8')) as { pid: number },
        60_000,
      );
      await vi.waitFor(() => expect(readdirSync(folder)).toEqual(['.bot.lock']), 60_000);
      process.kill(holder.pid, 'SIGKILL');
      await vi.waitFor(() => expect(readFileSync(`/proc/${holder.pid}/stat`, 'utf8')).toContain(') Z '), 60_000);
      const taker = startWorker(folder, [], { waitMs: 10_000 });
      await taker.holds;
      taker.release();
      expect(await taker.ended).toBe('held\nreleased');
      expect(readdirSync(folder)).toEqual([]);
    },
  );
});
