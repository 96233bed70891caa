import { randomFillSync } from 'node:crypto';

const base64url = /^[A-Za-z0-9_-]+$/;
const base32Alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** Bytes of base64url without padding (RFC 4648 §5); null for anything else, unused trailing bits included. */
export function decodeBase64url(text: string): Uint8Array | null {
  if (!base64url.test(text) || text.length % 4 === 1) return null;
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : null;
}

/** Bytes of base32 (RFC 4648 §6), upper or lower case, spaces and padding ignored; null for anything else. */
export function decodeBase32(text: string): Uint8Array | null {
  const digits = text.replace(/\s/g, '').replace(/=+$/, '').toUpperCase();
  if (digits.length === 0) return null;
  const bytes: number[] = [];
  let buffer = 0;
  let bits = 0;
  for (const digit of digits) {
    const value = base32Alphabet.indexOf(digit);
    if (value < 0) return null;
    buffer = ((buffer << 5) | value) & 0xfff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((buffer >> bits) & 0xff);
    }
  }
  return Uint8Array.from(bytes);
}

const pool = Buffer.allocUnsafe(8192);
let used = pool.length;

/** `bytes` random bytes (at most 8192) in base64url; drawn from a pool, since a call of the generator costs more. */
export function randomText(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const text = pool.toString('base64url', used, used + bytes);
  pool.fill(0, used, used + bytes);
  used += bytes;
  return text;
}

/** A token in the exchange's form: `<expiry in ms>.<8 characters>.<base64url>`. */
export function randomToken(expiresMs: number): string {
  return `${expiresMs}.${randomText(6)}.${randomText(33)}`;
}
