import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { explaining, makePrivateFolder, readFileOrNull } from './files.js';

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

const FILE = 'audit.jsonl';
const MAX_LOG_BYTES = 256 * 1024 * 1024;

/** Appends one line, whole, and flushes it. A line that a crash cut short is ended first. */
export async function appendAudit(folder: string, entry: AuditEntry): Promise<void> {
  const path = join(folder, FILE);
  await makePrivateFolder(folder);
  await explaining('write', path, async () => {
    const handle = await open(path, 'a+', 0o600);
    try {
      const { size } = await handle.stat();
      const last = Buffer.alloc(1);
      if (size > 0) await handle.read(last, 0, 1, size - 1);
      const start = size === 0 || last[0] === 0x0a ? '' : '\n';
      await handle.appendFile(`${start}${JSON.stringify(entry)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
}

/** The log, oldest first. Lines that cannot be read are counted, not shown. */
export async function readAudit(folder: string): Promise<{ entries: readonly AuditEntry[]; damagedLines: number }> {
  const text = (await readFileOrNull(join(folder, FILE), MAX_LOG_BYTES))?.toString('utf8') ?? '';
  const entries: AuditEntry[] = [];
  let damagedLines = 0;
  for (const line of text.split('\n')) {
    if (line === '') continue;
    try {
      const value: unknown = JSON.parse(line);
      if (typeof value !== 'object' || value === null || !('action' in value)) throw new TypeError('not an entry');
      entries.push(value as AuditEntry);
    } catch {
      damagedLines += 1;
    }
  }
  return { entries, damagedLines };
}
