import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fingerprint } from '../crypto/fingerprint.js';
import { parsePrivateKey, parsePublicKey } from '../crypto/formats/index.js';
import type { Secret } from '../crypto/secret.js';
import { DeribitKeysError } from '../errors.js';
import { AUDIT_FILE } from './audit-log.js';
import { createFile, namesIn, readFileOrNull, requireNoFile, statOrNull } from './files.js';
import { fileNames, type Keystore, type LockedKey, recordStep } from './keystore.js';
import { foldName, isKeyName } from './names.js';
import { parseRecord } from './record.js';
import { RETIRED_FOLDER } from './retire.js';
import type { Step } from './steps.js';

/*
 * A backup is an age file (age-encryption.org/v1) under a passphrase, in which stands a tar archive of the keystore's
 * files under their own names: `age -d backup.age | tar x` opens it without this program.
 */

const MAX_BACKUP_BYTES = 64 * 1024 * 1024;
const KEY_FILE =
  /^(?<folder>retired\/\d{4}-\d\d-\d\d(?:\.\d{1,6})?\/)?(?<name>[A-Za-z0-9_][A-Za-z0-9_.-]*?)(?<suffix>\.pub\.pem|\.pem|\.json)$/;

interface FileOfBackup {
  readonly path: string;
  readonly content: Uint8Array;
}

async function readAll(store: Keystore): Promise<FileOfBackup[]> {
  const files: FileOfBackup[] = [];
  const add = async (path: string) => {
    const content = await readFileOrNull(join(store.folder, path), MAX_BACKUP_BYTES);
    if (content !== null) files.push({ path, content });
  };
  const { records, damaged } = await store.list();
  const [broken] = damaged;
  if (broken !== undefined) throw broken.error;
  for (const { name } of records) {
    await store.withLock(name, async () => {
      for (const file of Object.values(fileNames(name))) await add(file);
    });
  }
  for (const day of await namesIn(join(store.folder, RETIRED_FOLDER))) {
    for (const file of await namesIn(join(store.folder, RETIRED_FOLDER, day)).catch(() => [])) {
      const path = `${RETIRED_FOLDER}/${day}/${file}`;
      if (KEY_FILE.test(path)) await add(path);
    }
  }
  await add(AUDIT_FILE);
  return files;
}

/** A reason why a keystore, or a backup of one, cannot be taken as it is. */
type Refuse = (what: string) => DeribitKeysError;

/** Proves one key: its record reads, and its files are there and the record's. */
async function checkKey(
  name: string,
  files: ReadonlyMap<string, string>,
  where: string,
  refuse: Refuse,
): Promise<void> {
  const names = fileNames(name);
  const record = parseRecord(files.get(names.record) ?? '', `${names.record} in ${where}`, name);
  const publicPem = files.get(names.publicKey);
  const privatePem = files.get(names.privateKey);
  if (publicPem === undefined) throw refuse(`it lacks ${names.publicKey}`);
  if (privatePem === undefined && record.signer === null) throw refuse(`it lacks ${names.privateKey}`);
  if (fingerprint(await parsePublicKey(publicPem)) !== record.fingerprint) {
    throw refuse(`${names.publicKey} is another key`);
  }
  if (privatePem === undefined || record.encrypted) return;
  const key = await parsePrivateKey(privatePem);
  if (fingerprint(key) !== record.fingerprint) throw refuse(`${names.privateKey} is another key`);
}

const asText = (content: Uint8Array) => Buffer.from(content).toString('utf8');

/** The names of keys, by their records among files of a keystore. */
function namesOf(files: readonly string[]): readonly string[] {
  const records = files.filter((file) => file.endsWith('.json') && !file.includes('/'));
  return records.map((file) => file.slice(0, -'.json'.length)).sort();
}

/**
 * Writes the whole keystore, keys and records, to a new file, encrypted under a passphrase.
 * @returns how many keys it holds
 * @throws `ERR_NAME_TAKEN` where the file exists, `ERR_STATE` for an empty keystore; `ERR_RECORD_DAMAGED` and
 *   `ERR_KEY_UNREADABLE` for one that could not be restored
 */
export async function writeBackup(store: Keystore, path: string, passphrase: Secret): Promise<number> {
  await requireNoFile(path);
  const files = await readAll(store);
  const names = namesOf(files.map(({ path: file }) => file));
  if (names.length === 0) throw new DeribitKeysError('ERR_STATE', `there is no key in ${store.folder} to back up`);
  const texts = new Map(files.map(({ path: file, content }) => [file, asText(content)]));
  const refuse: Refuse = (what) =>
    new DeribitKeysError('ERR_KEY_UNREADABLE', `the keystore ${store.folder} cannot be backed up: ${what}`, {
      hint: 'see what is wrong with: deribit-keys doctor',
    });
  for (const name of names) await checkKey(name, texts, store.folder, refuse);
  const [{ Encrypter }, { createTar }] = await Promise.all([import('age-encryption'), import('nanotar')]);
  const tar = createTar(files.map(({ path: name, content }) => ({ name, data: content, attrs: { mode: '600' } })));
  const encrypter = new Encrypter();
  encrypter.setPassphrase(passphrase.reveal());
  const sealed = await encrypter.encrypt(tar);
  await createFile(path, sealed);
  try {
    await store.audit({ action: 'backup' });
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
  return names.length;
}

async function openBackup(path: string, passphrase: Secret): Promise<FileOfBackup[]> {
  const sealed = await readFileOrNull(path, MAX_BACKUP_BYTES);
  if (sealed === null) throw new DeribitKeysError('ERR_KEY_UNREADABLE', `there is no file ${path}`);
  const [{ Decrypter }, { parseTar }] = await Promise.all([import('age-encryption'), import('nanotar')]);
  const decrypter = new Decrypter();
  decrypter.addPassphrase(passphrase.reveal());
  let tar: Uint8Array;
  try {
    tar = await decrypter.decrypt(sealed);
  } catch (cause) {
    throw new DeribitKeysError('ERR_PASSPHRASE_WRONG', `wrong passphrase for ${path}, or it is no backup, or damaged`, {
      cause,
    });
  }
  try {
    return parseTar(tar).map(({ name, data }) => ({ path: name, content: data ?? new Uint8Array() }));
  } catch (cause) {
    throw new DeribitKeysError('ERR_KEY_UNREADABLE', `${path} opens, but what is in it is no tar archive`, { cause });
  }
}

async function withLocks<T>(
  store: Keystore,
  names: readonly string[],
  work: (first: LockedKey) => Promise<T>,
): Promise<T> {
  const [name, ...rest] = names;
  if (name === undefined) throw new DeribitKeysError('ERR_STATE', 'the backup holds no key');
  return store.withLock(name, async (locked) => {
    await locked.requireFree();
    return rest.length === 0 ? work(locked) : withLocks(store, rest, () => work(locked));
  });
}

/**
 * Brings back every key of a backup, all or none, and never over a name that exists.
 * @returns the names that came back
 * @throws `ERR_NAME_TAKEN`, `ERR_PASSPHRASE_WRONG`, `ERR_KEY_UNREADABLE`, `ERR_RECORD_DAMAGED`, `ERR_RECORD_NEWER`
 */
export async function restoreBackup(store: Keystore, path: string, passphrase: Secret): Promise<readonly string[]> {
  const refuse: Refuse = (what) =>
    new DeribitKeysError('ERR_KEY_UNREADABLE', `the backup ${path} cannot be restored: ${what}`, {
      hint: 'nothing was restored',
    });
  const files = new Map<string, string>();
  for (const { path: file, content } of await openBackup(path, passphrase)) {
    if (file !== AUDIT_FILE && !isKeyName(KEY_FILE.exec(file)?.groups?.name ?? '')) {
      throw refuse('it holds a file that is none of a keystore');
    }
    files.set(file, asText(content));
  }
  const own = [...files.keys()].filter((file) => file !== AUDIT_FILE && !file.includes('/'));
  const names = namesOf(own);
  const complete = new Set(names.flatMap((name) => Object.values(fileNames(name))));
  if (own.some((file) => !complete.has(file))) throw refuse('it holds a file of a key without a record');
  if (new Set(names.map(foldName)).size < names.length) throw refuse('two of its names differ by case alone');
  for (const name of names) await checkKey(name, files, path, refuse);
  return withLocks(store, names, async (locked) => {
    const restoredAt = store.now().toISOString();
    const records = new Map(names.map((name) => [fileNames(name).record, name]));
    const steps: Step[] = [];
    for (const [file, name] of records) {
      const record = parseRecord(files.get(file) ?? '', file, name);
      steps.push(recordStep({ ...record, restoredAt }, 'create'));
    }
    for (const [file, content] of files) {
      if (file === AUDIT_FILE || records.has(file)) continue;
      const stays = file.includes('/') && (await statOrNull(join(store.folder, file))) !== null;
      if (!stays) steps.push({ do: 'create', file, content });
    }
    await locked.change(steps, ...names.map((name) => ({ action: 'restore', name })));
    return names;
  });
}
