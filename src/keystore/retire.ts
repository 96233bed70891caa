import { readlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { DeribitKeysError } from '../errors.js';
import { noteOn } from './audit-log.js';
import { statOrNull } from './files.js';
import { fileNames, type Keystore, type LockedKey, recordStep, tokenFileName } from './keystore.js';
import type { KeyRecord } from './record.js';
import type { Step } from './steps.js';

/** The folder, relative to the keystore, that keys go to when they are removed. */
export const RETIRED_FOLDER = 'retired';

/** @throws `ERR_NO_SUCH_NAME` where the key has none */
async function filesOf(store: Keystore, name: string): Promise<readonly string[]> {
  const present: string[] = [];
  for (const file of Object.values(fileNames(name))) {
    if ((await statOrNull(join(store.folder, file))) !== null) present.push(file);
  }
  if (present.length > 0) return present;
  throw new DeribitKeysError('ERR_NO_SUCH_NAME', `the key "${name}" has no files`);
}

/** `retired/2026-11-23`, or with a number behind it where a key of that name went there on the same day. */
async function freeFolder(store: Keystore, files: readonly string[]): Promise<string> {
  const day = store.now().toISOString().slice(0, 10);
  for (let count = 1; ; count += 1) {
    const folder = `${RETIRED_FOLDER}/${day}${count === 1 ? '' : `.${count}`}`;
    const taken = await Promise.all(files.map((file) => statOrNull(join(store.folder, folder, file))));
    if (taken.every((stats) => stats === null)) return folder;
  }
}

/** Where a symbolic link leads, as an absolute path; null for anything else. */
export async function linkTarget(path: string): Promise<string | null> {
  if (!(await statOrNull(path))?.isSymbolicLink()) return null;
  return resolve(dirname(path), await readlink(path));
}

/**
 * The steps that put a key's files away into a dated folder, from where they can be had back. Of a symbolic link only the
 * link goes: the file behind it stays where it is.
 */
export async function stepsToRetire(
  store: Keystore,
  record: KeyRecord,
): Promise<{ readonly folder: string; readonly steps: readonly Step[] }> {
  const files = await filesOf(store, record.name);
  const folder = await freeFolder(store, files);
  const own = fileNames(record.name).record;
  const putAway = files.map(async (file): Promise<Step> => {
    // elsewhere a relative link would lead nowhere; the record is a file of its own once it was replaced
    const isLink = file !== own && (await linkTarget(join(store.folder, file))) !== null;
    return isLink ? { do: 'delete', file } : { do: 'move', from: file, to: `${folder}/${file}` };
  });
  return { folder, steps: [recordStep({ ...record, state: 'retired' }), ...(await Promise.all(putAway))] };
}

/** What became of a key's files. */
export interface RetiredKey {
  /** The folder that they are in now; null where they were deleted. */
  readonly folder: string | null;
  /** The private key's file, untouched, where the keystore had a symbolic link to it; null else. */
  readonly linkedFile: string | null;
}

/**
 * Takes a key out of the keystore, all its files at once: into a dated folder, or with `purge` for good. A token of it
 * goes as well. Whether the exchange still takes the key is for the caller to know.
 */
export async function retireKey(
  store: Keystore,
  locked: LockedKey,
  record: KeyRecord,
  options: { readonly purge: boolean },
): Promise<RetiredKey> {
  const linkedFile = await linkTarget(store.files(record.name).privateKey);
  const { name } = record;
  const token: Step = { do: 'delete', file: tokenFileName(name) };
  if (options.purge) {
    const files = await filesOf(store, name);
    await locked.change([...files.map((file): Step => ({ do: 'delete', file })), token], noteOn('purge', record));
    return { folder: null, linkedFile };
  }
  const { folder, steps } = await stepsToRetire(store, record);
  await locked.change([...steps, token], noteOn('remove from keystore', record));
  return { folder: join(store.folder, folder), linkedFile };
}
