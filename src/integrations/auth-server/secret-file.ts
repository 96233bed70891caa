import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { rmSync } from 'node:fs';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import { fileError } from '../../keystore/file-errors.js';
import { makePrivateFolder, requireWritableFolder, writeFlushed } from '../../keystore/files.js';
import { type Lock, takeLock } from '../../keystore/lock.js';
import { hasFileModes } from '../../keystore/permissions.js';

/** A bearer secret: 256 random bits as base64url. */
function newBearer(): string {
  return randomBytes(32).toString('base64url');
}

const BEARER = /^[A-Za-z0-9_-]{43}$/;

/** SHA-256, in lower-case hex. */
export const hashOf = (text: string) => createHash('sha256').update(text).digest('hex');

/** The secret of an `Authorization: Bearer` header; empty without that header. */
export function bearerOf(header: string | undefined): string {
  return /^Bearer +([\x21-\x7e]+) *$/i.exec(header ?? '')?.[1] ?? '';
}

/** Whether two hashes (hex) are the same, in a time that does not depend on where they differ. */
export function isSameHash(one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other));
}

/** A file with the server's secret, which exists while the server runs. */
interface SecretFile {
  readonly path: string;
  readonly secret: string;
  /** Deletes the file, if it still holds this secret. */
  remove(): Promise<void>;
}

const OWN_NAME = /^\.auth-server\.[0-9a-f]{8}\.secret$/;

/**
 * Writes a new secret to a file (0600) at `path`, or to a file of its own in `folder`. A file that a killed server left at
 * `path` is used again with its secret. The file is deleted by `remove`, and at the latest when the process exits.
 * @throws `ERR_KEYSTORE_IO` for a file of another kind, or that a running server uses
 */
export async function createSecretFile(folder: string, path?: string): Promise<SecretFile> {
  if (path === undefined) {
    await makePrivateFolder(folder);
    await removeLeftovers(folder);
  }
  const file =
    path === undefined ? join(folder, `.auth-server.${randomBytes(4).toString('hex')}.secret`) : resolve(path);
  await requireWritableFolder(file);
  const lock = await lockOf(file);
  try {
    const secret = (await leftSecret(file)) ?? (await writeSecret(file));
    const onExit = () => rmSync(file, { force: true });
    process.on('exit', onExit);
    return {
      path: file,
      secret,
      async remove() {
        process.off('exit', onExit);
        const content = await readFile(file, 'utf8').catch(() => null);
        if (content === `${secret}\n`) await rm(file, { force: true });
        await lock.release();
      },
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function lockOf(file: string): Promise<Lock> {
  try {
    return await takeLock(dirname(file), basename(file), { waitMs: 0, what: `the secret file ${file}` });
  } catch (error) {
    if (!isDeribitKeysError(error, 'ERR_LOCKED')) throw error;
    throw error.with({
      code: 'ERR_KEYSTORE_IO',
      message: `another auth server uses the secret file ${file}`,
      hint: 'stop it, or name another file with --secret-file',
    });
  }
}

async function writeSecret(file: string): Promise<string> {
  const secret = newBearer();
  await writeFlushed(file, `${secret}\n`).catch((error: unknown) => {
    throw fileError(error, 'write the secret to', file);
  });
  return secret;
}

/** The secret that a server left in `file` when it was killed; null where there is no file. */
async function leftSecret(file: string): Promise<string | null> {
  const stats = await stat(file).catch(() => null);
  if (stats === null) return null;
  const isOwn = !hasFileModes() || (stats.uid === process.geteuid?.() && (stats.mode & 0o077) === 0);
  const text = stats.isFile() && isOwn && stats.size < 100 ? (await readFile(file, 'utf8')).trim() : '';
  if (BEARER.test(text)) return text;
  throw new DeribitKeysError('ERR_KEYSTORE_IO', `the file ${file} exists and is not a secret file of an auth server`, {
    hint: 'name another file with --secret-file, or move that one away',
  });
}

/** Deletes what killed servers left in the keystore; a file whose lock is held belongs to a running one. */
async function removeLeftovers(folder: string): Promise<void> {
  const left = (await readdir(folder)).filter((entry) => OWN_NAME.test(entry));
  for (const entry of left) {
    const lock = await lockOf(join(folder, entry)).catch(() => null);
    if (lock === null) continue;
    await rm(join(folder, entry), { force: true });
    await lock.release();
  }
}
