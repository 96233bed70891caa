import { join } from 'node:path';
import { DeribitKeysError } from '../errors.js';
import { statOrNull } from './files.js';
import { fileNames, type Keystore, type LockedKey } from './keystore.js';
import { type KeyRecord, serialiseRecord } from './record.js';
import type { Step } from './transaction.js';

/** The folder, relative to the keystore, that keys go to when they are removed. */
export const RETIRED_FOLDER = 'retired';

async function presentFiles(store: Keystore, name: string): Promise<string[]> {
  const present: string[] = [];
  for (const file of Object.values(fileNames(name))) {
    if ((await statOrNull(join(store.folder, file))) !== null) present.push(file);
  }
  return present;
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

/**
 * Takes a key out of the keystore, all its files at once: into a dated folder, from where they can be had back, or with
 * `purge` for good. Whether the exchange still takes the key is for the caller to know.
 * @returns the folder that the files are in now; null where they were deleted
 */
export async function retireKey(
  store: Keystore,
  locked: LockedKey,
  record: KeyRecord,
  options: { readonly purge: boolean },
): Promise<string | null> {
  const files = await presentFiles(store, record.name);
  if (files.length === 0) throw new DeribitKeysError('ERR_NO_SUCH_NAME', `the key "${record.name}" has no files`);
  const folder = options.purge ? null : await freeFolder(store, files);
  const steps: Step[] =
    folder === null
      ? files.map((file) => ({ do: 'delete', file }))
      : [
          {
            do: 'replace',
            file: fileNames(record.name).record,
            content: serialiseRecord({ ...record, state: 'retired' }),
          },
          ...files.map((file): Step => ({ do: 'move', from: file, to: `${folder}/${file}` })),
        ];
  const { name, fingerprint, clientId, environment } = record;
  await locked.change(steps, { action: options.purge ? 'purge' : 'remove', name, fingerprint, clientId, environment });
  return folder === null ? null : join(store.folder, folder);
}
