import { sha1 } from '@noble/hashes/legacy.js';
import { sha512 } from '@noble/hashes/sha2.js';
import { nextTick } from '@noble/hashes/utils.js';
import { type Bytes, concatBytes, uint32Bytes } from '../bytes.js';
import type { BcryptParameters } from './engine.js';

const HASH_LENGTH = 32;

/**
 * bcrypt_pbkdf of OpenBSD, the key derivation of OpenSSH's private key files, from a passphrase and a salt that are not
 * empty. It lets other work run before each round, which takes some milliseconds.
 */
export async function bcryptPbkdf(passphrase: Uint8Array, { salt, rounds, length }: BcryptParameters): Promise<Bytes> {
  const { default: bcrypt } = await import('bcrypt-pbkdf');
  const hash = (passphraseHash: Uint8Array, saltHash: Uint8Array): Uint8Array => {
    const out = new Uint8Array(HASH_LENGTH);
    bcrypt.hash(passphraseHash, saltHash, out);
    return out;
  };
  const passphraseHash = sha512(passphrase);
  const blocks = Math.ceil(length / HASH_LENGTH);
  const key = new Uint8Array(length);
  for (let block = 0; block < blocks; block++) {
    await nextTick();
    let round = hash(passphraseHash, sha512(concatBytes(salt, uint32Bytes(block + 1))));
    const sum = round.slice();
    for (let i = 1; i < rounds; i++) {
      await nextTick();
      round = hash(passphraseHash, sha512(round));
      for (let j = 0; j < HASH_LENGTH; j++) sum[j] = (sum[j] ?? 0) ^ (round[j] ?? 0);
    }
    // Unlike PBKDF2, the blocks are interleaved: byte j of block i is byte j * blocks + i of the key.
    for (let j = 0; j * blocks + block < length; j++) key[j * blocks + block] = sum[j] ?? 0;
  }
  return key;
}

const BLOCK_LENGTH = 64;
const YIELD_EVERY = 5_000;

/** What is derived: the parameters of PKCS#12's derivation (RFC 7292 §B). */
interface Pkcs12Parameters {
  readonly salt: Uint8Array;
  readonly iterations: number;
  /** What the bytes are for (RFC 7292 §B.3). */
  readonly purpose: 'key' | 'iv';
  /** In bytes. */
  readonly length: number;
}

/**
 * The key derivation of PKCS#12 with SHA-1 (RFC 7292 §B.2) from a passphrase, as UTF-16 with a final zero (RFC 7292
 * §B.1). It lets other work run now and then. SHA-1 is not WebCrypto's, which is too slow for a million calls.
 */
export async function pkcs12Kdf(
  passphrase: string,
  { salt, iterations, purpose, length }: Pkcs12Parameters,
): Promise<Uint8Array> {
  const diversifier = new Uint8Array(BLOCK_LENGTH).fill(purpose === 'key' ? 1 : 2);
  const input = concatBytes(fillBlocks(salt), fillBlocks(bmpString(passphrase)));
  let derived = new Uint8Array();
  while (derived.length < length) {
    let hash = sha1(concatBytes(diversifier, input));
    for (let i = 1; i < iterations; i++) {
      hash = sha1(hash);
      if (i % YIELD_EVERY === 0) await nextTick();
    }
    derived = concatBytes(derived, hash);
    addToBlocks(input, fillBlocks(hash, BLOCK_LENGTH));
  }
  return derived.slice(0, length);
}

/** Each block of `blocks` becomes itself + `addend` + 1, modulo its size. */
function addToBlocks(blocks: Uint8Array, addend: Uint8Array): void {
  for (let start = 0; start < blocks.length; start += BLOCK_LENGTH) {
    let carry = 1;
    for (let i = BLOCK_LENGTH - 1; i >= 0; i--) {
      carry += (blocks[start + i] ?? 0) + (addend[i] ?? 0);
      blocks[start + i] = carry;
      carry >>= 8;
    }
  }
}

/** `bytes` over and over, up to a multiple of the block. */
function fillBlocks(bytes: Uint8Array, length = Math.ceil(bytes.length / BLOCK_LENGTH) * BLOCK_LENGTH): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => bytes[i % bytes.length] ?? 0);
}

function bmpString(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length * 2 + 2);
  for (let i = 0; i < text.length; i++) {
    bytes[2 * i] = text.charCodeAt(i) >> 8;
    bytes[2 * i + 1] = text.charCodeAt(i);
  }
  return bytes;
}
