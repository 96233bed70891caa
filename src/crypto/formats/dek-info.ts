import { md5 } from '@noble/hashes/legacy.js';
import { concatBytes, utf8Bytes } from '../bytes.js';
import type { Engine } from '../engine/engine.js';
import { refuseKind, unreadable } from '../key-errors.js';
import { bigIntToBytes } from '../numbers.js';
import type { PemBlock } from '../pem.js';
import { encryptAgain } from './passphrase.js';

const SALT_LENGTH = 8;

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
      `key encrypted by ${name}: only AES-CBC and DES-EDE3-CBC are read`,
      encryptAgain(/^(?:AES|ARIA|CAMELLIA)/i.test(name) ? 'default' : 'legacy'),
    );
  }
  if (hex.length !== cipher.ivLength * 2) throw unreadable('the initialisation vector in DEK-Info has a wrong length');
  return { ...cipher, iv: bigIntToBytes(BigInt(`0x${hex}`), cipher.ivLength) };
}

/** Decrypts the contents of such a block; null is the sign of a wrong passphrase. */
export function decryptLegacy(
  { cipher, keyLength, iv }: LegacyEncryption,
  secret: Uint8Array,
  passphrase: string,
  engine: Engine,
): Promise<Uint8Array | null> {
  const key = bytesToKey(utf8Bytes(passphrase), iv.subarray(0, SALT_LENGTH), keyLength);
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
