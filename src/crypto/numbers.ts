import { bytesToHex, hexToBytes } from './bytes.js';

/** The public numbers of an RSA key (RFC 8017 §3.1). */
export interface RsaPublicNumbers {
  /** The modulus. */
  readonly n: bigint;
  /** The public exponent. */
  readonly e: bigint;
}

/** The private numbers of a two-prime RSA key, with its public ones (RFC 8017 §3.2). */
export interface RsaPrivateNumbers extends RsaPublicNumbers {
  /** The private exponent. */
  readonly d: bigint;
  readonly p: bigint;
  readonly q: bigint;
  /** d mod (p - 1) */
  readonly dp: bigint;
  /** d mod (q - 1) */
  readonly dq: bigint;
  /** The inverse of q modulo p. */
  readonly qi: bigint;
}

/** The unsigned big-endian number in `bytes`; 0 for no bytes. */
export function bytesToBigInt(bytes: Uint8Array): bigint {
  return bytes.length === 0 ? 0n : BigInt(`0x${bytesToHex(bytes)}`);
}

/**
 * `value` as unsigned big-endian bytes: as few as it needs (one for 0), or padded with leading zeros to `length`.
 * @throws RangeError where it is negative or does not fit
 */
export function bigIntToBytes(value: bigint, length?: number): Uint8Array {
  if (value < 0n) throw new RangeError('a negative number has no unsigned bytes');
  const digits = value.toString(16);
  const needed = Math.ceil(digits.length / 2);
  const size = length ?? needed;
  if (needed > size) throw new RangeError(`the number needs ${needed} bytes, ${size} are given`);
  return hexToBytes(digits.padStart(size * 2, '0'));
}

/** The number of bits of a number that is not negative; 0 for 0. */
export function bitLength(value: bigint): number {
  if (value === 0n) return 0;
  const digits = value.toString(16);
  return digits.length * 4 - (Math.clz32(Number.parseInt(digits.charAt(0), 16)) - 28);
}

/** base^exponent mod modulus, for numbers that are not negative. Its running time depends on them. */
export function modPow(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  const reduced = base % modulus;
  for (const bit of exponent.toString(2)) {
    result = (result * result) % modulus;
    if (bit === '1') result = (result * reduced) % modulus;
  }
  return result;
}
