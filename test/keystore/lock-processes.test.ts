import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { temporaryFolder } from '../support/cli.js';
import { CONTAINER, canUnshare, FOREIGN_PROC, lockProcesses } from '../support/lock-processes.js';

/*
 * Locks between real processes: some in PID namespaces of their own, as containers have them, where none sees whether
 * another one runs. Every clock but the monotonic one is free to be wrong.
 */

vi.setConfig({ testTimeout: 120_000 });

const isolates = await canUnshare();
const { worker, running, startWorker } = lockProcesses();

const lockFile = (folder: string) => join(folder, '.bot.lock');

describe.skipIf(!isolates)('between containers (needs unshare --pid)', () => {
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
      const words = [process.execPath, worker.path, folder, '{}'].map((word) => `'${word}'`).join(' ');
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
