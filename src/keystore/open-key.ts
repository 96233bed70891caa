import type { PrivateKey } from '../crypto/keys.js';
import { encodePublicKeyPem, loadPkcs8Pem } from '../crypto/pem.js';
import type { Secret } from '../crypto/secret.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { readFileOrNull } from './files.js';
import type { Keystore } from './keystore.js';
import { type PermissionPolicy, readPrivateFile } from './permissions.js';
import type { KeyRecord } from './record.js';

/*
 * The way that every signature takes: it loads no ASN.1 reader, no hash and no key formats unless the files are not as
 * this package writes them.
 */

interface OpenOptions {
  /** Asked only where a passphrase is needed. */
  readonly passphrase?: (() => Promise<Secret>) | undefined;
  readonly permissions?: PermissionPolicy | undefined;
}

const PUT_BACK = 'a file was swapped or restored by hand: put the one that belongs there back';
const PLAIN = /-----BEGIN PRIVATE KEY-----/;
const ENCRYPTED = /-----BEGIN ENCRYPTED PRIVATE KEY-----/;

/** @throws always: a file beside a record is not the record's key */
export function mismatch(record: KeyRecord, path: string, what: string): DeribitKeysError {
  return new DeribitKeysError('ERR_KEY_MISMATCH', `${path} is not the key of the record "${record.name}": ${what}`, {
    hint: PUT_BACK,
  });
}

async function parseStored(
  record: KeyRecord,
  { path, text }: { readonly path: string; readonly text: string },
  { passphrase }: OpenOptions,
): Promise<PrivateKey> {
  if (PLAIN.test(text) && !ENCRYPTED.test(text)) return loadPkcs8Pem(text);
  const { parsePrivateKey } = await import('../crypto/formats/index.js');
  if (!ENCRYPTED.test(text)) return parsePrivateKey(text);
  if (passphrase === undefined) {
    const message = `the key "${record.name}" is encrypted, and no passphrase was given`;
    throw new DeribitKeysError('ERR_PASSPHRASE_REQUIRED', message);
  }
  try {
    return await parsePrivateKey(text, { passphrase: await passphrase() });
  } catch (error) {
    if (!isDeribitKeysError(error, 'ERR_PASSPHRASE_WRONG')) throw error;
    throw error.with({ message: `wrong passphrase for the key "${record.name}", or ${path} is damaged` });
  }
}

/** The error for a private key file that holds no private key, naming the file; any other as it is. */
function ofFile(error: unknown, path: string): unknown {
  const isContent = isDeribitKeysError(error, 'ERR_KEY_UNREADABLE', 'ERR_KEY_UNSUPPORTED');
  if (!isContent || error.message.includes(path)) return error;
  return error.with({ message: `${path}: ${error.message}`, hint: PUT_BACK });
}

/**
 * Opens the private key of `record` after checking who else can read its file, and proves that it is the record's.
 * @throws `ERR_KEY_UNREADABLE`, `ERR_PERMISSIONS`, `ERR_PASSPHRASE_REQUIRED`, `ERR_PASSPHRASE_WRONG`, `ERR_KEY_MISMATCH`
 *   and what reading a key can give
 */
export async function openPrivateKey(
  store: Keystore,
  record: KeyRecord,
  options: OpenOptions = {},
): Promise<PrivateKey> {
  const { privateKey: path, publicKey } = store.files(record.name);
  const text = (await readPrivateFile(path, options.permissions, { ofKeystore: true })).toString('utf8');
  const key = await parseStored(record, { path, text }, options).catch((error) => {
    throw ofFile(error, path);
  });
  const publicHalf = encodePublicKeyPem(key.publicKey);
  if (record.publicKey === publicHalf) return key;
  // an old record does not hold the public half: compare with the public key file, unless both were swapped
  const stored = record.publicKey === null ? await readFileOrNull(publicKey) : null;
  if (stored?.toString('utf8') === publicHalf) return key;
  const { fingerprint } = await import('../crypto/fingerprint.js');
  if (fingerprint(key.publicKey) === record.fingerprint) return key;
  throw mismatch(record, path, 'its public half is a different one');
}
