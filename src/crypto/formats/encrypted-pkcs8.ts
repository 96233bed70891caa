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
import { concatBytes, hexToBytes, utf8Bytes } from '../bytes.js';
import type { Engine } from '../engine/engine.js';
import { refuseKind, unreadable } from '../key-errors.js';
import type { PemBlock } from '../pem.js';
import type { SecretLike } from '../secret.js';
import {
  AES_256_CBC,
  type CbcCipher,
  CIPHERS_BY_NAME,
  HMAC_SHA256,
  PBES2,
  PBKDF2,
  readEncryptionScheme,
} from './encryption-scheme.js';
import { encryptAgain, passphraseToRead } from './passphrase.js';

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
  const { derive, cipher, iv } = readEncryptionScheme(algorithm);
  const secret = octetStringOf(data, 'the encrypted data');
  const text = passphraseToRead(passphrase);
  const key = await derive({ passphrase: text, purpose: 'key', length: cipher.keyLength }, engine);
  const vector = iv ?? (await derive({ passphrase: text, purpose: 'iv', length: cipher.ivLength }, engine));
  return decryption(cipher, engine)(key, vector, secret);
}

function decryption({ name }: CbcCipher, engine: Engine): Engine['aesCbcDecrypt'] {
  return name === 'aes' ? engine.aesCbcDecrypt : engine.tripleDesCbcDecrypt;
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
  const secret = await engine.aesCbcEncrypt(key, iv, pkcs8);
  // RFC 8018 §A.2, §A.4 and §B.2.5
  const prf = sequence(oid(HMAC_SHA256), nullNode());
  const kdf = sequence(oid(PBKDF2), sequence(octetString(salt), integer(BigInt(iterations)), prf));
  const cipher = sequence(oid(AES_256_CBC), octetString(iv));
  return writeDer(sequence(sequence(oid(PBES2), sequence(kdf, cipher)), octetString(secret)));
}

const LEGACY_SALT_LENGTH = 8;

/** A PEM block that is encrypted in OpenSSL's old way. */
export interface LegacyEncryption {
  readonly cipher: CbcCipher;
  readonly iv: Uint8Array;
  readonly secret: Uint8Array;
}

/**
 * The encryption that the headers of a PEM block name (RFC 1421 §4.6.1); null for an unencrypted block.
 * @throws ERR_KEY_UNSUPPORTED for other ciphers, by name; ERR_KEY_UNREADABLE for broken headers
 */
export function readLegacyEncryption({ headers, bytes }: PemBlock): LegacyEncryption | null {
  const dekInfo = headers.get('DEK-Info');
  const marked = /ENCRYPTED/.test(headers.get('Proc-Type') ?? '');
  if (dekInfo === undefined && !marked) return null;
  const [, name, hex] = /^([A-Za-z0-9-]{1,40}),\s*([0-9A-Fa-f]+)$/.exec(dekInfo ?? '') ?? [];
  if (!marked || name === undefined || hex === undefined)
    throw unreadable('the PEM headers of the encryption are broken');
  const cipher = CIPHERS_BY_NAME.get(name.toUpperCase());
  if (cipher === undefined) {
    throw refuseKind(
      `key encrypted by ${name}: only AES-CBC and DES-EDE3-CBC are supported`,
      encryptAgain(/^(?:AES|ARIA|CAMELLIA)/i.test(name) ? 'default' : 'legacy'),
    );
  }
  if (hex.length !== cipher.ivLength * 2) throw unreadable('the initialisation vector in DEK-Info has a wrong length');
  return { cipher, iv: hexToBytes(hex), secret: bytes };
}

/** Decrypts such a block; null is the sign of a wrong passphrase. @throws ERR_PASSPHRASE_REQUIRED */
export async function decryptLegacy(
  { cipher, iv, secret }: LegacyEncryption,
  passphrase: SecretLike | undefined,
  engine: Engine,
): Promise<Uint8Array | null> {
  const text = utf8Bytes(passphraseToRead(passphrase));
  const key = bytesToKey(text, iv.subarray(0, LEGACY_SALT_LENGTH), cipher.keyLength);
  return decryption(cipher, engine)(key, iv, secret);
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
