import { md5 } from '@noble/hashes/legacy.js';
import {
  type DerNode,
  integer,
  nullNode,
  octetString,
  octetStringOf,
  oid,
  sequence,
  sequenceOf,
  writeDer,
} from '../asn1/der.js';
import { bigIntToBytes, concatBytes, utf8Bytes } from '../bytes.js';
import type { Engine } from '../engine/engine.js';
import { refuseKind, unreadable } from '../key-errors.js';
import type { PemBlock } from '../pem.js';
import type { SecretLike } from '../secret.js';
import {
  AES_256_CBC,
  type EncryptionScheme,
  HMAC_SHA256,
  PBES2,
  PBKDF2,
  readEncryptionScheme,
} from './encryption-scheme.js';
import { encryptAgain, passphraseToRead } from './passphrase.js';

const TRIPLE_DES_BLOCK = 8;
/** Of what is written, in bytes. */
const SALT_LENGTH = 16;
const IV_LENGTH = 16;
const KEY_LENGTH = 32;

/**
 * Decrypts an EncryptedPrivateKeyInfo (RFC 5958 §3); null is the sign of a wrong passphrase. The derivation does not block.
 * @throws ERR_KEY_UNSUPPORTED for a scheme that is not read and for absurd costs, before any passphrase is asked for;
 * ERR_PASSPHRASE_REQUIRED
 */
export async function decryptPkcs8(
  node: DerNode,
  passphrase: SecretLike | undefined,
  engine: Engine,
): Promise<Uint8Array | null> {
  const [algorithm, data] = sequenceOf(node, 'EncryptedPrivateKeyInfo');
  const scheme = readEncryptionScheme(algorithm);
  const secret = octetStringOf(data, 'the encrypted data');
  return decrypt(scheme, { secret, passphrase: passphraseToRead(passphrase), engine });
}

async function decrypt(
  { derive, cipher, keyLength, iv }: EncryptionScheme,
  { secret, passphrase, engine }: { readonly secret: Uint8Array; readonly passphrase: string; readonly engine: Engine },
): Promise<Uint8Array | null> {
  const key = await derive({ passphrase, purpose: 'key', length: keyLength }, engine);
  const vector = iv ?? (await derive({ passphrase, purpose: 'iv', length: TRIPLE_DES_BLOCK }, engine));
  return cipher === 'aes-cbc'
    ? engine.aesCbcDecrypt(key, vector, secret)
    : engine.tripleDesCbcDecrypt(key, vector, secret);
}

/**
 * Encrypts PKCS#8 DER: DER of the EncryptedPrivateKeyInfo (RFC 5958 §3) under PBES2 with PBKDF2-HMAC-SHA-256 and
 * AES-256-CBC (RFC 8018 §6.2). Does not block.
 */
export async function encryptPkcs8(
  pkcs8: Uint8Array,
  { passphrase, iterations }: { readonly passphrase: string; readonly iterations: number },
  engine: Engine,
): Promise<Uint8Array> {
  const salt = engine.randomBytes(SALT_LENGTH);
  const iv = engine.randomBytes(IV_LENGTH);
  const key = await engine.pbkdf2(utf8Bytes(passphrase), { hash: 'sha256', salt, iterations, length: KEY_LENGTH });
  return writeDer(
    encryptedPrivateKeyInfo({ salt, iterations, iv, secret: await engine.aesCbcEncrypt(key, iv, pkcs8) }),
  );
}

interface EncryptedParts {
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly iv: Uint8Array;
  readonly secret: Uint8Array;
}

/** RFC 8018 §A.2, §A.4 and §B.2.5 */
function encryptedPrivateKeyInfo({ salt, iterations, iv, secret }: EncryptedParts): DerNode {
  const prf = sequence(oid(HMAC_SHA256), nullNode());
  const kdf = sequence(oid(PBKDF2), sequence(octetString(salt), integer(BigInt(iterations)), prf));
  const cipher = sequence(oid(AES_256_CBC), octetString(iv));
  return sequence(sequence(oid(PBES2), sequence(kdf, cipher)), octetString(secret));
}

const LEGACY_SALT_LENGTH = 8;

interface LegacyCipher {
  readonly cipher: 'aes-cbc' | '3des-cbc';
  readonly keyLength: number;
  readonly ivLength: number;
}

const CIPHERS: ReadonlyMap<string, LegacyCipher> = new Map([
  ['AES-128-CBC', { cipher: 'aes-cbc', keyLength: 16, ivLength: 16 }],
  ['AES-192-CBC', { cipher: 'aes-cbc', keyLength: 24, ivLength: 16 }],
  ['AES-256-CBC', { cipher: 'aes-cbc', keyLength: 32, ivLength: 16 }],
  ['DES-EDE3-CBC', { cipher: '3des-cbc', keyLength: 24, ivLength: 8 }],
]);

/** How a PEM block is encrypted in OpenSSL's old way. */
export interface LegacyEncryption extends LegacyCipher {
  readonly iv: Uint8Array;
}

/**
 * The encryption that the headers of a PEM block name (RFC 1421 §4.6.1); null for an unencrypted block.
 * @throws ERR_KEY_UNSUPPORTED for other ciphers, by name; ERR_KEY_UNREADABLE for broken headers
 */
export function readLegacyEncryption({ headers }: PemBlock): LegacyEncryption | null {
  const dekInfo = headers.get('DEK-Info');
  const marked = /ENCRYPTED/.test(headers.get('Proc-Type') ?? '');
  if (dekInfo === undefined && !marked) return null;
  const [, name, hex] = /^([A-Za-z0-9-]{1,40}),\s*([0-9A-Fa-f]+)$/.exec(dekInfo ?? '') ?? [];
  if (!marked || name === undefined || hex === undefined)
    throw unreadable('the PEM headers of the encryption are broken');
  const cipher = CIPHERS.get(name.toUpperCase());
  if (cipher === undefined) {
    throw refuseKind(
      `key encrypted by ${name}: only AES-CBC and DES-EDE3-CBC are supported`,
      encryptAgain(/^(?:AES|ARIA|CAMELLIA)/i.test(name) ? 'default' : 'legacy'),
    );
  }
  if (hex.length !== cipher.ivLength * 2) throw unreadable('the initialisation vector in DEK-Info has a wrong length');
  return { ...cipher, iv: bigIntToBytes(BigInt(`0x${hex}`), cipher.ivLength) };
}

/** Decrypts the contents of such a block; null is the sign of a wrong passphrase. */
export function decryptLegacy(
  { cipher, keyLength, iv }: LegacyEncryption,
  { secret, passphrase, engine }: { readonly secret: Uint8Array; readonly passphrase: string; readonly engine: Engine },
): Promise<Uint8Array | null> {
  const key = bytesToKey(utf8Bytes(passphrase), iv.subarray(0, LEGACY_SALT_LENGTH), keyLength);
  return cipher === 'aes-cbc' ? engine.aesCbcDecrypt(key, iv, secret) : engine.tripleDesCbcDecrypt(key, iv, secret);
}

/** OpenSSL's EVP_BytesToKey with MD5 and one round: each hash covers the one before it, the passphrase and the salt. */
function bytesToKey(passphrase: Uint8Array, salt: Uint8Array, length: number): Uint8Array {
  let hash: Uint8Array = new Uint8Array();
  let key: Uint8Array = hash;
  while (key.length < length) {
    hash = md5(concatBytes(hash, passphrase, salt));
    key = concatBytes(key, hash);
  }
  return key.slice(0, length);
}
