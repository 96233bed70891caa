import { createCipheriv, createDecipheriv } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Identity, Recipient } from 'age-encryption';
import { engine } from '#engine';
import { concatBytes, utf8Bytes } from '../crypto/bytes.js';
import { fingerprint } from '../crypto/fingerprint.js';
import { parsePrivateKey, parsePublicKey } from '../crypto/formats/index.js';
import { encodePublicKeyPem } from '../crypto/pem.js';
import type { Secret } from '../crypto/secret.js';
import { DeribitKeysError } from '../errors.js';
import { AUDIT_FILE, MAX_AUDIT_BYTES } from './audit-log.js';
import { createBreather, createFile, hasUnfinishedChange, namesIn, readFileOrNull, requireNewFile } from './files.js';
import type { Keystore } from './keystore.js';
import { fileNames, RETIRED_FOLDER, recordedNames } from './names.js';
import { MAX_RECORD_BYTES, parseRecord } from './record.js';

/*
 * A backup is an age file (age-encryption.org/v1) under a passphrase, which holds a tar archive of the keystore's files
 * under their own names: `age -d backup.age | tar x` opens it without this program.
 */

/** The largest backup that is written, and read. */
export const MAX_BACKUP_BYTES = 1024 * 1024 * 1024;
export const KEY_FILE =
  /^(?<folder>retired\/\d{4}-\d\d-\d\d(?:\.\d{1,6})?\/)?(?<name>[A-Za-z0-9_][A-Za-z0-9_.-]*?)(?<suffix>\.pub\.pem|\.pem|\.json)$/;
/** How often a key that changes while it is read is read again, before its lock is taken. */
const READS = 3;

interface FileOfBackup {
  readonly path: string;
  readonly content: Uint8Array;
}

type ReadFile = (path: string, maxBytes?: number) => Promise<readonly FileOfBackup[]>;

/** The files of one key as they were at one moment: its record is the same before and afterwards. */
async function readKey(store: Keystore, name: string, read: ReadFile): Promise<readonly FileOfBackup[]> {
  const { record, publicKey, privateKey } = fileNames(name);
  const readFiles = async () => [...(await read(publicKey)), ...(await read(privateKey))];
  for (let count = 0; count < READS; count += 1) {
    await store.read(name);
    const [before] = await read(record, MAX_RECORD_BYTES);
    const files = await readFiles();
    const [after] = await read(record, MAX_RECORD_BYTES);
    if (before === undefined || after === undefined || (await hasUnfinishedChange(store.folder, name))) continue;
    if (Buffer.compare(before.content, after.content) === 0) return [before, ...files];
  }
  return store.withLock(name, async () => [...(await read(record, MAX_RECORD_BYTES)), ...(await readFiles())]);
}

async function readAll(store: Keystore): Promise<FileOfBackup[]> {
  const read: ReadFile = async (path, maxBytes) => {
    const content = await readFileOrNull(join(store.folder, path), maxBytes);
    return content === null ? [] : [{ path, content }];
  };
  const { records, damaged } = await store.list();
  const [broken] = damaged;
  if (broken !== undefined) throw broken.error;
  const files: FileOfBackup[] = [];
  const breathe = createBreather();
  for (const { name } of records) {
    await breathe();
    files.push(...(await readKey(store, name, read)));
  }
  for (const day of await namesIn(join(store.folder, RETIRED_FOLDER))) {
    for (const file of await namesIn(join(store.folder, RETIRED_FOLDER, day)).catch(() => [])) {
      const path = `${RETIRED_FOLDER}/${day}/${file}`;
      if (KEY_FILE.test(path)) files.push(...(await read(path, MAX_RECORD_BYTES)));
    }
  }
  files.push(...(await read(AUDIT_FILE, MAX_AUDIT_BYTES)));
  return files;
}

/** The error that says why a keystore, or a backup of one, is refused. */
export type Refuse = (what: string) => DeribitKeysError;

/** Files of a keystore by their paths, where they are from, and how they are refused. */
interface Collection {
  readonly files: ReadonlyMap<string, string>;
  readonly where: string;
  readonly refuse: Refuse;
}

/** Proves each key: its record is valid, and its files are there and belong to it. */
export async function checkKeys(names: readonly string[], collection: Collection): Promise<void> {
  const breathe = createBreather();
  for (const name of names) {
    await breathe();
    await checkKey(name, collection);
  }
}

async function checkKey(name: string, { files, where, refuse }: Collection): Promise<void> {
  const names = fileNames(name);
  const record = parseRecord(files.get(names.record) ?? '', `${names.record} in ${where}`, name);
  const publicPem = files.get(names.publicKey);
  const privatePem = files.get(names.privateKey);
  if (publicPem === undefined) throw refuse(`it lacks ${names.publicKey}`);
  if (privatePem === undefined && record.signer === null) throw refuse(`it lacks ${names.privateKey}`);
  const key = privatePem === undefined || record.encrypted ? null : await parsePrivateKey(privatePem);
  if (key !== null && fingerprint(key) !== record.fingerprint) throw refuse(`${names.privateKey} is another key`);
  // the same text is the same key: reading it again costs more than all the rest
  if (key !== null && encodePublicKeyPem(key.publicKey) === publicPem) return;
  if (fingerprint(await parsePublicKey(publicPem)) !== record.fingerprint) {
    throw refuse(`${names.publicKey} is another key`);
  }
}

export const asText = (content: Uint8Array) => Buffer.from(content).toString('utf8');

/** How a backup is written or read. */
export interface BackupOptions {
  readonly passphrase: Secret;
  /** Ends the work with `ERR_INTERRUPTED`. */
  readonly signal?: AbortSignal | undefined;
}

/** @throws `ERR_STATE` for an empty keystore */
export async function requireKeysToBackUp(store: Keystore): Promise<void> {
  const { records, damaged } = await store.list();
  if (records.length + damaged.length > 0) return;
  throw new DeribitKeysError('ERR_STATE', `there is no key in ${store.folder} to back up`, {
    hint: 'name another keystore with --keys-dir <dir> or DERIBIT_KEYS_DIR',
  });
}

/**
 * Writes the complete keystore (keys, records, what was retired, the audit log) to a new file, encrypted under a passphrase.
 * @returns how many keys it holds
 * @throws `ERR_NAME_TAKEN` if the file exists, and what {@link sealBackup} does
 */
export async function writeBackup(
  store: Keystore,
  { path, ...options }: BackupOptions & { readonly path: string },
): Promise<number> {
  await requireNewFile(path);
  const { bytes, keys } = await sealBackup(store, options);
  await createFile(path, bytes);
  await store.audit({ action: 'backup' }).catch(async (error: unknown) => {
    await rm(path, { force: true });
    throw error;
  });
  return keys;
}

/**
 * The complete keystore, encrypted under a passphrase: the bytes of an age file, and how many keys it holds.
 * @throws `ERR_STATE` for an empty keystore; `ERR_RECORD_DAMAGED` and `ERR_KEY_UNREADABLE` for one that could not be restored
 */
export async function sealBackup(
  store: Keystore,
  { passphrase, signal }: BackupOptions,
): Promise<{ readonly bytes: Uint8Array; readonly keys: number }> {
  await requireKeysToBackUp(store);
  const files = await readAll(store);
  const names = recordedNames(files.map(({ path }) => path).filter((path) => !path.includes('/'))).sort();
  const texts = new Map(files.map(({ path, content }) => [path, asText(content)]));
  const refuse: Refuse = (what) =>
    new DeribitKeysError('ERR_KEY_UNREADABLE', `the keystore ${store.folder} cannot be backed up: ${what}`, {
      hint: 'see what is wrong with: deribit-keys doctor',
    });
  await checkKeys(names, { files: texts, where: store.folder, refuse });
  const [{ Encrypter, Stanza }, { createTar }] = await Promise.all([import('age-encryption'), import('nanotar')]);
  const tar = createTar(files.map(({ path: name, content }) => ({ name, data: content, attrs: { mode: '600' } })));
  const encrypter = new Encrypter();
  encrypter.addRecipient(passphraseRecipient(passphrase, Stanza, signal));
  const sealed = await encrypter.encrypt(tar);
  if (sealed.length > MAX_BACKUP_BYTES) {
    const message = `the backup would have ${sealed.length} bytes: at most ${MAX_BACKUP_BYTES}`;
    throw new DeribitKeysError('ERR_STATE', message, {
      hint: `most of it is likely the audit log: move ${join(store.folder, AUDIT_FILE)} away, then run the same command again`,
    });
  }
  return { bytes: sealed, keys: names.length };
}

/*
 * The scrypt stanza of an age file (age-encryption.org/v1, "The scrypt recipient type"), computed in the background.
 * The package's own one blocks the process for seconds, and no signal is heard meanwhile.
 */

const LABEL = utf8Bytes('age-encryption.org/v1/scrypt');
/** As age writes by default: about a second. */
const WORK_FACTOR = 18;
const MAX_WORK_FACTOR = 20;
const ALGORITHM = 'chacha20-poly1305';
const NONCE = new Uint8Array(12);
const TAG_BYTES = 16;

function deriveKey(
  passphrase: Secret,
  { salt, logN }: { readonly salt: Uint8Array; readonly logN: number },
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const cost = { cost: 2 ** logN, blockSize: 8, parallelization: 1 };
  return new Promise((resolve, reject) => {
    const message = 'interrupted while the passphrase was tried';
    const stop = () => reject(new DeribitKeysError('ERR_INTERRUPTED', message, { maybeSent: false }));
    if (signal?.aborted) return stop();
    signal?.addEventListener('abort', stop, { once: true });
    engine
      .scrypt(utf8Bytes(passphrase.reveal()), { ...cost, salt: concatBytes(LABEL, salt), length: 32 })
      .then(resolve, reject)
      .finally(() => signal?.removeEventListener('abort', stop));
  });
}

const unpadded = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64').replace(/=+$/, '');

/** Encrypts an age file to a passphrase. `Stanza` is the package's class. */
export function passphraseRecipient(
  passphrase: Secret,
  Stanza: typeof import('age-encryption').Stanza,
  signal?: AbortSignal,
): Recipient {
  return {
    async wrapFileKey(fileKey) {
      const salt = engine.randomBytes(16);
      const key = await deriveKey(passphrase, { salt, logN: WORK_FACTOR }, signal);
      const cipher = createCipheriv(ALGORITHM, key, NONCE, { authTagLength: TAG_BYTES });
      const body = Buffer.concat([cipher.update(fileKey), cipher.final(), cipher.getAuthTag()]);
      return [new Stanza(['scrypt', unpadded(salt), String(WORK_FACTOR)], body)];
    },
  };
}

/** Decrypts an age file by its passphrase. */
export function passphraseIdentity(passphrase: Secret, signal?: AbortSignal): Identity {
  return {
    async unwrapFileKey(stanzas) {
      const stanza = stanzas.find(({ args }) => args[0] === 'scrypt');
      if (stanza === undefined) return null;
      const { args, body } = stanza;
      const salt = Buffer.from(args[1] ?? '', 'base64');
      const logN = /^[1-9]\d*$/.test(args[2] ?? '') ? Number(args[2]) : Number.NaN;
      // it must be the only stanza, so that nobody else can have written the file
      if (stanzas.length !== 1 || args.length !== 3 || salt.length !== 16 || body.length !== 32) return null;
      if (!(logN <= MAX_WORK_FACTOR)) {
        const message = `the work factor of the age file is above ${MAX_WORK_FACTOR}`;
        const hint = 'encrypt it again: age --decrypt <file> | age --passphrase > <new file>';
        throw new DeribitKeysError('ERR_KEY_UNSUPPORTED', message, { hint });
      }
      const key = await deriveKey(passphrase, { salt, logN }, signal);
      const decipher = createDecipheriv(ALGORITHM, key, NONCE, { authTagLength: TAG_BYTES });
      decipher.setAuthTag(body.subarray(-TAG_BYTES));
      try {
        return Buffer.concat([decipher.update(body.subarray(0, -TAG_BYTES)), decipher.final()]);
      } catch {
        return null;
      }
    },
  };
}
