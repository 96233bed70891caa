import { existsSync, lstatSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { DeribitKeysError } from '../errors.js';
import { shellWord } from '../util/text.js';

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the file system is read-only',
  EACCES: 'permission denied',
  EPERM: 'the operation is not permitted',
  ENOENT: 'there is no such file or folder',
  ENOTDIR: 'part of the path is not a folder',
  EISDIR: 'it is a folder',
  EEXIST: 'it exists already',
  ENOTEMPTY: 'it is not empty',
  EMFILE: 'too many files are open',
  ELOOP: 'too many symbolic links',
  ENAMETOOLONG: 'the name is too long',
  EIO: 'the device reports an error',
};

/** The `code` of a file-system error, or an empty string. */
export function errnoOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** Another user whose `path` is, or the nearest folder above it that can be seen; null if it is this user's. */
function otherOwner(path: string): { readonly at: string; readonly user: string } | null {
  const me = process.geteuid?.();
  for (let at = path; ; at = dirname(at)) {
    try {
      const { uid } = lstatSync(at);
      return uid === me || me === undefined ? null : { at, user: userName(uid) };
    } catch {
      if (dirname(at) === at) return null;
    }
  }
}

function userName(uid: number): string {
  try {
    const lines = readFileSync('/etc/passwd', 'utf8').split('\n');
    const name = lines.map((line) => line.split(':')).find((fields) => fields[2] === String(uid))?.[0];
    return name === undefined ? `uid ${uid}` : `the user ${name}`;
  } catch {
    return `uid ${uid}`;
  }
}

/** What the user can do about an error. */
function wayOut(errno: string, path: string, owner: { readonly user: string } | null): string {
  switch (errno) {
    case 'EACCES':
    case 'EPERM':
      return owner === null
        ? `check who may use it (ls -ld ${shellWord(path)})`
        : `run it as ${owner.user}, or name a file or folder of your own (for the keystore: --keys-dir <dir>)`;
    case 'ENOENT':
      return existsSync(dirname(path))
        ? 'check the path, then run the same command again'
        : `check the path, or make its folder (mkdir -p ${shellWord(dirname(path))}), then run the same command again`;
    case 'ENOTDIR':
    case 'EISDIR':
    case 'ELOOP':
    case 'ENAMETOOLONG':
      return 'check the path, then run the same command again';
    case 'ENOSPC':
    case 'EDQUOT':
      return 'free some space, then run the same command again';
    case 'EROFS':
      return 'name a place that can be written';
    default:
      return 'fix that, then run the same command again';
  }
}

const UNCHANGED = 'nothing was changed in the keystore; ';

/** For work on files that are not the keystore's: the hints of its errors do not mention the keystore. */
export async function outsideKeystore<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof DeribitKeysError) || error.hint?.startsWith(UNCHANGED) !== true) throw error;
    throw error.with({ hint: error.hint.slice(UNCHANGED.length) });
  }
}

/** Turns a file-system error into one sentence; errors that are ours already pass unchanged. */
export function fileError(error: unknown, doing: string, path: string): DeribitKeysError {
  if (error instanceof DeribitKeysError) return error;
  const errno = errnoOf(error);
  const owner = errno === 'EACCES' || errno === 'EPERM' ? otherOwner(path) : null;
  const whose = owner === null ? '' : ` (${owner.at} belongs to ${owner.user})`;
  const reason = `${REASONS[errno] ?? (errno || 'the file system refused')}${whose}`;
  return new DeribitKeysError('ERR_KEYSTORE_IO', `cannot ${doing} ${path}: ${reason}`, {
    cause: error,
    hint: `${UNCHANGED}${wayOut(errno, path, owner)}`,
  });
}

/** Runs `work`, turning a file-system error into one sentence. */
export async function explaining<T>(doing: string, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fileError(error, doing, path);
  }
}
