import { lstatSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { DeribitKeysError } from '../errors.js';

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the file system is read-only',
  EACCES: 'permission denied',
  EPERM: 'the operation is not permitted',
  ENOENT: 'there is no such file or folder',
  ENOTDIR: 'a part of the path is not a folder',
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

/** Says whose `path` is, or the nearest folder above it that can be seen, if it is another user's. */
function ownerOf(path: string): string {
  const me = process.geteuid?.();
  for (let at = path; ; at = dirname(at)) {
    try {
      const { uid } = lstatSync(at);
      return uid === me || me === undefined ? '' : ` (${at} belongs to ${userName(uid)})`;
    } catch {
      if (dirname(at) === at) return '';
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

/** Turns a file-system error into one sentence; errors that are ours already pass unchanged. */
export function fileError(error: unknown, doing: string, path: string): DeribitKeysError {
  if (error instanceof DeribitKeysError) return error;
  const errno = errnoOf(error);
  const denied = errno === 'EACCES' || errno === 'EPERM';
  const reason = `${REASONS[errno] ?? (errno || 'the file system refused')}${denied ? ownerOf(path) : ''}`;
  return new DeribitKeysError('ERR_KEYSTORE_IO', `cannot ${doing} ${path}: ${reason}`, {
    cause: error,
    hint: 'nothing was changed in the keystore; fix that, then run the same command again',
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
