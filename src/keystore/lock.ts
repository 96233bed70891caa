import { createHash, randomBytes } from 'node:crypto';
import { link, readFile, readlink, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeribitKeysError } from '../errors.js';
import {
  errnoOf,
  explaining,
  lacksHardLinks,
  readFileOrNull,
  TEMPORARY_SUFFIX,
  temporaryPath,
  writeFlushed,
} from './files.js';
import { foldName } from './names.js';

/*
 * One lock file a name, `.<name>.lock`, made by linking a whole file into place: it is there with all its content or
 * not at all. Who holds it touches it now and then. It may be taken from a holder that is gone: a process of this
 * machine that no longer runs, or one of another machine that has not touched it for a minute.
 *
 *   free --link--> held --unlink--> free
 *                   |  holder gone: only who has the right to this very content may unlink it
 *                   +-------------------------------------------------------------------------> free
 *
 * The right is a lock file itself, named after the content: nobody's newer lock can be hit by a slow process.
 */

const TOUCH_EVERY_MS = 10_000;
const ABANDONED_AFTER_MS = 60_000;
const POLL_MS = 40;
/** How many locks of dead holders one taker clears before it waits like everybody else. */
const MAX_CLEARED = 8;

/** How long a lock that another process holds is waited for. */
export const DEFAULT_LOCK_WAIT_MS = 3_000;

interface Holder {
  readonly token: string;
  readonly pid: number;
  /** When the process started, so that a reused pid is not taken for it; empty where the platform does not tell. */
  readonly started: string;
  /** The machine, its boot and the pid namespace: pids can be compared within one of these alone. */
  readonly machine: string;
}

export interface Lock {
  /** @throws `ERR_LOCK_LOST` where another process has taken the lock. Called before each change. */
  check(): Promise<void>;
  release(): Promise<void>;
}

async function textOr(fallback: string, read: () => Promise<string>): Promise<string> {
  try {
    return (await read()).trim();
  } catch {
    return fallback;
  }
}

let machineOnce: Promise<string> | undefined;
function thisMachine(): Promise<string> {
  machineOnce ??= (async () => {
    const boot = await textOr('', () => readFile('/proc/sys/kernel/random/boot_id', 'utf8'));
    const namespace = await textOr('', () => readlink('/proc/self/ns/pid'));
    return [hostname(), boot, namespace].join(' ');
  })();
  return machineOnce;
}

/** The process's start time in clock ticks: field 22 of /proc/PID/stat (proc(5)), counted behind the command name. */
async function startOf(pid: number): Promise<string> {
  const line = await textOr('', () => readFile(`/proc/${pid}/stat`, 'utf8'));
  return line.slice(line.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) === 'EPERM';
  }
}

function parseHolder(text: string): Holder | null {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null) return null;
    const { token, pid, started, machine } = value as Record<string, unknown>;
    if (typeof token !== 'string' || typeof started !== 'string' || typeof machine !== 'string') return null;
    return typeof pid === 'number' && Number.isInteger(pid) && pid > 0 ? { token, pid, started, machine } : null;
  } catch {
    return null;
  }
}

async function isAbandoned(path: string, holder: Holder | null): Promise<boolean> {
  if (holder !== null && holder.machine === (await thisMachine())) {
    if (!runs(holder.pid)) return true;
    const started = await startOf(holder.pid);
    if (started !== '' && holder.started !== '') return started !== holder.started;
  }
  try {
    return Date.now() - (await stat(path)).mtimeMs > ABANDONED_AFTER_MS;
  } catch {
    return false;
  }
}

const textAt = async (path: string) => (await readFileOrNull(path))?.toString('utf8') ?? null;

/** Makes a lock file with all its content, or gives false where there is one. */
async function place(path: string, content: string): Promise<boolean> {
  const temporary = temporaryPath(path);
  await writeFlushed(temporary, content);
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
    await writeFlushed(path, content);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** Removes the lock file at `path` whose holder is gone, as long as its content is the one that was seen. */
async function clearAbandoned(lockPath: string, path: string, seen: string, mine: string): Promise<void> {
  const digest = createHash('sha256').update(seen).digest('hex').slice(0, 12);
  const right = `${lockPath}.${digest}${TEMPORARY_SUFFIX}`;
  if (!(await place(right, mine))) {
    const other = await textAt(right);
    if (other !== null && (await isAbandoned(right, parseHolder(other))))
      await clearAbandoned(lockPath, right, other, mine);
    return;
  }
  try {
    if ((await textAt(path)) === seen) await rm(path, { force: true });
  } finally {
    await rm(right, { force: true });
  }
}

function lockedBy(holder: Holder | null, here: string, name: string, path: string): DeribitKeysError {
  const elsewhere = holder !== null && holder.machine !== here;
  const who = holder === null ? 'another process' : `another process (pid ${holder.pid})`;
  const hint = elsewhere
    ? `it runs on another machine or in another container, or did before a restart: its lock ${path} counts for a minute after its last sign of life`
    : `let it finish, then run the same command again (lock file: ${path})`;
  return new DeribitKeysError('ERR_LOCKED', `${who} is working on the key "${name}"`, { hint });
}

/** How the wait for a lock ends early. */
export interface LockOptions {
  readonly waitMs?: number;
  /** Ends the wait with `ERR_INTERRUPTED`. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Takes the lock of `name` in `folder`.
 * @throws `ERR_LOCKED` where another process keeps it longer than `waitMs`, `ERR_INTERRUPTED`, `ERR_KEYSTORE_IO`
 */
export async function takeLock(
  folder: string,
  name: string,
  { waitMs = DEFAULT_LOCK_WAIT_MS, signal }: LockOptions = {},
): Promise<Lock> {
  const path = join(folder, `.${foldName(name)}.lock`);
  const token = randomBytes(12).toString('hex');
  const machine = await thisMachine();
  const holder: Holder = { token, pid: process.pid, started: await startOf(process.pid), machine };
  const content = JSON.stringify(holder);
  const deadline = Date.now() + waitMs;

  await explaining('lock', path, async () => {
    let cleared = 0;
    for (;;) {
      const seen = await textAt(path);
      if (seen === null && (await place(path, content))) return;
      const other = seen === null ? null : parseHolder(seen);
      if (seen !== null && cleared < MAX_CLEARED && (await isAbandoned(path, other))) {
        await clearAbandoned(path, path, seen, content);
        cleared += 1;
        continue;
      }
      if (Date.now() >= deadline) throw lockedBy(other, machine, name, path);
      await sleep(POLL_MS, undefined, { signal }).catch(() => {
        throw new DeribitKeysError('ERR_INTERRUPTED', `interrupted while waiting for the key "${name}"`, {
          maybeSent: false,
        });
      });
    }
  });

  const isMine = async () => (await textAt(path)) === content;
  const timer = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => {});
  }, TOUCH_EVERY_MS);
  timer.unref();

  return {
    async check() {
      if (await isMine()) return;
      throw new DeribitKeysError(
        'ERR_LOCK_LOST',
        `the lock of the key "${name}" was lost: ${path} is gone or another's`,
        {
          hint: 'nothing more was changed; see that no other process works on this key, then run the same command again',
        },
      );
    },
    async release() {
      clearInterval(timer);
      if (await isMine().catch(() => false)) await rm(path, { force: true }).catch(() => {});
    },
  };
}
