import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readSync, type Stats } from 'node:fs';
import { access, type FileHandle, link, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { DeribitKeysError } from '../errors.js';
import { errnoOf, explaining, fileError, outsideKeystore } from './file-errors.js';
import { fileTaken, foldName } from './names.js';

/** The files of a keystore are small: no more than this is read. */
export const MAX_FILE_BYTES = 64 * 1024;

/** The suffix of files that are not complete yet. */
export const TEMPORARY_SUFFIX = '.tmp';

const IGNORE_FILE = '.gitignore';

/** The stats of `path` (of a symbolic link itself, not of its target), or null. */
export async function statOrNull(path: string): Promise<Stats | null> {
  try {
    return lstatSync(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw fileError(error, 'look at', path);
  }
}

/** Where the decided change of a key is kept until it is done (transaction.ts). */
export const commitFolder = (root: string, name: string) => join(root, `.${foldName(name)}.commit`);

/** Whether a change of `name` is decided but not yet done. */
export async function hasUnfinishedChange(root: string, name: string): Promise<boolean> {
  return (await statOrNull(commitFolder(root, name))) !== null;
}

/** The names in a folder; none where there is no such folder. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw fileError(error, 'read', folder);
  }
}

/** Makes what was done to the names in `folder` last through a power cut, where the platform can. */
export async function flushFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Whether `folder` holds nothing yet, or only an ignore file that was never completed. */
async function isUntouched(folder: string): Promise<boolean> {
  if (((await statOrNull(join(folder, IGNORE_FILE)))?.size ?? 0) > 0) return false;
  return (await namesIn(folder)).every((name) => name === IGNORE_FILE);
}

/**
 * Makes `folder` (0700) and what is missing above it; returns whether it was missing.
 * @throws `ERR_KEYSTORE_IO`
 */
export async function makeFolders(folder: string): Promise<boolean> {
  try {
    return await makeEach(folder);
  } catch (error) {
    const told = fileError(error, 'make the folder', folder);
    throw errnoOf(error) === 'ENOENT' ? told.with({ hint: 'name another folder: none can be made there' }) : told;
  }
}

/**
 * Node's own recursive `mkdir` never ends where a file system reports a folder as missing and does not let it be made,
 * such as below /proc.
 */
async function makeEach(folder: string): Promise<boolean> {
  const make = async () => {
    try {
      await mkdir(folder, { mode: 0o700 });
      return true;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || !(await isFolder(folder))) throw error;
      return false;
    }
  };
  try {
    return await make();
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' || dirname(folder) === folder || (await isFolder(dirname(folder)))) throw error;
  }
  await makeEach(dirname(folder));
  return make();
}

const isFolder = (path: string) =>
  stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );

/** Makes `folder` (0700) and what is missing above it. A folder that is empty gets an ignore file for git. */
export async function makePrivateFolder(folder: string): Promise<void> {
  const made = await makeFolders(folder);
  if (!made && !(await isUntouched(folder))) return;
  const path = join(folder, IGNORE_FILE);
  await explaining('write', path, async () => {
    // always the same bytes: it does no harm when two processes write them
    await writeFlushed(path, '*\n', { flags: 'w' });
    await flushFolder(folder);
    await flushFolder(dirname(folder));
  });
}

/**
 * Makes a file that was not there, 0600, and flushes it. One that could not be written completely is removed again.
 * `flush` is off for files that need not outlive a power cut.
 */
export async function writeFlushed(
  path: string,
  content: string | Uint8Array,
  { mode = 0o600, flags = 'wx', flush = true } = {},
): Promise<void> {
  const handle = await open(path, flags, mode);
  try {
    await handle.writeFile(content);
    if (flush) await handle.sync();
  } catch (error) {
    await handle.close().catch(() => {});
    await rm(path, { force: true }).catch(() => {});
    throw error;
  }
  await handle.close();
}

/** A path beside `path` for what is not complete yet. */
export function temporaryPath(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}${TEMPORARY_SUFFIX}`);
}

/** Replaces the content of `path` completely or not at all: write beside it, flush, rename, flush the folder. */
export async function replaceFile(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  await explaining('write', path, () => writeBeside(path, { content, mode }, (temporary) => rename(temporary, path)));
}

/** Writes a flushed temporary file beside `path`, which `move` renames or links. It is removed in any case. */
async function writeBeside(
  path: string,
  { content, mode }: { readonly content: string | Uint8Array; readonly mode: number },
  move: (temporary: string) => Promise<void>,
): Promise<void> {
  const temporary = temporaryPath(path);
  await writeFlushed(temporary, content, { mode });
  try {
    await move(temporary);
  } finally {
    await rm(temporary, { force: true }).catch(() => {});
  }
  await flushFolder(dirname(path));
}

const NO_HARD_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/** Whether a failed `link` means that the file system has no hard links. */
export function lacksHardLinks(error: unknown): boolean {
  return NO_HARD_LINKS.has(errnoOf(error));
}

/**
 * Renames the complete file `temporary` to `path`, unless that exists. Where the file system has no hard links, a check
 * and a rename stand in for one, under the keystore's own locks.
 * @throws the system's `EEXIST` where the name is taken
 */
export async function publish(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (error) {
    if (!lacksHardLinks(error)) throw error;
    if ((await statOrNull(path)) !== null) throw Object.assign(new Error('exists'), { code: 'EEXIST' });
    await rename(temporary, path);
  }
}

/**
 * Requires that a new file can be made at `path`, before any work whose result goes there.
 * @throws `ERR_NAME_TAKEN` if `path` exists, `ERR_KEYSTORE_IO` where its folder cannot be written
 */
export async function requireNewFile(path: string): Promise<void> {
  if ((await outsideKeystore(() => statOrNull(path))) !== null) throw fileTaken(path);
  await requireWritableFolder(path);
}

/** @throws `ERR_KEYSTORE_IO` where the folder of `path` is missing or cannot be written */
export function requireWritableFolder(path: string): Promise<void> {
  return outsideKeystore(() => explaining('write', path, () => access(dirname(path), constants.W_OK | constants.X_OK)));
}

/**
 * Makes a new file, completely or not at all, flushed.
 * @throws `ERR_NAME_TAKEN` where the name is taken, `ERR_KEYSTORE_IO`
 */
export async function createFile(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  await requireNewFile(path);
  const move = (temporary: string) =>
    publish(temporary, path).catch((error: unknown) => {
      throw errnoOf(error) === 'EEXIST' ? fileTaken(path) : error;
    });
  await outsideKeystore(() => explaining('write', path, () => writeBeside(path, { content, mode }, move)));
}

/** How long a loop over many keys may go on before signals and timers are let through. */
const BREATH_MS = 50;

/**
 * Returns what loops over many keys await in each round, so that an interrupt is heard: reading is synchronous, and
 * promises that are settled already do not let the event loop turn.
 */
export function createBreather(): () => Promise<void> {
  let lastMs = performance.now();
  return async () => {
    if (performance.now() - lastMs < BREATH_MS) return;
    await new Promise((resolve) => setImmediate(resolve));
    lastMs = performance.now();
  };
}

/*
 * Reading and looking are synchronous: these are small local files, read on the way to each signature, where a dozen
 * trips to the thread pool would cost more than all the rest.
 */

/** @throws `ERR_KEYSTORE_IO` for a folder, a pipe, a socket or a device */
export function requireRegular(path: string, stats: Stats): void {
  if (stats.isFile()) return;
  const what = stats.isDirectory() ? 'a folder, ' : stats.isFIFO() ? 'a pipe, ' : '';
  throw new DeribitKeysError('ERR_KEYSTORE_IO', `${path} is ${what}not a regular file`, {
    hint: 'put a regular file in its place, or name another file',
  });
}

function requireReadable(path: string, stats: Stats, maxBytes: number): void {
  requireRegular(path, stats);
  if (stats.size > maxBytes) throw tooLarge(path, maxBytes, stats.size);
}

export function tooLarge(path: string, maxBytes: number, size?: number): DeribitKeysError {
  const bytes = size ?? `more than ${maxBytes}`;
  return new DeribitKeysError('ERR_KEYSTORE_IO', `${path} has ${bytes} bytes: at most ${maxBytes} are read`);
}

/**
 * Opens a regular file of at most `maxBytes`, lets `check` refuse what was opened, and reads it.
 * @throws `ERR_KEYSTORE_IO` for a larger one or another kind of file, and the system's errors as they are
 */
export function readChecked(path: string, check: (stats: Stats) => void, maxBytes = MAX_FILE_BYTES): Buffer {
  // non-blocking: a pipe in the place of a file must not hang the open
  const fd = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    const stats = fstatSync(fd);
    requireReadable(path, stats, maxBytes);
    check(stats);
    const buffer = Buffer.alloc(stats.size + 1);
    let length = 0;
    for (;;) {
      const read = readSync(fd, buffer, length, buffer.length - length, length);
      length += read;
      if (read === 0 || length === buffer.length) return buffer.subarray(0, length);
    }
  } finally {
    closeSync(fd);
  }
}

/** Reads a small file; null if it does not exist. `check` can refuse what was opened. */
export async function readFileOrNull(
  path: string,
  maxBytes = MAX_FILE_BYTES,
  check: (stats: Stats) => void = () => {},
): Promise<Buffer | null> {
  try {
    return readChecked(path, check, maxBytes);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw fileError(error, 'read', path);
  }
}

/** Reads an open regular file of at most `maxBytes`; `ERR_KEYSTORE_IO` for a larger one or another kind of file. */
export async function readHandle(handle: FileHandle, path: string, maxBytes = MAX_FILE_BYTES): Promise<Buffer> {
  requireReadable(path, await handle.stat(), maxBytes);
  const content = await handle.readFile();
  if (content.length <= maxBytes) return content;
  throw tooLarge(path, maxBytes);
}
