import { randomBytes } from 'node:crypto';
import { link, readFile, readlink, rename, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeribitKeysError } from '../errors.js';
import { errnoOf, explaining, publish, readFileOrNull, temporaryPath, writeFlushed } from './files.js';
import { foldName } from './names.js';

/*
 * One lock file a name, `.<name>.lock`, made by linking a whole file into place: it is there with all its content or
 * not at all. Who holds it touches it now and then. It may be taken from a holder that is gone: a process of this
 * machine that no longer runs, or one of another machine that has not touched it for a minute.
 *
 *   free --link--> held --unlink--> free
 *                   |  holder gone: rename away, look again, unlink
 *                   +--------------------------------------------> free
 */

const TOUCH_EVERY_MS = 10_000;
const ABANDONED_AFTER_MS = 60_000;
const POLL_MS = 40;

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
    return started !== '' && holder.started !== '' && started !== holder.started;
  }
  try {
    return Date.now() - (await stat(path)).mtimeMs > ABANDONED_AFTER_MS;
  } catch {
    return false;
  }
}

/** Takes the lock file of a holder that is gone out of the way; harmless where somebody was faster. */
async function clearAbandoned(path: string, seen: string): Promise<void> {
  const aside = temporaryPath(path);
  try {
    await rename(path, aside);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  if ((await readFile(aside, 'utf8')) !== seen) {
    // it was not the abandoned one any more: give it back, unless a third has come (then its holder will notice)
    await link(aside, path).catch(() => {});
  }
  await rm(aside, { force: true });
}

/**
 * Takes the lock of `name` in `folder`.
 * @throws `ERR_LOCKED` where another process keeps it longer than `waitMs`.
 */
export async function takeLock(folder: string, name: string, waitMs = DEFAULT_LOCK_WAIT_MS): Promise<Lock> {
  const path = join(folder, `.${foldName(name)}.lock`);
  const token = randomBytes(12).toString('hex');
  const holder: Holder = { token, pid: process.pid, started: await startOf(process.pid), machine: await thisMachine() };
  const content = JSON.stringify(holder);
  const deadline = Date.now() + waitMs;

  await explaining('lock', path, async () => {
    const temporary = temporaryPath(path);
    await writeFlushed(temporary, content);
    try {
      for (;;) {
        try {
          await publish(temporary, path);
          return;
        } catch (error) {
          if (errnoOf(error) !== 'EEXIST') throw error;
        }
        const seen = (await readFileOrNull(path))?.toString('utf8');
        if (seen === undefined) continue;
        const other = parseHolder(seen);
        if (await isAbandoned(path, other)) {
          await clearAbandoned(path, seen);
        } else if (Date.now() >= deadline) {
          const who = other === null ? 'another process' : `another process (pid ${other.pid})`;
          throw new DeribitKeysError('ERR_LOCKED', `${who} is working on the key "${name}"`, {
            hint: `let it finish, then run the same command again (lock file: ${path})`,
          });
        } else {
          await sleep(POLL_MS);
        }
      }
    } finally {
      await rm(temporary, { force: true });
    }
  });

  const isMine = async () => (await readFileOrNull(path))?.toString('utf8') === content;
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
