import { constants, realpathSync, type Stats, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeribitKeysError } from '../errors.js';
import { shellWord } from '../util/text.js';
import { errnoOf, fileError } from './file-errors.js';
import { MAX_FILE_BYTES, readChecked, readHandle, statOrNull, tooLarge } from './files.js';

/**
 * How strictly the file of a private key is checked.
 *
 * - `strict`: as ssh does. Only its owner can read it, who is this user or root.
 * - `mounted`: also what Kubernetes and Docker mount: owned by root, readable by a group, not by all, writable only by
 *   root; a symbolic link to it may be anybody's that could replace it anyway.
 * - `any`: not checked.
 */
export type PermissionPolicy = 'strict' | 'mounted' | 'any';

/** Everything that users other than the owner may do. */
export const OTHERS = 0o077;
const OTHERS_BUT_GROUP_READ = 0o037;
export const WRITABLE_BY_OTHERS = 0o022;
const WRITABLE_BY_ALL = 0o002;
const WRITABLE_BY_ANYBODY = 0o222;
export const STICKY = 0o1000;

/** The mode of a file as `chmod` takes it. */
export const octal = (mode: number) => (mode & 0o7777).toString(8).padStart(4, '0');

function refusal(message: string, hint: string): DeribitKeysError {
  return new DeribitKeysError('ERR_PERMISSIONS', message, { hint });
}

/** Whether this platform has owners and modes that mean something. */
export function hasFileModes(): boolean {
  return process.platform !== 'win32' && process.getuid !== undefined;
}

const ownerAndMode = ({ uid, mode }: Stats) => `(uid ${uid}, mode ${octal(mode)})`;

/** Whether the file is neither this user's nor root's. */
const isOfOtherUser = ({ uid }: Stats) => uid !== 0 && uid !== process.geteuid?.();

/** Whether somebody who is neither this user nor root may have written the file. */
function isOfOthers(stats: Stats): boolean {
  return hasFileModes() && (isOfOtherUser(stats) || (stats.mode & WRITABLE_BY_OTHERS) !== 0);
}

/**
 * Refuses a prepared change, folder or list, if others may have prepared it.
 * @throws `ERR_PERMISSIONS`
 */
export function requireOwnChange(path: string, stats: Stats): void {
  if (!isOfOthers(stats)) return;
  throw refusal(
    `the unfinished change ${path} may be another user's ${ownerAndMode(stats)}: it is not carried out`,
    `inspect it, then delete it; or if it is yours: chown it to yourself and run: chmod -R go-w ${shellWord(path)}`,
  );
}

/**
 * Refuses a file that says which code is loaded if others may have written it.
 * @throws `ERR_PERMISSIONS`
 */
export function requireOwnFile(path: string, stats: Stats): void {
  if (!isOfOthers(stats)) return;
  throw refusal(
    `${path} names the signer of a key and may be another user's ${ownerAndMode(stats)}`,
    `inspect what it names; if that is right, chown the file to yourself and run: chmod go-w ${shellWord(path)}`,
  );
}

/** `what` says what the file holds, for errors. */
function checkFile(
  path: string,
  stats: Stats,
  { policy, what }: { readonly policy: PermissionPolicy; readonly what: string },
): void {
  if (isOfOtherUser(stats)) {
    throw refusal(
      `the ${what} ${path} belongs to another user (uid ${stats.uid})`,
      'run as that user, copy it to a file of your own, or use --allow-insecure-permissions',
    );
  }
  const mounted = policy === 'mounted' && stats.uid === 0;
  if ((stats.mode & (mounted ? OTHERS_BUT_GROUP_READ : OTHERS)) === 0) return;
  throw refusal(
    `the ${what} ${path} can be read or written by others (mode ${octal(stats.mode)})`,
    hintFor(path, stats, policy),
  );
}

/** A secret that a container runtime mounts is root's, or read-only: `chmod` does not work on it. */
function hintFor(path: string, { uid, mode }: Stats, policy: PermissionPolicy): string {
  const chmod = `run: chmod 600 ${shellWord(path)}`;
  const isMount = uid === 0 && (process.geteuid?.() !== 0 || (mode & WRITABLE_BY_ANYBODY) === 0);
  if (!isMount) return chmod;
  if ((mode & OTHERS_BUT_GROUP_READ) === 0) {
    return policy === 'strict' ? `${chmod}; if Kubernetes or Docker mounts it, use --allow-mounted` : chmod;
  }
  return (
    'if Kubernetes mounts it, set defaultMode: 0440 and an fsGroup; if Docker Compose does, set mode: 0400 and the uid ' +
    `of this user for the secret; otherwise run as root: chmod 600 ${shellWord(path)}`
  );
}

/**
 * A sentence for the user of a file with a secret that other users can read, with the command that changes it; null where
 * they cannot, or where the file is not this user's own to change.
 */
export function describeSharedFile(path: string, stats: Stats): string | null {
  const { uid, mode } = stats;
  const isOwn = hasFileModes() && stats.isFile() && uid === process.geteuid?.() && (mode & WRITABLE_BY_ANYBODY) !== 0;
  if (!isOwn || (mode & OTHERS) === 0) return null;
  return `note: other users can read ${path} (mode ${octal(mode)}): chmod 600 ${shellWord(path)}`;
}

/**
 * Refuses a folder of the keystore, or a file in it, whose mode is not the one that it was made with: WSL's /mnt/c, Docker
 * Desktop's shared folders and FAT ignore modes.
 * @throws `ERR_PERMISSIONS`
 */
export function requireKeptMode(path: string, { mode }: Stats, keystore: string): void {
  if (!hasFileModes() || (mode & OTHERS) === 0) return;
  throw refusal(
    `the folder ${keystore} does not keep file modes: others could read a key in it (${path} has mode ${octal(mode)})`,
    'name another folder: --keys-dir <dir>; on WSL, mount the drive with the option metadata; or accept it with ' +
      '--allow-insecure-permissions',
  );
}

/**
 * Refuses a folder in which others can replace a private key.
 * @throws `ERR_PERMISSIONS`
 */
export function requireSafeFolder(folder: string, what = 'private key'): void {
  if (!hasFileModes()) return;
  const stats = statSync(folder);
  if ((stats.mode & WRITABLE_BY_ALL) !== 0 && (stats.mode & STICKY) === 0) {
    throw refusal(
      `anyone can replace files in the folder ${folder} (mode ${octal(stats.mode)})`,
      `run: chmod go-w ${shellWord(folder)}`,
    );
  }
  if (isOfOtherUser(stats)) {
    throw refusal(
      `the folder ${folder} of the ${what} belongs to another user (uid ${stats.uid})`,
      'run as that user, keep it in a folder of your own, or use --allow-insecure-permissions',
    );
  }
}

/**
 * Reads the file of a private key after checking who else can: the file that is opened, not what its name meant before.
 * A pipe such as `<(gpg -d key.pem.gpg)` is read as well, but not in the place of a file `ofKeystore`. On Windows, modes
 * and owners are not checked.
 * @param what what the file holds, for errors; default: a private key
 * @throws `ERR_PERMISSIONS` with the command that fixes it; `ERR_KEY_UNREADABLE` if there is no such file
 */
export async function readPrivateFile(
  path: string,
  policy: PermissionPolicy = 'strict',
  { ofKeystore = false, what = 'private key' } = {},
): Promise<Buffer> {
  try {
    const checks = policy !== 'any' && hasFileModes();
    const isPipe = statSync(path).isFIFO();
    const check = (stats: Stats) => {
      if (checks) checkFile(path, stats, { policy, what });
    };
    if (checks) {
      requireSafeFolder(dirname(path), what);
      const link = await statOrNull(path);
      if (link?.isSymbolicLink()) {
        const message = `${path} is a symbolic link of another user (uid ${link.uid})`;
        if (isOfOtherUser(link)) throw refusal(message, 'name the file that it points to');
        // an open pipe has no folder
        if (!isPipe) requireSafeFolder(dirname(realpathSync(path)), what);
      }
    }
    return isPipe && !ofKeystore ? await readInput(path, { check }) : readChecked(path, check);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') {
      const message = `there is no ${what} file ${path}`;
      throw new DeribitKeysError('ERR_KEY_UNREADABLE', message, { cause: error, hint: 'check the path' });
    }
    const explained = fileError(error, 'read', path);
    if (explained.code !== 'ERR_KEYSTORE_IO') throw explained;
    throw explained.with({ code: 'ERR_KEY_UNREADABLE' });
  }
}

/** How long a pipe may have no writer, and how long a writer may be silent: it may be asking for a passphrase. */
const NO_WRITER_MS = 10_000;
const SILENT_WRITER_MS = 300_000;
const PIPE_POLL_MS = 15;
/** An open pipe by its descriptor: it had a writer, so one that has none any more has ended. */
const OPEN_PIPE = /^\/(dev\/(stdin$|fd\/)|proc\/[^/]+\/fd\/)/;

interface InputOptions {
  readonly maxBytes?: number;
  /** Can refuse what was opened. */
  readonly check?: (stats: Stats) => void;
  /** Ends the wait for a pipe with `ERR_INTERRUPTED`. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads a file that the user names: a regular file, a pipe such as `<(gpg -d key.pem.gpg)`, or a terminal. A pipe without a
 * writer does not hang it.
 * @throws `ERR_KEYSTORE_IO` for too many bytes, a folder, a pipe that nobody writes to; `ERR_INTERRUPTED`; the system's
 *   errors as they are
 */
export async function readInput(path: string, options: InputOptions = {}): Promise<Buffer> {
  const { maxBytes = MAX_FILE_BYTES, check = () => {}, signal } = options;
  const handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    const stats = await handle.stat();
    check(stats);
    const isStream = stats.isFIFO() || stats.isCharacterDevice() || stats.isSocket();
    if (!isStream) return await readHandle(handle, path, maxBytes);
    const hasWriter = !stats.isFIFO() || OPEN_PIPE.test(path);
    return await readStream(handle, path, { maxBytes, signal, hasWriter });
  } finally {
    await handle.close();
  }
}

async function readStream(
  handle: FileHandle,
  path: string,
  { maxBytes, signal, hasWriter }: { maxBytes: number; signal: AbortSignal | undefined; hasWriter: boolean },
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  let hadWriter = hasWriter;
  let heardAtMs = performance.now();
  for (;;) {
    const read = await handle.read(Buffer.alloc(maxBytes + 1), 0, maxBytes + 1, null).catch((error: unknown) => {
      if (errnoOf(error) === 'EAGAIN') return null;
      throw error;
    });
    if (read !== null && read.bytesRead > 0) {
      length += read.bytesRead;
      if (length > maxBytes) throw tooLarge(path, maxBytes);
      chunks.push(read.buffer.subarray(0, read.bytesRead));
      heardAtMs = performance.now();
      continue;
    }
    if (read !== null && (hadWriter || length > 0)) return Buffer.concat(chunks);
    hadWriter ||= read === null;
    const limitMs = hadWriter ? SILENT_WRITER_MS : NO_WRITER_MS;
    if (performance.now() - heardAtMs > limitMs) {
      const message = `${path} is a pipe: nothing was written to it for ${limitMs / 1000} s`;
      throw new DeribitKeysError('ERR_KEYSTORE_IO', message);
    }
    await sleep(PIPE_POLL_MS, undefined, { signal }).catch(() => {
      throw new DeribitKeysError('ERR_INTERRUPTED', `interrupted while reading ${path}`, { maybeSent: false });
    });
  }
}
