import 'node-forge/lib/aes.js';
import 'node-forge/lib/des.js';
import cipher from 'node-forge/lib/cipher.js';
import jsbn from 'node-forge/lib/jsbn.js';
import rsa from 'node-forge/lib/rsa.js';
import sha256 from 'node-forge/lib/sha256.js';
import util from 'node-forge/lib/util.js';
import { type Bytes, fromBinary, isBlocks, modPow, type RsaPrivateNumbers, toBinary } from '../bytes.js';

// What WebCrypto does not offer, or not everywhere. This module is loaded when it is needed.

const BLOCK_LENGTHS = { 'AES-CBC': 16, '3DES-CBC': 8 } as const;

interface CipherInput<Name extends string> {
  readonly name: Name;
  readonly key: Uint8Array;
  readonly iv: Uint8Array;
  readonly data: Uint8Array;
}

/** Encrypts: CBC with PKCS#7 padding, CTR over the 16-byte counter block. */
export function encrypt({ name, key, iv, data }: CipherInput<'AES-CBC' | 'AES-CTR'>): Bytes {
  const encryption = cipher.createCipher(name, util.createBuffer(toBinary(key)));
  encryption.start({ iv: toBinary(iv) });
  encryption.update(util.createBuffer(toBinary(data)));
  encryption.finish();
  return fromBinary(encryption.output.getBytes());
}

/** Decrypts complete blocks and removes their padding; null where the data is not made of blocks, or the padding is wrong. */
export function cbcDecrypt({ name, key, iv, data }: CipherInput<keyof typeof BLOCK_LENGTHS>): Bytes | null {
  const blockLength = BLOCK_LENGTHS[name];
  if (!isBlocks(data, blockLength)) return null;
  const decryption = cipher.createDecipher(name, util.createBuffer(toBinary(key)));
  decryption.start({ iv: toBinary(iv) });
  decryption.update(util.createBuffer(toBinary(data)));
  // The padding is judged here, since forge only looks at its last byte.
  decryption.finish(() => true);
  return withoutPadding(fromBinary(decryption.output.getBytes()), blockLength);
}

/** RFC 5652 §6.3 */
function withoutPadding(plain: Bytes, blockLength: number): Bytes | null {
  const count = plain.at(-1) ?? 0;
  if (count === 0 || count > blockLength) return null;
  return plain.slice(-count).every((byte) => byte === count) ? plain.slice(0, -count) : null;
}

/** A function that makes RSASSA-PKCS1-v1_5 signatures with SHA-256. It blocks for as long as a signature takes. */
export function rsaSigner(numbers: RsaPrivateNumbers): (message: Uint8Array) => Bytes {
  const { n, e, d, p, q, dp, dq, qi } = largerPrimeFirst(numbers);
  const forgeNumbers = [n, e, d, p, q, dp, dq, qi].map(toForge) as Parameters<typeof rsa.setPrivateKey>;
  const key = rsa.setPrivateKey(...forgeNumbers);
  return (message) => fromBinary(key.sign(sha256.create().update(toBinary(message))));
}

/**
 * The same key with p > q. Forge adds p to a number below p until it exceeds one below q: with a q much longer than p that
 * loop would not end.
 */
function largerPrimeFirst(numbers: RsaPrivateNumbers): RsaPrivateNumbers {
  const { p, q, dp, dq } = numbers;
  if (p > q) return numbers;
  // The inverse of p, by Fermat's little theorem.
  return { ...numbers, p: q, q: p, dp: dq, dq: dp, qi: modPow(p, q - 2n, q) };
}

function toForge(value: bigint): jsbn.BigInteger {
  return new jsbn.BigInteger(value.toString(16), 16);
}
