import { realpathSync, type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DeribitKeysError } from '../errors.js';
import { errnoOf, fileError, readChecked, statOrNull } from './files.js';

/**
 * How strictly the file of a private key is looked at.
 *
 * - `strict`: as ssh does. Readable by its owner alone, who is this user or root.
 * - `mounted`: also what Kubernetes and Docker mount: owned by root, readable by a group, not by all, not to be written
 *   but by root; a symbolic link to it may be anybody's that could replace it anyway.
 * - `any`: not looked at.
 */
export type PermissionPolicy = 'strict' | 'mounted' | 'any';

const OTHERS = 0o077;
const OTHERS_BUT_GROUP_READ = 0o037;
const WRITABLE_BY_OTHERS = 0o022;
const WRITABLE_BY_ALL = 0o002;
const STICKY = 0o1000;

const octal = (mode: number) => (mode & 0o7777).toString(8).padStart(4, '0');
const quoted = (path: string) => (/^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`);

function refuse(message: string, hint: string): DeribitKeysError {
  return new DeribitKeysError('ERR_PERMISSIONS', message, { hint });
}

/** Whether this platform has owners and modes that mean something. */
export function hasFileModes(): boolean {
  return process.platform !== 'win32' && process.getuid !== undefined;
}

const ownerAndMode = ({ uid, mode }: Stats) => `(uid ${uid}, mode ${octal(mode)})`;

/** Whether what `stats` tells of may have been written by somebody who is neither this user nor root. */
function isOfOthers({ uid, mode }: Stats): boolean {
  return hasFileModes() && ((uid !== 0 && uid !== process.geteuid?.()) || (mode & WRITABLE_BY_OTHERS) !== 0);
}

/**
 * Refuses a change that was prepared, folder or list, where others may have prepared it.
 * @throws `ERR_PERMISSIONS`
 */
export function requireOwnChange(path: string, stats: Stats): void {
  if (!isOfOthers(stats)) return;
  throw refuse(
    `the unfinished change ${path} may be somebody else's ${ownerAndMode(stats)}: it is not carried out`,
    `look at what it holds: delete it, or where it is yours, own it and run: chmod -R go-w ${quoted(path)}`,
  );
}

/**
 * Refuses a file that says which code is loaded, where others may have written it.
 * @throws `ERR_PERMISSIONS`
 */
export function requireOwnFile(path: string, stats: Stats): void {
  if (!isOfOthers(stats)) return;
  throw refuse(
    `${path} names the signer of a key and may be somebody else's ${ownerAndMode(stats)}`,
    `look at what it names; where that is right, own the file and run: chmod go-w ${quoted(path)}`,
  );
}

function checkFile(path: string, stats: Stats, me: number, policy: PermissionPolicy): void {
  if (stats.uid !== me && stats.uid !== 0) {
    throw refuse(
      `the private key ${path} belongs to another user (uid ${stats.uid})`,
      'own the file yourself, or say --allow-insecure-permissions',
    );
  }
  const mounted = policy === 'mounted' && stats.uid === 0;
  if ((stats.mode & (mounted ? OTHERS_BUT_GROUP_READ : OTHERS)) === 0) return;
  const chmod = `run: chmod 600 ${quoted(path)}`;
  const asMount = stats.uid === 0 && (stats.mode & OTHERS_BUT_GROUP_READ) === 0;
  throw refuse(
    `the private key ${path} can be read or written by others (mode ${octal(stats.mode)})`,
    asMount && policy === 'strict' ? `${chmod} (a key mounted by Kubernetes or Docker: --allow-mounted)` : chmod,
  );
}

/** A folder in which anybody may swap files protects none of them. */
function checkFolder(path: string, me: number): void {
  const folder = dirname(path);
  const stats = statSync(folder);
  if ((stats.mode & WRITABLE_BY_ALL) !== 0 && (stats.mode & STICKY) === 0) {
    throw refuse(
      `anybody can replace files in the folder ${folder} (mode ${octal(stats.mode)})`,
      `run: chmod go-w ${quoted(folder)}`,
    );
  }
  if (stats.uid !== me && stats.uid !== 0) {
    throw refuse(
      `the folder ${folder} of the private key belongs to another user (uid ${stats.uid})`,
      'keep keys in a folder of your own, or say --allow-insecure-permissions',
    );
  }
}

/**
 * Reads the file of a private key, having looked at who else can: at the file that is opened, not at its name before.
 * On Windows, modes and owners are not looked at.
 * @throws `ERR_PERMISSIONS` with the command that mends it; `ERR_KEY_UNREADABLE` where there is no such file.
 */
export async function readPrivateFile(path: string, policy: PermissionPolicy = 'strict'): Promise<Buffer> {
  try {
    const looked = policy !== 'any' && hasFileModes();
    const me = process.geteuid?.() ?? -1;
    if (looked) {
      checkFolder(path, me);
      const link = await statOrNull(path);
      if (link?.isSymbolicLink()) {
        if (link.uid !== me && link.uid !== 0) {
          throw refuse(
            `${path} is a symbolic link of another user (uid ${link.uid})`,
            'name the file that it points to',
          );
        }
        checkFolder(realpathSync(path), me);
      }
    }
    return readChecked(path, (stats) => {
      if (looked) checkFile(path, stats, me, policy);
    });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') {
      throw new DeribitKeysError('ERR_KEY_UNREADABLE', `there is no private key file ${path}`, { cause: error });
    }
    const explained = fileError(error, 'read', path);
    if (explained.code !== 'ERR_KEYSTORE_IO') throw explained;
    throw new DeribitKeysError('ERR_KEY_UNREADABLE', explained.message, { cause: explained });
  }
}
