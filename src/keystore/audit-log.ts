import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { DeribitKeysError } from '../errors.js';
import { errnoOf, explaining, makePrivateFolder, readFileOrNull, statOrNull } from './files.js';

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
}

/** The log's name in the keystore. */
export const AUDIT_FILE = 'audit.jsonl';
const MAX_LOG_BYTES = 256 * 1024 * 1024;

/** How much of the end of the log is looked through for a line that may stand there already. */
const TAIL_BYTES = 64 * 1024;

/** The line of an entry, without its end. */
export function auditLine(entry: AuditEntry): string {
  return JSON.stringify(entry);
}

const { O_RDWR, O_APPEND, O_CREAT, O_NOFOLLOW = 0 } = constants;

/** Opens a file to append to, that file itself: a link could lead the line into any file of this user. */
async function openToAppend(path: string): Promise<FileHandle> {
  try {
    return await open(path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
  } catch (error) {
    if (errnoOf(error) !== 'ELOOP' || !(await statOrNull(path))?.isSymbolicLink()) throw error;
    throw new DeribitKeysError('ERR_PERMISSIONS', `${path} is a symbolic link: nothing is written through it`, {
      hint: 'look where it leads; then put a file of your own in its place, or delete it',
      cause: error,
    });
  }
}

/**
 * Appends one line, whole, and flushes it. A line that a crash cut short is ended first. With `once`, a line that stands
 * near the end already is not written again.
 * @throws `ERR_PERMISSIONS` where `path` is a symbolic link, `ERR_KEYSTORE_IO`
 */
export async function appendLine(path: string, line: string, { once = false } = {}): Promise<void> {
  await explaining('write', path, async () => {
    const handle = await openToAppend(path);
    try {
      const { size } = await handle.stat();
      const tail = Buffer.alloc(Math.min(size, once ? TAIL_BYTES : 1));
      await handle.read(tail, 0, tail.length, size - tail.length);
      const text = tail.toString('utf8');
      if (once && `\n${text}`.includes(`\n${line}\n`)) return;
      await handle.appendFile(`${text === '' || text.endsWith('\n') ? '' : '\n'}${line}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
}

/** Adds an entry to the log of the keystore in `folder`, which is made where it is missing. */
export async function appendAudit(folder: string, entry: AuditEntry): Promise<void> {
  await makePrivateFolder(folder);
  await appendLine(join(folder, AUDIT_FILE), auditLine(entry));
}

const textOrNull = (value: unknown) => (typeof value === 'string' ? value : null);

/** Reads one line; null for one that is no entry. */
export function parseAuditLine(line: string): AuditEntry | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const { time, action, name, fingerprint, clientId, environment, outcome } = value as Record<string, unknown>;
  if (typeof time !== 'string' || typeof action !== 'string' || typeof outcome !== 'string') return null;
  return {
    time,
    action,
    name: textOrNull(name),
    fingerprint: textOrNull(fingerprint),
    clientId: textOrNull(clientId),
    environment: textOrNull(environment),
    outcome,
  };
}

/** The log, oldest first. Lines that cannot be read are counted, not shown. */
export async function readAudit(folder: string): Promise<{ entries: readonly AuditEntry[]; damagedLines: number }> {
  const text = (await readFileOrNull(join(folder, AUDIT_FILE), MAX_LOG_BYTES))?.toString('utf8') ?? '';
  const lines = text.split('\n').filter((line) => line !== '');
  const entries = lines.map(parseAuditLine).filter((entry) => entry !== null);
  return { entries, damagedLines: lines.length - entries.length };
}
