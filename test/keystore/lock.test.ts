import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { takeLock } from '../../src/keystore/lock.js';
import { temporaryFolder } from '../support/cli.js';
import { addKey, codeOf, errorOf, filesOf, filesOfKey, newStore } from './support.js';

interface Holder {
  token: string;
  pid: number;
  started: string;
  machine: string;
}

const lockPath = (folder: string) => join(folder, '.bot.lock');
const holderOf = (folder: string) => JSON.parse(readFileSync(lockPath(folder), 'utf8')) as Holder;
const SHORT = { waitMs: 120 };

/** What the lock file of another holder says, made from a real one. */
async function plant(folder: string, changes: Partial<Holder>): Promise<string> {
  const lock = await takeLock(folder, 'bot', SHORT);
  const content = JSON.stringify({ ...holderOf(folder), token: 'another', ...changes });
  await lock.release();
  writeFileSync(lockPath(folder), content);
  return content;
}

function deadPid(): number {
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  return pid;
}

const children: { kill(): boolean }[] = [];
afterEach(() => {
  vi.useRealTimers();
  for (const child of children.splice(0)) child.kill();
});

function livePid(): number {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  children.push(child);
  if (child.pid === undefined) throw new Error('no child process');
  return child.pid;
}

const age = (path: string, seconds: number) =>
  utimesSync(path, Date.now() / 1000 - seconds, Date.now() / 1000 - seconds);

describe('a lock', () => {
  it('stands in the folder while it is held, with nothing beside it, and not afterwards', async () => {
    const folder = temporaryFolder();
    const lock = await takeLock(folder, 'Bot', SHORT);
    expect(readdirSync(folder)).toEqual(['.bot.lock']);
    expect(holderOf(folder).pid).toBe(process.pid);
    await lock.check();
    await lock.release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('keeps a second taker out, who says who holds it', async () => {
    const folder = temporaryFolder();
    const lock = await takeLock(folder, 'bot', SHORT);
    const error = await errorOf(takeLock(folder, 'BOT', SHORT));
    expect(error.code).toBe('ERR_LOCKED');
    expect(error.message).toContain(`pid ${process.pid}`);
    expect(error.hint).toContain('.bot.lock');
    await lock.release();
    await (await takeLock(folder, 'bot', SHORT)).release();
  });

  it('is waited for', async () => {
    const folder = temporaryFolder();
    const lock = await takeLock(folder, 'bot', SHORT);
    const second = takeLock(folder, 'bot', { waitMs: 10_000 });
    setTimeout(() => void lock.release(), 60);
    await (await second).release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('ends the wait when the user breaks it off', async () => {
    const folder = temporaryFolder();
    const lock = await takeLock(folder, 'bot', SHORT);
    const abort = new AbortController();
    const second = takeLock(folder, 'bot', { waitMs: 60_000, signal: abort.signal });
    setTimeout(() => abort.abort(), 60);
    expect(await codeOf(second)).toBe('ERR_INTERRUPTED');
    await lock.release();
  });

  it('lets twenty takers in one after the other, also where each keeps sweeping up', async () => {
    const store = newStore({ lockWaitMs: 30_000 });
    let inside = 0;
    const rounds = Array.from({ length: 20 }, (_, round) =>
      store.withLock('bot', async () => {
        inside += 1;
        expect(inside).toBe(1);
        await new Promise((resolve) => setTimeout(resolve, round % 3));
        inside -= 1;
      }),
    );
    await Promise.all(rounds);
    expect(filesOf(store)).toEqual([]);
  });

  it('is told to be lost when its file is gone, or another’s', async () => {
    const folder = temporaryFolder();
    const lock = await takeLock(folder, 'bot', SHORT);
    const mine = readFileSync(lockPath(folder));
    rmSync(lockPath(folder));
    const error = await errorOf(lock.check());
    expect(error.code).toBe('ERR_LOCK_LOST');
    expect(error.message).toContain(lockPath(folder));
    writeFileSync(lockPath(folder), mine.subarray(1));
    expect(await codeOf(lock.check())).toBe('ERR_LOCK_LOST');
    await lock.release();
    expect(existsSync(lockPath(folder))).toBe(true);
  });

  it('is touched while it is held', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const folder = temporaryFolder();
    const lock = await takeLock(folder, 'bot', SHORT);
    age(lockPath(folder), 50);
    vi.advanceTimersByTime(10_000);
    const { statSync } = await import('node:fs');
    await vi.waitFor(() => expect(Date.now() - statSync(lockPath(folder)).mtimeMs).toBeLessThan(30_000));
    await lock.release();
  });
});

describe('the lock of a holder that is gone', () => {
  it.each<[string, () => Partial<Holder>]>([
    ['died', () => ({ pid: deadPid() })],
    ['died, its pid being another’s now', () => ({ started: '1' })],
  ])('who %s is taken at once', async (_how, changes) => {
    const folder = temporaryFolder();
    await plant(folder, changes());
    const lock = await takeLock(folder, 'bot', { waitMs: 0 });
    expect(holderOf(folder).pid).toBe(process.pid);
    await lock.release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('is not taken from a process that runs', async () => {
    const folder = temporaryFolder();
    const content = await plant(folder, { pid: livePid(), started: '' });
    expect(await codeOf(takeLock(folder, 'bot', SHORT))).toBe('ERR_LOCKED');
    expect(readFileSync(lockPath(folder), 'utf8')).toBe(content);
  });

  it('is taken, where nobody can tell when that process started, a minute after its last sign of life', async () => {
    const folder = temporaryFolder();
    await plant(folder, { pid: livePid(), started: '' });
    age(lockPath(folder), 90);
    await (await takeLock(folder, 'bot', SHORT)).release();
  });

  it.each<[string, string | null]>([
    ['of another machine', null],
    ['that nobody can read', 'noise'],
    ['that is JSON of another kind', '[]'],
    ['with a pid that is none', '{"token":"t","pid":-1,"started":"","machine":"m"}'],
    ['without a machine', '{"token":"t","pid":1,"started":""}'],
    ['that is empty', ''],
  ])('%s is taken a minute after its last sign of life, not before', async (_what, content) => {
    const folder = temporaryFolder();
    if (content === null) await plant(folder, { machine: 'elsewhere' });
    else writeFileSync(lockPath(folder), content);
    const error = await errorOf(takeLock(folder, 'bot', SHORT));
    expect(error.code).toBe('ERR_LOCKED');
    if (content === null) expect(error.hint).toContain('another machine');
    age(lockPath(folder), 50);
    expect(await codeOf(takeLock(folder, 'bot', SHORT))).toBe('ERR_LOCKED');
    age(lockPath(folder), 70);
    await (await takeLock(folder, 'bot', { waitMs: 0 })).release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('is taken by one alone of many who come at once', async () => {
    for (let round = 0; round < 10; round += 1) {
      const folder = temporaryFolder();
      await plant(folder, { pid: deadPid() });
      let inside = 0;
      const takers = Array.from({ length: 8 }, async () => {
        const lock = await takeLock(folder, 'bot', { waitMs: 20_000 });
        inside += 1;
        expect(inside).toBe(1);
        await lock.check();
        await new Promise((resolve) => setTimeout(resolve, 1));
        await lock.check();
        inside -= 1;
        await lock.release();
      });
      await Promise.all(takers);
      expect(readdirSync(folder)).toEqual([]);
    }
  });

  it('is taken also where the one who was clearing it away died, too', async () => {
    const store = newStore();
    await addKey(store, 'bot');
    const dead = deadPid();
    const content = await plant(store.folder, { pid: dead });
    const { createHash } = await import('node:crypto');
    const right = (of: string) =>
      join(store.folder, `.bot.lock.${createHash('sha256').update(of).digest('hex').slice(0, 12)}.tmp`);
    const second = JSON.stringify({ ...JSON.parse(content), token: 'second' });
    writeFileSync(right(content), second);
    writeFileSync(right(second), JSON.stringify({ ...JSON.parse(content), token: 'third' }));
    await store.withLock('bot', async () => {});
    expect(filesOf(store)).toEqual(filesOfKey('bot'));
  });

  it('is left alone while somebody who runs is clearing it away', async () => {
    const folder = temporaryFolder();
    const content = await plant(folder, { pid: deadPid() });
    const { createHash } = await import('node:crypto');
    const right = join(folder, `.bot.lock.${createHash('sha256').update(content).digest('hex').slice(0, 12)}.tmp`);
    writeFileSync(right, JSON.stringify({ ...JSON.parse(content), pid: process.pid }));
    expect(await codeOf(takeLock(folder, 'bot', SHORT))).toBe('ERR_LOCKED');
    expect(readFileSync(right, 'utf8')).toContain(String(process.pid));
  });
});

describe('what stands in the place of a lock', () => {
  it('and is a link that leads nowhere ends in a refusal, not in an endless wait', async () => {
    const folder = temporaryFolder();
    symlinkSync('nowhere', lockPath(folder));
    expect(await codeOf(takeLock(folder, 'bot', SHORT))).toBe('ERR_LOCKED');
  });

  it('and is a folder is an error that names it', async () => {
    const folder = temporaryFolder();
    mkdirSync(lockPath(folder));
    const error = await errorOf(takeLock(folder, 'bot', SHORT));
    expect(error.code).toBe('ERR_KEYSTORE_IO');
    expect(error.message).toContain('.bot.lock');
  });

  it('cannot be made in a folder that is not there', async () => {
    const error = await errorOf(takeLock(join(temporaryFolder(), 'gone'), 'bot', SHORT));
    expect(error.code).toBe('ERR_KEYSTORE_IO');
    expect(error.message).toContain('there is no such file or folder');
  });
});

it('a lock that is lost in the middle changes nothing more', async () => {
  const store = newStore();
  const { record } = await addKey(store, 'bot');
  const before = readFileSync(store.files('bot').record, 'utf8');
  const stolen = () => writeFileSync(join(store.folder, '.bot.lock'), 'another’s');
  const writing = store.withLock('bot', async (locked) => {
    stolen();
    await locked.save({ ...record, state: 'retired' });
  });
  expect(await codeOf(writing)).toBe('ERR_LOCK_LOST');
  rmSync(join(store.folder, '.bot.lock'));
  const changing = store.withLock('bot', async (locked) => {
    stolen();
    await locked.change([{ do: 'replace', file: 'bot.json', content: 'x' }], { action: 'test' });
  });
  expect(await codeOf(changing)).toBe('ERR_LOCK_LOST');
  rmSync(join(store.folder, '.bot.lock'));
  expect(readFileSync(store.files('bot').record, 'utf8')).toBe(before);
  expect(filesOf(store)).toEqual(filesOfKey('bot'));
});
