import { join } from 'node:path';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { shellWord } from '../util/text.js';
import { AUDIT_FILE } from './audit-log.js';
import {
  asText,
  type BackupOptions,
  checkKeys,
  KEY_FILE,
  MAX_BACKUP_BYTES,
  passphraseIdentity,
  type Refuse,
} from './backup.js';
import { fileError } from './file-errors.js';
import { createBreather, readChecked, statOrNull } from './files.js';
import { type Keystore, recordStep } from './keystore.js';
import { fileNames, foldName, isKeyName, recordedNames } from './names.js';
import { parseRecord } from './record.js';
import type { Step } from './steps.js';

/** How a backup begins: an age file (age-encryption.org/v1) whose only recipient is a passphrase. */
const BACKUP_HEADER = /^age-encryption\.org\/v1\n-> scrypt /;

/**
 * Reads a backup, or looks at it before its passphrase is asked for.
 * @throws `ERR_KEY_UNREADABLE` if it is not a backup
 */
export function requireBackup(path: string): Buffer {
  const refuse = (message: string, cause?: unknown) =>
    new DeribitKeysError('ERR_KEY_UNREADABLE', message, { cause, hint: 'name a file that the command backup wrote' });
  let sealed: Buffer;
  try {
    sealed = readChecked(path, () => {}, MAX_BACKUP_BYTES);
  } catch (error) {
    throw refuse(fileError(error, 'read', path).message, error);
  }
  if (BACKUP_HEADER.test(sealed.toString('latin1', 0, 64))) return sealed;
  throw refuse(`${path} is not a backup: it is not an age file that a passphrase opens`);
}

async function openBackup(path: string, { passphrase, signal }: BackupOptions) {
  const sealed = requireBackup(path);
  const [{ Decrypter }, { parseTar }] = await Promise.all([import('age-encryption'), import('nanotar')]);
  const decrypter = new Decrypter();
  let opened = false;
  const identity = passphraseIdentity(passphrase, signal);
  decrypter.addIdentity({
    async unwrapFileKey(stanzas: Parameters<typeof identity.unwrapFileKey>[0]) {
      const fileKey = await identity.unwrapFileKey(stanzas);
      opened = fileKey !== null;
      return fileKey;
    },
  });
  let tar: Uint8Array;
  try {
    tar = await decrypter.decrypt(sealed);
  } catch (cause) {
    if (isDeribitKeysError(cause)) throw cause;
    if (opened) {
      const message = `${path} is damaged: the passphrase opens it, but not all of it`;
      const hint = 'copy it again from where it was kept, or use an older backup';
      throw new DeribitKeysError('ERR_KEY_UNREADABLE', message, { cause, hint });
    }
    throw new DeribitKeysError('ERR_PASSPHRASE_WRONG', `wrong passphrase for ${path}, or it is damaged`, {
      cause,
      hint: 'use the passphrase of the backup: --backup-passphrase-file <file> or DERIBIT_KEYS_BACKUP_PASSPHRASE',
    });
  }
  try {
    return parseTar(tar).map(({ name, data }) => ({ path: name, content: data ?? new Uint8Array() }));
  } catch (cause) {
    throw new DeribitKeysError('ERR_KEY_UNREADABLE', `${path} opens, but does not hold a tar archive`, { cause });
  }
}

/** The files of a backup by their paths, proved to be a keystore that can be restored, and the names of its keys. */
async function readBackup(path: string, options: BackupOptions, refuse: Refuse) {
  const files = new Map<string, string>();
  for (const { path: file, content } of await openBackup(path, options)) {
    if (file !== AUDIT_FILE && !isKeyName(KEY_FILE.exec(file)?.groups?.name ?? '')) {
      throw refuse('it holds a file that does not belong to a keystore');
    }
    files.set(file, asText(content));
  }
  const own = [...files.keys()].filter((file) => file !== AUDIT_FILE && !file.includes('/'));
  const names = recordedNames(own).sort();
  const complete = new Set(names.flatMap((name) => Object.values(fileNames(name))));
  if (own.some((file) => !complete.has(file))) throw refuse('it holds a key file without a record');
  if (new Set(names.map(foldName)).size < names.length) throw refuse('two of its names differ only by case');
  if (names.length === 0) throw new DeribitKeysError('ERR_STATE', `the backup ${path} holds no key`);
  await checkKeys(names, { files, where: path, refuse });
  return { files, names };
}

/**
 * Restores the keys of a backup, all or none, and never over a name that exists: those that are named, or every key with
 * what was retired. The audit log is restored with every key, to a keystore that has none.
 * @returns the names that were restored
 * @throws `ERR_NAME_TAKEN`, `ERR_NO_SUCH_NAME`, `ERR_PASSPHRASE_WRONG`, `ERR_KEY_UNREADABLE`, `ERR_RECORD_DAMAGED`,
 *   `ERR_RECORD_NEWER`
 */
export async function restoreBackup(
  store: Keystore,
  {
    path,
    names: wanted = [],
    ...options
  }: BackupOptions & { readonly path: string; readonly names?: readonly string[] },
): Promise<readonly string[]> {
  const refuse: Refuse = (what) =>
    new DeribitKeysError('ERR_KEY_UNREADABLE', `the backup ${path} cannot be restored: ${what}`, {
      hint: 'nothing was restored',
    });
  const backup = await readBackup(path, options, refuse);
  const missing = wanted.find((name) => !backup.names.includes(name));
  if (missing !== undefined) {
    throw new DeribitKeysError('ERR_NO_SUCH_NAME', `the backup ${path} holds no key "${missing}"`, {
      hint: `nothing was restored; it holds: ${backup.names.slice(0, 20).join(', ')}${backup.names.length > 20 ? ' …' : ''}`,
    });
  }
  const every = wanted.length === 0;
  const names = every ? backup.names : [...new Set(wanted)].sort();
  return store.withLocks(names, async (keys) => {
    try {
      for (const key of keys) if (key.finished) await key.requireFree();
      await store.requireFree(...names);
    } catch (error) {
      if (!isDeribitKeysError(error, 'ERR_NAME_TAKEN')) throw error;
      throw error.with({ hint: await otherwise(store, path, backup.names) });
    }
    const steps = await stepsToRestore(store, names, { files: backup.files, every });
    const notes = names.map((name) => ({ action: 'restore', name }));
    await keys[0]?.change(steps, ...notes);
    return names;
  });
}

/** How else keys of a backup can be restored, where the keystore has some of them. */
async function otherwise(store: Keystore, path: string, names: readonly string[]): Promise<string> {
  const { records, damaged } = await store.list();
  const taken = new Set([...records, ...damaged].map(({ name }) => foldName(name)));
  const free = names.filter((name) => !taken.has(foldName(name)));
  const others =
    free.length === 0
      ? ''
      : `restore only the others: deribit-keys restore ${[path, ...free].map(shellWord).join(' ')}\n`;
  return `nothing was restored\n${others}or restore into another keystore, with --keys-dir <new folder>`;
}

async function stepsToRestore(
  store: Keystore,
  names: readonly string[],
  { files, every }: { readonly files: ReadonlyMap<string, string>; readonly every: boolean },
): Promise<readonly Step[]> {
  const restoredAt = store.now().toISOString();
  const steps: Step[] = [];
  const create = (file: string) => {
    const content = files.get(file);
    if (content !== undefined) steps.push({ do: 'create', file, content });
  };
  const breathe = createBreather();
  for (const name of names) {
    await breathe();
    const { record, publicKey, privateKey } = fileNames(name);
    create(publicKey);
    create(privateKey);
    steps.push(recordStep({ ...parseRecord(files.get(record) ?? '', record, name), restoredAt }, 'create'));
  }
  if (!every) return steps;
  for (const file of files.keys()) {
    const isOld = file.includes('/') || file === AUDIT_FILE;
    if (isOld && (await statOrNull(join(store.folder, file))) === null) create(file);
  }
  return steps;
}
