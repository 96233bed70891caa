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
import { decodePkcs8, looksLikePrivateKey } from '../asn1/spki-pkcs8.js';
import { utf8Bytes } from '../bytes.js';
import type { Engine } from '../engine/engine.js';
import type { PrivateKey } from '../keys.js';
import type { SecretLike } from '../secret.js';
import {
  AES_256_CBC,
  type EncryptionScheme,
  HMAC_SHA256,
  PBES2,
  PBKDF2,
  readEncryptionScheme,
} from './encryption-scheme.js';
import { insideEncryption, passphraseToRead, wrongPassphrase } from './passphrase.js';

const TRIPLE_DES_BLOCK = 8;
/** Of what is written, in bytes. */
const SALT_LENGTH = 16;
const IV_LENGTH = 16;
const KEY_LENGTH = 32;

/**
 * Opens an EncryptedPrivateKeyInfo (RFC 5958 §3). The derivation does not block.
 * @throws ERR_KEY_UNSUPPORTED for a scheme that is not read and for absurd costs, before any passphrase is asked for;
 * ERR_PASSPHRASE_REQUIRED; ERR_PASSPHRASE_WRONG where what comes out is no PKCS#8; else as `decodePkcs8`.
 */
export async function parseEncryptedPkcs8(
  node: DerNode,
  passphrase: SecretLike | undefined,
  engine: Engine,
): Promise<PrivateKey> {
  const [algorithm, data] = sequenceOf(node, 'EncryptedPrivateKeyInfo');
  const scheme = readEncryptionScheme(algorithm);
  const secret = octetStringOf(data, 'the encrypted data');
  const pkcs8 = await decrypt(scheme, secret, passphraseToRead(passphrase), engine);
  if (pkcs8 === null) throw wrongPassphrase();
  return parseDecryptedPkcs8(pkcs8, engine);
}

/** The key in a decrypted content. @throws ERR_PASSPHRASE_WRONG where it is no PKCS#8; else as `decodePkcs8` */
async function parseDecryptedPkcs8(pkcs8: Uint8Array, engine: Engine): Promise<PrivateKey> {
  try {
    return await decodePkcs8(pkcs8, engine);
  } catch (error) {
    throw insideEncryption(error, looksLikePrivateKey(pkcs8));
  }
}

async function decrypt(
  { derive, cipher, keyLength, iv }: EncryptionScheme,
  secret: Uint8Array,
  passphrase: string,
  engine: Engine,
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
