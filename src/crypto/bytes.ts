const encoder = new TextEncoder();

/** `text` as UTF-8. */
export function utf8Bytes(text: string): Uint8Array {
  // short ASCII, such as what a login signs, costs half as much this way
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code > 0x7f) return encoder.encode(text);
    bytes[i] = code;
  }
  return bytes;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** Lower-case hexadecimal, two digits a byte. */
export function bytesToHex(bytes: Uint8Array): string {
  let hex = '';
  for (const byte of bytes) hex += HEX[byte];
  return hex;
}

/** The bytes of an even number of hexadecimal digits. */
export function hexToBytes(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}

/** Whether both hold the same bytes. Not for secrets: it stops at the first difference. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** The arrays one after another. */
export function concatBytes(...parts: readonly Uint8Array[]): Bytes {
  const joined = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** `value` as four bytes, big end first. */
export function uint32Bytes(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

/** Whether `data` is a positive number of complete blocks, `blockLength` bytes each. */
export function isBlocks(data: Uint8Array, blockLength: number): boolean {
  return data.length > 0 && data.length % blockLength === 0;
}

/** Standard base64 with padding (RFC 4648 §4). */
export function bytesToBase64(bytes: Uint8Array): string {
  return btoa(toBinary(bytes));
}

/**
 * The bytes of standard base64 with padding, white space in it ignored; null where it is not the one canonical encoding
 * of some bytes.
 */
export function base64ToBytes(text: string): Uint8Array | null {
  const base64 = text.replace(/\s+/g, '');
  if (base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) return null;
  const bytes = fromBinary(atob(base64));
  return bytesToBase64(bytes) === base64 ? bytes : null;
}

/** `bytes` in base64url without padding (RFC 7515 §2). */
export function bytesToBase64url(bytes: Uint8Array): string {
  return bytesToBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** The bytes that `text`, base64url without padding (RFC 7515 §2), stands for; null unless it is their one canonical form. */
export function base64urlToBytes(text: string): Uint8Array | null {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) return null;
  return base64ToBytes(text.replaceAll('-', '+').replaceAll('_', '/') + '='.repeat((4 - (text.length % 4)) % 4));
}

/** Bytes in a buffer of their own kind, as WebCrypto, `Blob` and `fetch` take them. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** A copy of the bytes in a buffer of their own. */
export function ownBuffer(bytes: Uint8Array): Bytes {
  return new Uint8Array(bytes);
}

/** The bytes as node-forge takes them: a string with a character for each. */
export function toBinary(bytes: Uint8Array): string {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return binary;
}

/** The bytes in a string of node-forge. */
export function fromBinary(binary: string): Bytes {
  return Uint8Array.from({ length: binary.length }, (_, i) => binary.charCodeAt(i));
}

/**
 * The bytes in base64 or base64url, with or without padding, or null: for text that other programs wrote, in whatever
 * variant. White space is refused, and so are bits left over at the end.
 */
export function anyBase64ToBytes(text: string): Uint8Array | null {
  const base64 = text
    .replaceAll('-', '+')
    .replaceAll('_', '/')
    .replace(/={1,2}$/, '');
  return /\s/.test(text) ? null : base64ToBytes(base64 + '='.repeat((4 - (base64.length % 4)) % 4));
}

const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/** The bytes in base58 (the alphabet of Bitcoin), where there are exactly `length` of them; else null. */
export function base58ToBytes(text: string, length: number): Uint8Array | null {
  if (text === '' || text.length > length * 2) return null;
  let value = 0n;
  for (const char of text) {
    const digit = BASE58.indexOf(char);
    if (digit === -1) return null;
    value = value * 58n + BigInt(digit);
  }
  const zeros = /^1*/.exec(text)?.[0].length ?? 0;
  const hex = value === 0n ? '' : value.toString(16);
  const bytes = hexToBytes(hex.padStart(hex.length + (hex.length % 2), '0'));
  return zeros + bytes.length === length ? concatBytes(new Uint8Array(zeros), bytes) : null;
}

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
