import { createHash, randomBytes } from 'node:crypto';
import { link, lutimes, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeribitKeysError } from '../errors.js';
import { errnoOf, explaining } from './file-errors.js';
import { lacksHardLinks, readFileOrNull, TEMPORARY_SUFFIX, temporaryPath, writeFlushed } from './files.js';
import { type Fate, fateOf, type Holder, parseHolder, thisMachine, thisProcess } from './holder.js';
import { foldName } from './names.js';

/*
 * One lock file per name, `.<name>.lock`, made by linking a complete file into place: it is there with all its content or
 * not at all. It is taken from a holder only when that has ended:
 *
 *   - A process of this host, boot and PID namespace has ended when its pid is gone, or names a process that started at
 *     another time. While it runs it keeps the lock, however long it is stopped.
 *   - Of any other process (another host, another container) nothing is known but its lease: it changes the time of its
 *     lock file every few seconds. The lease is over when whoever waits has watched the file for a minute without a change.
 *
 * Times are compared with each other only: no clock is compared with another host's, with a file's time or across a step
 * of the clock, and a minute is counted by the monotonic clock, in the moments in which the watcher itself ran.
 *
 *   free --link--> held --unlink--> free
 *                   |  holder ended: only who has the right to this very content may unlink it
 *                   +-------------------------------------------------------------------------> free
 *
 * The right is a lock file itself, named after the content: nobody's newer lock can be hit by a slow process.
 *
 * Why no package: proper-lockfile (the well-kept one) compares the file's time with the local clock and takes the lock
 * from a process that is only stopped, and the kernel's own locks (flock, fcntl) need a native addon in Node.js.
 */

const RENEW_EVERY_MS = 5_000;
/** How long a lease is watched without a change before it counts as over. */
const LEASE_MS = 60_000;
/** The longest time between two looks that counts as watched: a watcher that was stopped itself saw nothing. */
const LONGEST_LOOK_MS = 1_000;
const POLL_MS = 40;
const PATIENT_POLL_MS = 250;
/** The coarsest file times (FAT): a renewal moves the time by at least this much. */
const COARSEST_TIME_MS = 2_000;
/** How many locks of ended holders one taker clears before it waits like everybody else. */
const MAX_CLEARED = 8;

/** How long a lock that another process holds is waited for. */
export const DEFAULT_LOCK_WAIT_MS = 3_000;

/** The id of a lock file, and what it protects. */
export interface LockFile {
  readonly id: string;
  readonly what: string;
}

/** The id of the lock of a key pair. No key can have such a name, since it ends in `.pub`. */
export const KEY_LOCK = /^[0-9a-f]{32}\.pub$/;

/** The ids of locks of tokens: no names of keys either. */
export const TOKEN_LOCK = /\.token\.pub$/;

/** The lock under which the token of the key `name` is renewed. */
export const tokenLock = (name: string): LockFile => ({
  id: `${name}.token.pub`,
  what: `the token of the key "${name}"`,
});

/** The lock of the key pair with this fingerprint. */
export const keyLock = (fingerprint: string): LockFile => ({
  id: `${fingerprint.replaceAll(':', '')}.pub`,
  what: `the key pair ${fingerprint}`,
});

export interface Lock {
  /** Renews the lease. @throws `ERR_LOCK_LOST` where another process has taken the lock. Called before each change. */
  check(): Promise<void>;
  release(): Promise<void>;
}

/** What a lock file showed at one moment. */
interface LockContent {
  readonly content: string;
  readonly changedMs: number;
}

async function readLock(path: string): Promise<LockContent | null> {
  let changedMs = 0;
  const content = await readFileOrNull(path, undefined, ({ mtimeMs }) => {
    changedMs = mtimeMs;
  });
  return content === null ? null : { content: content.toString('utf8'), changedMs };
}

const isSame = (a: LockContent | null, b: LockContent | null) =>
  a?.content === b?.content && a?.changedMs === b?.changedMs;

/** What is known of the holder of a lock file, and whether the file was seen to change. */
interface Verdict {
  readonly fate: Fate;
  readonly changed: boolean;
}

type Watch = (path: string, sight: LockContent) => Promise<Verdict>;

/** Watches lock files: how long each one stays as it is, by a clock that nobody sets. */
function createWatch(leaseMs: number): Watch {
  const watched = new Map<string, { sight: LockContent; unchangedMs: number; lookedAtMs: number; changed: boolean }>();
  return async (path, sight) => {
    const nowMs = performance.now();
    const last = watched.get(path);
    const unchanged = last !== undefined && isSame(last.sight, sight);
    const unchangedMs = unchanged ? last.unchangedMs + Math.min(nowMs - last.lookedAtMs, LONGEST_LOOK_MS) : 0;
    const changed = last !== undefined && (last.changed || !unchanged);
    watched.set(path, { sight, unchangedMs, lookedAtMs: nowMs, changed });
    const fate = await fateOf(parseHolder(sight.content));
    return { fate: fate === 'unknown' && unchangedMs >= leaseMs ? 'ended' : fate, changed };
  };
}

/** Makes a lock file with all its content; returns false where there is one. */
async function createLock(path: string, content: string): Promise<boolean> {
  const temporary = temporaryPath(path);
  await writeFlushed(temporary, content, { flush: false });
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    // who holds the lock sweeps up temporary files, ours too
    if (errnoOf(error) === 'EEXIST' || errnoOf(error) === 'ENOENT') return false;
    if (!lacksHardLinks(error)) throw error;
  } finally {
    await rm(temporary, { force: true });
  }
  try {
    await writeFlushed(path, content, { flush: false });
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Removes the lock file at `path` where its holder has ended, as long as it is as it was `seen`. Returns what is known of
 * who holds it up: the holder, or another process that is removing it.
 */
async function clearEnded(
  path: string,
  seen: LockContent,
  taker: { readonly lockPath: string; readonly content: string; readonly watch: Watch },
): Promise<Verdict> {
  const verdict = await taker.watch(path, seen);
  if (verdict.fate !== 'ended') return verdict;
  const digest = createHash('sha256').update(seen.content).digest('hex').slice(0, 12);
  const right = `${taker.lockPath}.${digest}${TEMPORARY_SUFFIX}`;
  if (!(await createLock(right, taker.content))) {
    const other = await readLock(right);
    return other === null ? verdict : clearEnded(right, other, taker);
  }
  try {
    if (isSame(await readLock(path), seen)) await rm(path, { force: true });
  } finally {
    await rm(right, { force: true });
  }
  return verdict;
}

async function heldByAnother(holder: Holder | null, what: string, path: string): Promise<DeribitKeysError> {
  const elsewhere = holder !== null && holder.machine !== (await thisMachine());
  const who = holder === null ? 'another process' : `another process (pid ${holder.pid})`;
  const hint = elsewhere
    ? `it runs (or ran, before a restart) on another host or in another container: let it finish, then run the same command again (lock file: ${path})`
    : `let it finish, then run the same command again (lock file: ${path})`;
  return new DeribitKeysError('ERR_LOCKED', `${who} is working on ${what}`, { hint });
}

interface LockOptions {
  /**
   * How long a lock is waited for whose holder runs. One whose holder cannot be seen is watched until its lease is renewed
   * or over, at most a minute more; with 0 neither is waited for.
   */
  readonly waitMs?: number | undefined;
  /** Ends the wait with `ERR_INTERRUPTED`. */
  readonly signal?: AbortSignal | undefined;
  /** Called once where the wait goes on beyond `waitMs`, with a sentence that says what is waited for. */
  readonly onWait?: ((message: string) => void) | undefined;
  /** What the lock protects, for errors; `the key "<name>"` if left out. */
  readonly what?: string;
  readonly leaseMs?: number;
}

/**
 * Takes the lock of `name` in `folder`.
 * @throws `ERR_LOCKED` where another process keeps it longer than `waitMs`, `ERR_INTERRUPTED`, `ERR_KEYSTORE_IO`
 */
export async function takeLock(folder: string, name: string, options: LockOptions = {}): Promise<Lock> {
  const { waitMs = DEFAULT_LOCK_WAIT_MS, signal, onWait, what = `the key "${name}"`, leaseMs = LEASE_MS } = options;
  const path = join(folder, `.${foldName(name)}.lock`);
  const content = JSON.stringify(await thisProcess(randomBytes(12).toString('hex')));
  const taker = { lockPath: path, content, watch: createWatch(leaseMs) };
  const deadlineMs = performance.now() + waitMs;
  const interrupted = () =>
    new DeribitKeysError('ERR_INTERRUPTED', `interrupted while waiting for ${what}`, { maybeSent: false });
  // what was computed until now, such as an RSA key, is not stored after an interruption
  if (signal?.aborted) throw interrupted();

  await explaining(`lock ${what} in`, folder, async () => {
    let cleared = 0;
    let patient = false;
    for (;;) {
      const seen = await readLock(path);
      if (seen === null && (await createLock(path, content))) return;
      const { fate, changed } = seen === null ? { fate: 'runs', changed: true } : await clearEnded(path, seen, taker);
      if (fate === 'ended' && cleared < MAX_CLEARED) {
        cleared += 1;
        continue;
      }
      if (performance.now() >= deadlineMs) {
        const holder = seen === null ? null : parseHolder(seen.content);
        if (waitMs === 0 || fate !== 'unknown' || changed) throw await heldByAnother(holder, what, path);
        if (!patient)
          onWait?.(`waiting up to ${Math.ceil(leaseMs / 1000)} s: ${path} may belong to a process that ended`);
        patient = true;
      }
      await sleep(patient ? PATIENT_POLL_MS : POLL_MS, undefined, { signal }).catch(() => {
        throw interrupted();
      });
    }
  });

  const isMine = async () => (await readLock(path))?.content === content;
  let renewedMs = 0;
  const renew = async () => {
    // always a new time, even if the clock stands still or was set back
    renewedMs = Date.now() > renewedMs ? Date.now() : renewedMs + COARSEST_TIME_MS;
    await lutimes(path, renewedMs / 1000, renewedMs / 1000).catch(() => {});
  };
  const timer = setInterval(() => void renew(), RENEW_EVERY_MS);
  timer.unref();

  return {
    async check() {
      // first, so that a process which is about to take the lock sees a change
      await renew();
      if (await isMine()) return;
      throw new DeribitKeysError('ERR_LOCK_LOST', `the lock of ${what} was lost: ${path} is gone or another's`, {
        hint: 'nothing more was changed; see that no other process works on this key, then run the same command again',
      });
    },
    async release() {
      clearInterval(timer);
      if (await isMine().catch(() => false)) await rm(path, { force: true }).catch(() => {});
    },
  };
}
