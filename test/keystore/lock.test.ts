import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { takeLock } from '../../src/keystore/lock.js';
import { temporaryFolder } from '../support/cli.js';
import { codeOf, errorOf } from '../support/outcomes.js';
import { addKey, filesOf, filesOfKey, newStore } from './support.js';

interface Holder {
  token: string;
  pid: number;
  started: string;
  machine: string;
}

const lockPath = (folder: string) => join(folder, '.bot.lock');
const holderOf = (folder: string) => JSON.parse(readFileSync(lockPath(folder), 'utf8')) as Holder;
/** A living holder is waited for shortly, and no lease ends within a test. */
const SHORT = { waitMs: 120, leaseMs: 3_600_000 };
/** A lease that ends within a test. */
const LEASE = { waitMs: 60, leaseMs: 400 };
const HOUR_MS = 3_600_000;

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

const setTime = (path: string, ms: number) => utimesSync(path, ms / 1000, ms / 1000);

/** Renews the lease of a planted lock until the test ends, with the times that `next` returns. */
function keepRenewing(path: string, next: (count: number) => number): void {
  let count = 0;
  const timer = setInterval(() => setTime(path, next(count++)), 50);
  children.push({ kill: () => timer.close() !== undefined });
}

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

  it('is not taken after an interruption, so that work which went on is not stored', async () => {
    const folder = temporaryFolder();
    expect(await codeOf(takeLock(folder, 'bot', { ...SHORT, signal: AbortSignal.abort() }))).toBe('ERR_INTERRUPTED');
    expect(readdirSync(folder)).toEqual([]);
  });

  it('ends the wait when the user interrupts it', async () => {
    const folder = temporaryFolder();
    const lock = await takeLock(folder, 'bot', SHORT);
    const abort = new AbortController();
    const second = takeLock(folder, 'bot', { ...SHORT, waitMs: 60_000, signal: abort.signal });
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

  it('has its lease renewed while it is held, also where the clock stands still or is set back', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] });
    const folder = temporaryFolder();
    const lock = await takeLock(folder, 'bot', SHORT);
    const times = new Set<number>();
    const renewed = async () => {
      await vi.waitFor(() => expect(times).not.toContain(statSync(lockPath(folder)).mtimeMs));
      times.add(statSync(lockPath(folder)).mtimeMs);
    };
    vi.advanceTimersByTime(5_000);
    await renewed();
    const now = Date.now();
    vi.advanceTimersByTime(5_000);
    vi.setSystemTime(now);
    await renewed();
    vi.setSystemTime(now - HOUR_MS);
    vi.advanceTimersByTime(5_000);
    await renewed();
    await lock.check();
    await renewed();
    await lock.release();
  });

  it.each([-HOUR_MS, HOUR_MS])(
    'ends the wait when it was promised, with the clock set by %d ms meanwhile',
    async (step) => {
      const folder = temporaryFolder();
      const lock = await takeLock(folder, 'bot', SHORT);
      const startedMs = performance.now();
      const second = codeOf(takeLock(folder, 'bot', { ...SHORT, waitMs: 300 }));
      vi.useFakeTimers({ toFake: ['Date'] });
      vi.setSystemTime(Date.now() + step);
      expect(await second).toBe('ERR_LOCKED');
      expect(performance.now() - startedMs).toBeGreaterThanOrEqual(300);
      await lock.release();
    },
  );
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

  it.skipIf(process.platform !== 'linux')('is not taken from a process that runs, whatever its lease', async () => {
    const folder = temporaryFolder();
    const pid = livePid();
    const started = readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')[21] as string;
    const content = await plant(folder, { pid, started });
    expect(await codeOf(takeLock(folder, 'bot', { waitMs: 300, leaseMs: 50 }))).toBe('ERR_LOCKED');
    expect(readFileSync(lockPath(folder), 'utf8')).toBe(content);
  });

  it('is taken, where nobody can tell when that process started, once its lease is over', async () => {
    const folder = temporaryFolder();
    await plant(folder, { pid: livePid(), started: '' });
    await (await takeLock(folder, 'bot', LEASE)).release();
  });

  it.each<[string, string | null]>([
    ['of another host', null],
    ['that nobody can read', 'noise'],
    ['that is JSON of another kind', '[]'],
    ['with a pid that is none', '{"token":"t","pid":-1,"started":"","machine":"m"}'],
    ['without a machine', '{"token":"t","pid":1,"started":""}'],
    ['that is empty', ''],
  ])('%s is taken once its lease is over, not before', async (_what, content) => {
    const folder = temporaryFolder();
    if (content === null) await plant(folder, { machine: 'elsewhere' });
    else writeFileSync(lockPath(folder), content);
    const error = await errorOf(takeLock(folder, 'bot', { waitMs: 0, leaseMs: 1 }));
    expect(error.code).toBe('ERR_LOCKED');
    if (content === null) expect(error.hint).toContain('another host');
    const waits: string[] = [];
    const startedMs = performance.now();
    await (await takeLock(folder, 'bot', { ...LEASE, onWait: (message) => waits.push(message) })).release();
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(LEASE.leaseMs);
    expect(waits).toEqual([expect.stringContaining(lockPath(folder))]);
    expect(readdirSync(folder)).toEqual([]);
  });

  it.each([
    ['long past', -9000 * HOUR_MS],
    ['an hour past', -HOUR_MS],
    ['an hour ahead', HOUR_MS],
  ])('is judged by what changes, not by a file time that is %s', async (_when, offsetMs) => {
    const folder = temporaryFolder();
    const content = await plant(folder, { machine: 'elsewhere' });
    setTime(lockPath(folder), Date.now() + offsetMs);
    expect(await codeOf(takeLock(folder, 'bot', { waitMs: 0, leaseMs: 1 }))).toBe('ERR_LOCKED');
    expect(readFileSync(lockPath(folder), 'utf8')).toBe(content);
    await (await takeLock(folder, 'bot', LEASE)).release();
  });

  it.each<[string, (count: number) => number]>([
    ['goes', (count) => Date.now() + count * 50],
    ['is an hour behind', (count) => Date.now() - HOUR_MS + count * 50],
    ['runs backwards', (count) => Date.now() + HOUR_MS - count * 2_000],
  ])('is not taken while its lease is renewed by a clock that %s', async (_how, next) => {
    const folder = temporaryFolder();
    const content = await plant(folder, { machine: 'elsewhere' });
    keepRenewing(lockPath(folder), next);
    expect(await codeOf(takeLock(folder, 'bot', { waitMs: 1_000, leaseMs: 500 }))).toBe('ERR_LOCKED');
    expect(readFileSync(lockPath(folder), 'utf8')).toBe(content);
  });

  it('is taken also where the one who was clearing it away is of another host, and died', async () => {
    const folder = temporaryFolder();
    const content = await plant(folder, { pid: deadPid() });
    const right = join(folder, `.bot.lock.${createHash('sha256').update(content).digest('hex').slice(0, 12)}.tmp`);
    writeFileSync(right, JSON.stringify({ ...JSON.parse(content), machine: 'elsewhere' }));
    await (await takeLock(folder, 'bot', LEASE)).release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('is waited for no longer than the user wants', async () => {
    const folder = temporaryFolder();
    await plant(folder, { machine: 'elsewhere' });
    const abort = new AbortController();
    const onWait = () => abort.abort();
    const taking = takeLock(folder, 'bot', { waitMs: 60, onWait, signal: abort.signal });
    expect(await codeOf(taking)).toBe('ERR_INTERRUPTED');
  });

  it('is taken by only one of many who come at once', async () => {
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
    const right = (of: string) =>
      join(store.folder, `.bot.lock.${createHash('sha256').update(of).digest('hex').slice(0, 12)}.tmp`);
    const second = JSON.stringify({ ...JSON.parse(content), token: 'second' });
    writeFileSync(right(content), second);
    writeFileSync(right(second), JSON.stringify({ ...JSON.parse(content), token: 'third' }));
    await store.withLock('bot', async () => {});
    expect(filesOf(store)).toEqual(filesOfKey('bot'));
  });

  it('is left as it is while a running process is clearing it away', async () => {
    const folder = temporaryFolder();
    const content = await plant(folder, { pid: deadPid() });
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

describe('the lock of a key pair', () => {
  const FINGERPRINT = '9c:6d:c9:02:fd:9f:75:6e:14:bb:71:c5:74:95:86:c8';

  it('keeps the same pair under another name out, and other pairs and names not', async () => {
    const store = newStore();
    await store.withLock('one', () =>
      store.withKeyLock(FINGERPRINT, async () => {
        const error = await errorOf(
          store.withLock('two', () => store.withKeyLock(FINGERPRINT, async () => expect.unreachable())),
        );
        expect(error).toMatchObject({ code: 'ERR_LOCKED', message: expect.stringContaining(FINGERPRINT) });
        await store.withLock('two', () => store.withKeyLock(FINGERPRINT.replace('9c', '00'), async () => {}));
      }),
    );
    await store.withLock('two', () => store.withKeyLock(FINGERPRINT, async () => {}));
    expect(filesOf(store)).toEqual([]);
  });

  it('that a dead process left is tidied', async () => {
    const store = newStore();
    await store.withLock('bot', async () => {});
    const content = await plant(store.folder, { pid: deadPid() });
    rmSync(lockPath(store.folder));
    writeFileSync(join(store.folder, `.${FINGERPRINT.replaceAll(':', '')}.pub.lock`), content);
    await store.tidy();
    expect(filesOf(store)).toEqual([]);
  });
});

describe('the locks of several names', () => {
  it('are taken in one order, whatever order they are named in', async () => {
    const store = newStore({ lockWaitMs: 20_000 });
    const rounds = Array.from({ length: 20 }, (_, round) =>
      store.withLocks(round % 2 === 0 ? ['a', 'b', 'C'] : ['C', 'b', 'a'], async (keys) =>
        keys.map(({ name }) => name),
      ),
    );
    const seen = await Promise.all(rounds);
    expect(seen[0]).toEqual(['a', 'b', 'C']);
    expect(seen[1]).toEqual(['C', 'b', 'a']);
    expect(filesOf(store)).toEqual([]);
  });

  it('are released where one of them cannot be taken', async () => {
    const store = newStore();
    await store.withLock('b', async () => {
      expect(await codeOf(store.withLocks(['a', 'b'], async () => {}))).toBe('ERR_LOCKED');
      await store.withLock('a', async () => {});
    });
  });

  it('all count when a change is made', async () => {
    const store = newStore();
    const work = store.withLocks(['a', 'bot'], async ([a]) => {
      writeFileSync(lockPath(store.folder), 'another’s');
      await a?.change([{ do: 'create', file: 'x', content: 'x' }]);
    });
    expect(await codeOf(work)).toBe('ERR_LOCK_LOST');
    expect(existsSync(join(store.folder, 'x'))).toBe(false);
  });
});
