import { createHmac, randomFillSync } from 'node:crypto';

const pool = new Uint8Array(4096);
let used = pool.length;
export function randomNonce(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += 16;
  return Buffer.from(pool.buffer, used - 16, 16).toString('base64url');
}

export async function hmacSha256(key: Uint8Array, message: Uint8Array): Promise<Uint8Array> {
  return createHmac('sha256', key).update(message).digest();
}
