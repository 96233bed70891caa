import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { hostname, userInfo } from 'node:os';
import { join } from 'node:path';
import { DeribitKeysError } from '../errors.js';
import { isRecord, parseJsonObject } from '../util/checks.js';
import { errnoOf, explaining } from './file-errors.js';
import { makePrivateFolder, readFileOrNull, requireRegular, statOrNull } from './files.js';
import type { KeyRecord } from './record.js';

/** One line of the audit log: what was done to the keystore or the exchange. It holds no secret. */
export interface AuditEntry {
  /** ISO 8601, UTC. */
  readonly time: string;
  readonly action: string;
  readonly name: string | null;
  readonly fingerprint: string | null;
  readonly clientId: string | null;
  readonly environment: string | null;
  /** `ok`, or the code of the error. */
  readonly outcome: string;
  /** Who did it; null in entries of before it was kept. */
  readonly actor: Actor | null;
}

/** The user and the host that an action was done by, and the key that was logged in with (`--as`). */
interface Actor {
  readonly user: string | null;
  readonly host: string;
  readonly as: string | null;
}

/** The fields of an entry that a caller gives; the others are null, the outcome is `ok`. */
export type AuditNote = Partial<Omit<AuditEntry, 'time' | 'actor'>> & Pick<AuditEntry, 'action'>;

/** What the log says of an action on the key of `record`. */
export function noteOn(action: string, { name, fingerprint, clientId, environment }: KeyRecord): AuditNote {
  return { action, name, fingerprint, clientId, environment };
}

/** An actor in one line: `user@host as key`; null where it is unknown. */
export function describeActor(actor: Actor | null): string | null {
  return actor === null ? null : `${actor.user ?? '?'}@${actor.host}${actor.as === null ? '' : ` as ${actor.as}`}`;
}

function userName(): string | null {
  try {
    return userInfo().username;
  } catch {
    // a user id without a name, as containers have them
    return process.getuid === undefined ? null : `uid ${process.getuid()}`;
  }
}

/** The entry of what was done now, by this user on this host, logged in as the key `as`. */
export function auditEntry(note: AuditNote, time: Date, as: string | null): AuditEntry {
  const { action, name = null, fingerprint = null, clientId = null, environment = null, outcome = 'ok' } = note;
  const actor = { user: userName(), host: hostname(), as };
  return { time: time.toISOString(), action, name, fingerprint, clientId, environment, outcome, actor };
}

/** The log's name in the keystore. */
export const AUDIT_FILE = 'audit.jsonl';
/** No more of the log than this is read. */
export const MAX_AUDIT_BYTES = 256 * 1024 * 1024;

/** How much of the end of the log is searched for lines that may be there already. */
const TAIL_BYTES = 64 * 1024;

/** The line of an entry, without its end. */
export function auditLine(entry: AuditEntry): string {
  return JSON.stringify(entry);
}

const { O_RDWR, O_APPEND, O_CREAT, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants;

/** Opens a file to append to, not through a link: that could lead the line into any file of this user. */
async function openToAppend(path: string): Promise<FileHandle> {
  try {
    return await open(path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  } catch (error) {
    if (errnoOf(error) !== 'ELOOP' || !(await statOrNull(path))?.isSymbolicLink()) throw error;
    throw new DeribitKeysError('ERR_PERMISSIONS', `${path} is a symbolic link: nothing is written through it`, {
      hint: 'inspect where it leads; then put a file of your own in its place, or delete it',
      cause: error,
    });
  }
}

/**
 * Appends complete lines and flushes them. A line that a crash cut short is ended first. With `once`, lines that are near
 * the end already are not written again.
 * @throws `ERR_PERMISSIONS` where `path` is a symbolic link, `ERR_KEYSTORE_IO`, also where it is a pipe
 */
export async function appendLines(path: string, lines: readonly string[], { once = false } = {}): Promise<void> {
  await explaining('write', path, async () => {
    const handle = await openToAppend(path);
    try {
      const stats = await handle.stat();
      requireRegular(path, stats);
      const { size } = stats;
      const length = lines.reduce((sum, line) => sum + Buffer.byteLength(line) + 1, 0);
      const tail = Buffer.alloc(Math.min(size, once ? TAIL_BYTES + length : 1));
      await handle.read(tail, 0, tail.length, size - tail.length);
      const text = tail.toString('utf8');
      const [present, cut] = [new Set(once ? text.split('\n').slice(0, -1) : []), text !== '' && !text.endsWith('\n')];
      const missing = lines.filter((line) => !present.has(line));
      if (missing.length === 0) return;
      await handle.appendFile(`${cut ? '\n' : ''}${missing.join('\n')}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
}

/** Adds an entry to the log of the keystore in `folder`, which is made where it is missing. */
export async function appendAudit(folder: string, entry: AuditEntry): Promise<void> {
  await makePrivateFolder(folder);
  await appendLines(join(folder, AUDIT_FILE), [auditLine(entry)]);
}

const textOrNull = (value: unknown) => (typeof value === 'string' ? value : null);

function actorOf(value: unknown): Actor | null {
  if (!isRecord(value)) return null;
  const { user, host, as } = value;
  return typeof host === 'string' ? { user: textOrNull(user), host, as: textOrNull(as) } : null;
}

/** Reads one line; null for one that is not an entry. */
export function parseAuditLine(line: string): AuditEntry | null {
  const value = parseJsonObject(line);
  if (typeof value === 'string') return null;
  const { time, action, name, fingerprint, clientId, environment, outcome, actor } = value;
  if (typeof time !== 'string' || typeof action !== 'string' || typeof outcome !== 'string') return null;
  return {
    time,
    action,
    name: textOrNull(name),
    fingerprint: textOrNull(fingerprint),
    clientId: textOrNull(clientId),
    environment: textOrNull(environment),
    outcome,
    actor: actorOf(actor),
  };
}

/** The log, oldest first. Lines that cannot be read are counted, not shown. */
export async function readAudit(folder: string): Promise<{ entries: readonly AuditEntry[]; damagedLines: number }> {
  const text = (await readFileOrNull(join(folder, AUDIT_FILE), MAX_AUDIT_BYTES))?.toString('utf8') ?? '';
  const lines = text.split('\n').filter((line) => line !== '');
  const entries = lines.map(parseAuditLine).filter((entry) => entry !== null);
  return { entries, damagedLines: lines.length - entries.length };
}
