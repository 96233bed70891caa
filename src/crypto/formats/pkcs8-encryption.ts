import { engine as defaultEngine } from '#engine';
import type { Engine } from '../engine/engine.js';
import type { PrivateKey } from '../keys.js';
import { bigIntToBytes, bytesToBigInt, concatBytes, equalBytes } from '../numbers.js';
import { decodePem } from '../pem.js';
import type { SecretLike } from '../secret.js';
import { utf8Bytes } from './bytes.js';
import { passphraseToRead, wrongPassphrase } from './passphrase.js';

/** The least and the usual number of PBKDF2 iterations that are written. */
export const MIN_ITERATIONS = 600_000;
/** The most iterations that are written or read. */
export const MAX_ITERATIONS = 10_000_000;

const SALT_LENGTH = 16;
const IV_LENGTH = 16;
const KEY_LENGTH = 32;

const PBES2 = Uint8Array.of(0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d);
const PBKDF2 = Uint8Array.of(0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c);
const HMAC_SHA256 = Uint8Array.of(
  ...[0x30, 0x0c, 0x06, 0x08, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09, 0x05, 0x00],
);
const AES_256_CBC = Uint8Array.of(0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a);

const SEQUENCE = 0x30;
const INTEGER = 0x02;
const OCTET_STRING = 0x04;

/**
 * Encrypts PKCS#8 DER: DER of the EncryptedPrivateKeyInfo (RFC 5958 §3) under PBES2 with PBKDF2-HMAC-SHA-256 and
 * AES-256-CBC (RFC 8018 §6.2). Does not block.
 */
export async function encryptPkcs8(
  pkcs8: Uint8Array,
  passphrase: string,
  iterations: number,
  engine: Engine,
): Promise<Uint8Array> {
  const salt = engine.randomBytes(SALT_LENGTH);
  const iv = engine.randomBytes(IV_LENGTH);
  const key = await engine.pbkdf2('sha256', utf8Bytes(passphrase), salt, iterations, KEY_LENGTH);
  return layOut(salt, iterations, iv, engine.aesCbcEncrypt(key, iv, pkcs8));
}

/**
 * Opens an encrypted PKCS#8 PEM exactly as this package writes it, without a DER reader: the quick way for a key of the
 * keystore. Null where the text is anything else, which `parsePrivateKey` may still read.
 * @throws ERR_PASSPHRASE_REQUIRED, ERR_PASSPHRASE_WRONG; ERR_KEY_UNREADABLE for a broken PEM; ERR_KEY_UNSUPPORTED and
 * ERR_KEY_INVALID for the key inside
 */
export async function decryptPkcs8Pem(
  text: string,
  passphrase: SecretLike | undefined,
  engine: Engine = defaultEngine,
): Promise<PrivateKey | null> {
  const [block, ...others] = decodePem(text);
  if (block?.label !== 'ENCRYPTED PRIVATE KEY' || others.length > 0) return null;
  const parts = takeApart(block.bytes);
  if (parts === null) return null;
  const { salt, iterations, iv, secret } = parts;
  const password = utf8Bytes(passphraseToRead(passphrase));
  const key = await engine.pbkdf2('sha256', password, salt, iterations, KEY_LENGTH);
  const pkcs8 = engine.aesCbcDecrypt(key, iv, secret, 'pkcs7');
  if (pkcs8 === null) throw wrongPassphrase();
  const quick = await engine.quickPrivateKey?.(pkcs8);
  if (quick != null) return quick;
  const { parseDecryptedPkcs8 } = await import('./encrypted-pkcs8.js');
  return parseDecryptedPkcs8(pkcs8, engine);
}

interface Parts {
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly iv: Uint8Array;
  readonly secret: Uint8Array;
}

/**
 * The parts of a document, found by where {@link layOut} puts them, and proved by laying them out again; null where
 * that gives another document.
 */
function takeApart(der: Uint8Array): Parts | null {
  const headerLength = (der[1] ?? 0) < 0x80 ? 2 : 2 + ((der[1] ?? 0) & 0x7f);
  // The fixed bytes between: headers of five SEQUENCEs and of the salt, two OIDs.
  const saltAt = headerLength + 2 + PBES2.length + 2 + 2 + PBKDF2.length + 2 + 2;
  const iterationsAt = saltAt + SALT_LENGTH + 2;
  const iterationsLength = der[iterationsAt - 1] ?? 0;
  const ivAt = iterationsAt + iterationsLength + HMAC_SHA256.length + 2 + AES_256_CBC.length + 2;
  const secretHeaderAt = ivAt + IV_LENGTH;
  const secretLength = der[secretHeaderAt + 1] ?? 0;
  const secretAt = secretHeaderAt + 2 + (secretLength < 0x80 ? 0 : secretLength & 0x7f);
  const salt = der.slice(saltAt, saltAt + SALT_LENGTH);
  const iv = der.slice(ivAt, ivAt + IV_LENGTH);
  const secret = der.slice(secretAt);
  const iterations =
    iterationsLength > 4 ? 0 : Number(bytesToBigInt(der.slice(iterationsAt, iterationsAt + iterationsLength)));
  if (iterations < 1 || iterations > MAX_ITERATIONS) return null;
  return equalBytes(layOut(salt, iterations, iv, secret), der) ? { salt, iterations, iv, secret } : null;
}

function layOut(salt: Uint8Array, iterations: number, iv: Uint8Array, secret: Uint8Array): Uint8Array {
  const count = bigIntToBytes(BigInt(iterations));
  const signedCount = (count[0] ?? 0) < 0x80 ? count : concatBytes(Uint8Array.of(0), count);
  const pbkdf2 = tlv(SEQUENCE, tlv(OCTET_STRING, salt), tlv(INTEGER, signedCount), HMAC_SHA256);
  const kdf = tlv(SEQUENCE, PBKDF2, pbkdf2);
  const cipher = tlv(SEQUENCE, AES_256_CBC, tlv(OCTET_STRING, iv));
  return tlv(SEQUENCE, tlv(SEQUENCE, PBES2, tlv(SEQUENCE, kdf, cipher)), tlv(OCTET_STRING, secret));
}

/** A DER value with these contents (X.690 §8.1). */
function tlv(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const body = concatBytes(...contents);
  const length = bigIntToBytes(BigInt(body.length));
  return concatBytes(Uint8Array.of(tag, ...(body.length < 0x80 ? [] : [0x80 | length.length])), length, body);
}
