import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { parseJsonObject } from '../util/checks.js';
import { errnoOf } from './file-errors.js';

/** Who holds a lock, according to its file. */
export interface Holder {
  readonly token: string;
  readonly pid: number;
  /** When the process started, so that a process with a reused pid is not taken for it; empty where that is unknown. */
  readonly started: string;
  /** The host, its boot and the PID namespace: pids can only be compared within one of these. */
  readonly machine: string;
}

/**
 * The state of a holder: it runs, it has ended, or it is unknown, such as for a process of another host or
 * in another container.
 */
export type Fate = 'runs' | 'ended' | 'unknown';

async function textOr(fallback: string, read: () => Promise<string>): Promise<string> {
  try {
    return (await read()).trim();
  } catch {
    return fallback;
  }
}

let machineOnce: Promise<string> | undefined;
/** The name of this host, its boot and this PID namespace. */
export function thisMachine(): Promise<string> {
  machineOnce ??= (async () => {
    const boot = await textOr('', () => readFile('/proc/sys/kernel/random/boot_id', 'utf8'));
    const namespace = await textOr('', () => readlink('/proc/self/ns/pid'));
    return [hostname(), boot, namespace].join(' ');
  })();
  return machineOnce;
}

/** State and start time (clock ticks since the boot) of a process: fields 3 and 22 of /proc/PID/stat, proc(5). */
async function lookUp(pid: number | 'self'): Promise<{ readonly state: string; readonly started: string } | null> {
  const line = await textOr('', () => readFile(`/proc/${pid}/stat`, 'utf8'));
  // the command's name may hold spaces and parentheses: the fields are counted from behind it
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
  const [state, started] = [fields[0], fields[19]];
  return state === undefined || started === undefined ? null : { state, started };
}

/** Whether /proc shows the pids of this namespace; it shows another one's in a container that mounted none of its own. */
const procIsOurs = async () => (await textOr('', () => readlink('/proc/self'))) === String(process.pid);

let startedOnce: Promise<string> | undefined;
/** This process as the holder of a lock. */
export async function thisProcess(token: string): Promise<Holder> {
  startedOnce ??= lookUp('self').then((found) => found?.started ?? '');
  return { token, pid: process.pid, started: await startedOnce, machine: await thisMachine() };
}

/** Reads what a lock file says; null where it says nothing that can be read. */
export function parseHolder(text: string): Holder | null {
  const value = parseJsonObject(text);
  if (typeof value === 'string') return null;
  const { token, pid, started, machine } = value;
  if (typeof token !== 'string' || typeof started !== 'string' || typeof machine !== 'string') return null;
  return typeof pid === 'number' && Number.isInteger(pid) && pid > 0 ? { token, pid, started, machine } : null;
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errnoOf(error) === 'EPERM';
  }
}

export async function fateOf(holder: Holder | null): Promise<Fate> {
  if (holder === null || holder.machine !== (await thisMachine())) return 'unknown';
  if (!exists(holder.pid)) return 'ended';
  const found = (await procIsOurs()) ? await lookUp(holder.pid) : null;
  if (found === null || holder.started === '') return 'unknown';
  // a zombie has ended, although its parent has not asked how
  return found.started === holder.started && !['Z', 'X'].includes(found.state) ? 'runs' : 'ended';
}
