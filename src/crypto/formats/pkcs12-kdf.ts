import { concatBytes, fromBinary, toBinary } from '../bytes.js';

const BLOCK_LENGTH = 64;
const YIELD_EVERY = 5_000;

/** What the bytes are for (RFC 7292 §B.3). */
export type Pkcs12Purpose = 'key' | 'iv';

/**
 * The key derivation of PKCS#12 with SHA-1 (RFC 7292 §B.2): `length` bytes from a passphrase, as UTF-16 with a final
 * zero (RFC 7292 §B.1), and a salt. It yields to the event loop now and then.
 */
export async function pkcs12Kdf(
  passphrase: string,
  salt: Uint8Array,
  purpose: Pkcs12Purpose,
  iterations: number,
  length: number,
): Promise<Uint8Array> {
  const sha1 = await loadSha1();
  const diversifier = new Uint8Array(BLOCK_LENGTH).fill(purpose === 'key' ? 1 : 2);
  const input = concatBytes(fillBlocks(salt), fillBlocks(bmpString(passphrase)));
  let derived: Uint8Array = new Uint8Array();
  while (derived.length < length) {
    let binary = sha1(toBinary(concatBytes(diversifier, input)));
    for (let i = 1; i < iterations; i++) {
      binary = sha1(binary);
      if (i % YIELD_EVERY === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    }
    const hash = fromBinary(binary);
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

/** `bytes` over and over, up to the next whole block. */
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

/**
 * SHA-1 from node-forge, over its binary strings: for a million calls WebCrypto's is too slow, and turning strings to bytes
 * and back as well.
 */
async function loadSha1(): Promise<(binary: string) => string> {
  const { default: forgeSha1 } = await import('node-forge/lib/sha1.js');
  return (binary) => forgeSha1.create().update(binary).digest().getBytes();
}
