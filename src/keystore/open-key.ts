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

/** Asked for a passphrase only where one is needed. */
type PassphraseSource = () => Promise<Secret>;

interface OpenOptions {
  readonly passphrase?: PassphraseSource | undefined;
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
  {
    path,
    text,
    source,
  }: { readonly path: string; readonly text: string; readonly source?: PassphraseSource | undefined },
): Promise<PrivateKey> {
  if (PLAIN.test(text) && !ENCRYPTED.test(text)) return loadPkcs8Pem(text);
  const { parsePrivateKey } = await import('../crypto/formats/index.js');
  if (!ENCRYPTED.test(text)) return parsePrivateKey(text);
  if (source === undefined) {
    throw new DeribitKeysError(
      'ERR_PASSPHRASE_REQUIRED',
      `the key "${record.name}" is encrypted, and no passphrase was given`,
    );
  }
  try {
    return await parsePrivateKey(text, { passphrase: await source() });
  } catch (error) {
    if (!isDeribitKeysError(error, 'ERR_PASSPHRASE_WRONG')) throw error;
    throw error.with({ message: `wrong passphrase for the key "${record.name}", or ${path} is damaged` });
  }
}

/** The error for a private key file that holds no private key, naming the file; any other as it is. */
function ofFile(error: unknown, path: string): unknown {
  const isContent = isDeribitKeysError(error, 'ERR_KEY_UNREADABLE') || isDeribitKeysError(error, 'ERR_KEY_UNSUPPORTED');
  return isContent && !error.message.includes(path)
    ? error.with({ message: `${path}: ${error.message}`, hint: PUT_BACK })
    : error;
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
  const files = store.files(record.name);
  const text = (await readPrivateFile(files.privateKey, options.permissions, { ofKeystore: true })).toString('utf8');
  const key = await parseStored(record, { path: files.privateKey, text, source: options.passphrase }).catch((error) => {
    throw ofFile(error, files.privateKey);
  });
  const publicHalf = encodePublicKeyPem(key.publicKey);
  if (record.publicKey === publicHalf) return key;
  // an old record does not hold the public half: compare with the public key file, unless both were swapped
  const stored = record.publicKey === null ? await readFileOrNull(files.publicKey) : null;
  if (stored?.toString('utf8') === publicHalf) return key;
  const { fingerprint } = await import('../crypto/fingerprint.js');
  if (fingerprint(key.publicKey) !== record.fingerprint)
    throw mismatch(record, files.privateKey, 'its public half is a different one');
  return key;
}
