import { randomFillSync } from 'node:crypto';

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
