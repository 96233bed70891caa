import { sha1 } from '@noble/hashes/legacy.js';
import { nextTick } from '@noble/hashes/utils.js';
import { concatBytes } from '../bytes.js';

const BLOCK_LENGTH = 64;
const YIELD_EVERY = 5_000;

/** What is derived: the parameters of PKCS#12's derivation (RFC 7292 §B). */
export interface Pkcs12Parameters {
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
