import { randomFillSync } from 'node:crypto';

const POOL_SIZE = 4096;
const MAX_FROM_POOL = 64;

const pool = new Uint8Array(POOL_SIZE);
let used = POOL_SIZE;

/** Random bytes; short ones come from a pool, since a call of the generator costs more than a nonce may. */
export function pooledRandomBytes(length: number): Uint8Array {
  if (length > MAX_FROM_POOL) return randomFillSync(new Uint8Array(length));
  if (used + length > POOL_SIZE) {
    randomFillSync(pool);
    used = 0;
  }
  const bytes = pool.slice(used, used + length);
  pool.fill(0, used, used + length);
  used += length;
  return bytes;
}
