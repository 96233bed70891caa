import { readlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fingerprint } from '../crypto/fingerprint.js';
import { parsePrivateKey, parsePublicKey, serialisePrivateKey } from '../crypto/formats/index.js';
import { type GenerateOptions, generateKeyPair } from '../crypto/generate.js';
import type { PrivateKey, PublicKey } from '../crypto/keys.js';
import { encodePrivateKeyPem, encodePublicKeyPem } from '../crypto/pem.js';
import type { Secret } from '../crypto/secret.js';
import { DeribitKeysError } from '../errors.js';
import type { SignerLocation } from '../signers/kinds.js';
import { noteOn } from './audit-log.js';
import { readFileOrNull, statOrNull } from './files.js';
import { requireNoRotation } from './journal.js';
import { type Keystore, type LockedKey, recordStep } from './keystore.js';
import { fileNames, RETIRED_FOLDER, tokenFileName } from './names.js';
import { mismatch } from './open-key.js';
import { type KeyRecord, localRecord } from './record.js';
import type { Step } from './steps.js';

/** The PEM as it is stored; an encrypted one has been proved to open again. */
async function storedPem(key: PrivateKey, passphrase: Secret | null): Promise<string> {
  if (passphrase === null) return encodePrivateKeyPem(key);
  const pem = String(await serialisePrivateKey(key, { format: 'pkcs8', passphrase }));
  const proved = await parsePrivateKey(pem, { passphrase });
  if (proved.publicKey.equals(key.publicKey)) return pem;
  const message = 'the encrypted form of the key does not open to the same key: nothing was stored';
  throw new DeribitKeysError('ERR_INTERNAL', message);
}

interface KeyToStore {
  readonly name: string;
  readonly key: PrivateKey;
  readonly passphrase?: Secret | null;
  readonly action: string;
}

/**
 * Stores a private key under a name that is free: PKCS#8, the public half and the record, all or nothing.
 * @throws `ERR_NAME_TAKEN`, `ERR_LOCKED`, `ERR_KEYSTORE_IO`
 */
export async function storeKey(
  store: Keystore,
  { name, key, passphrase = null, action }: KeyToStore,
): Promise<KeyRecord> {
  const privateHalf = { pem: await storedPem(key, passphrase), encrypted: passphrase !== null };
  return storePublicKey(store, { name, publicKey: key.publicKey, signer: null, action }, privateHalf);
}

interface PublicKeyToStore {
  readonly name: string;
  readonly publicKey: PublicKey;
  /** Where the private half lives; null for a file of the keystore. */
  readonly signer: SignerLocation | null;
  /** For the audit log. */
  readonly action?: string;
}

/** Stores the public half and the record of a key, and its private half where that is given: see {@link storeKey}. */
export async function storePublicKey(
  store: Keystore,
  { name, publicKey: key, signer, action = `add ${signer?.kind}` }: PublicKeyToStore,
  privateHalf: { readonly pem: string; readonly encrypted: boolean } | null = null,
): Promise<KeyRecord> {
  return store.withLock(name, async (locked) => {
    await locked.requireFree();
    const { algorithm, bits } = key;
    const publicKey = encodePublicKeyPem(key);
    const encrypted = privateHalf?.encrypted ?? false;
    const kind = { algorithm, bits, fingerprint: fingerprint(key), publicKey, encrypted };
    const record = localRecord({ name, ...kind, createdAt: store.now().toISOString(), signer });
    const files = fileNames(name);
    const steps: Step[] = [{ do: 'create', file: files.publicKey, content: publicKey }];
    if (privateHalf !== null) steps.push({ do: 'create', file: files.privateKey, content: privateHalf.pem });
    await locked.change([...steps, recordStep(record, 'create')], noteOn(action, record));
    return record;
  });
}

/** The public half as it is stored, proved to be the record's. */
export async function readPublicKey(store: Keystore, record: KeyRecord): Promise<PublicKey> {
  const path = store.files(record.name).publicKey;
  const content = await readFileOrNull(path);
  if (content === null) throw new DeribitKeysError('ERR_KEY_UNREADABLE', `there is no public key file ${path}`);
  const key = await parsePublicKey(content.toString('utf8'));
  if (fingerprint(key) !== record.fingerprint) throw mismatch(record, path, 'its fingerprint is another');
  return key;
}

interface PassphraseChange {
  readonly name: string;
  /** The new passphrase; null stores the key unencrypted. */
  readonly next: Secret | null;
  /** Opens the key, or returns what was opened before. Called while the key's lock is held. */
  readonly open: (record: KeyRecord) => Promise<PrivateKey>;
}

/**
 * Sets, changes or removes a key's passphrase. The old file stays until the new one is proved to open.
 * @throws `ERR_STATE` for a key that has no private file of its own, `ERR_KEY_MISMATCH` if `open` returns another key, and
 *   what `open` does
 */
export async function changePassphrase(store: Keystore, { name, next, open }: PassphraseChange): Promise<KeyRecord> {
  return store.withLock(name, async (locked) => {
    const record = await locked.read();
    requirePrivateFile(record);
    await requireNoRotation(store, name);
    const { privateKey: path } = store.files(name);
    await requireOwnFile(path, {
      why: 'its passphrase cannot be changed here',
      hint: 'change the file that it points to, or import that file under a name of its own',
    });
    const key = await open(record);
    if (fingerprint(key.publicKey) !== record.fingerprint) throw mismatch(record, path, 'its fingerprint is another');
    const changed: KeyRecord = { ...record, encrypted: next !== null };
    await locked.change(
      [{ do: 'replace', file: fileNames(name).privateKey, content: await storedPem(key, next) }, recordStep(changed)],
      noteOn(next === null ? 'decrypt' : 'encrypt', record),
    );
    return changed;
  });
}

/** @throws `ERR_STATE` for a symbolic link: the file behind it would stay as it is */
export async function requireOwnFile(
  path: string,
  { why, hint }: { readonly why: string; readonly hint: string },
): Promise<void> {
  if (!(await statOrNull(path))?.isSymbolicLink()) return;
  throw new DeribitKeysError('ERR_STATE', `${path} is a symbolic link: ${why}`, { hint });
}

/** @throws `ERR_STATE` for a key that lives in an agent or a token. */
export function requirePrivateFile(record: KeyRecord): void {
  if (record.signer === null) return;
  const message = `the private half of "${record.name}" is not a file: it lives in ${record.signer.kind}`;
  const hint = 'commands that work with it: list, show, export --public, register, verify, auth, sign';
  throw new DeribitKeysError('ERR_STATE', message, { hint });
}

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
 * The steps that move a key's files to a dated folder, where they can be restored from. Of a symbolic link only the
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
  { locked, record, purge }: { readonly locked: LockedKey; readonly record: KeyRecord; readonly purge: boolean },
): Promise<RetiredKey> {
  const linkedFile = await linkTarget(store.files(record.name).privateKey);
  const { name } = record;
  const token: Step = { do: 'delete', file: tokenFileName(name) };
  if (purge) {
    const files = await filesOf(store, name);
    await locked.change([...files.map((file): Step => ({ do: 'delete', file })), token], noteOn('purge', record));
    return { folder: null, linkedFile };
  }
  const { folder, steps } = await stepsToRetire(store, record);
  await locked.change([...steps, token], noteOn('remove from keystore', record));
  return { folder: join(store.folder, folder), linkedFile };
}

/**
 * Makes a keypair on this machine and stores it under a free name, encrypted where a passphrase is given.
 * @throws `ERR_NAME_TAKEN`, `ERR_USAGE`, `ERR_LOCKED`, `ERR_KEYSTORE_IO`
 */
export async function generate(
  store: Keystore,
  name: string,
  options: GenerateOptions & { readonly passphrase?: Secret | null } = {},
): Promise<KeyRecord> {
  store.files(name);
  // a taken name is reported before the work; the store checks again, under the lock
  await store.withLock(name, (locked) => locked.requireFree());
  const { passphrase = null, ...kind } = options;
  return storeKey(store, { name, key: await generateKeyPair(kind), passphrase, action: 'generate' });
}
