import { createHmac } from 'node:crypto';

const stepMs = 30_000;

/** The time step (RFC 6238 §4.2) that `timeMs` lies in. */
export function totpStep(timeMs: number): number {
  return Math.floor(timeMs / stepMs);
}

/** Six digits for a time step: HOTP with SHA-1 (RFC 4226 §5.3). */
export function totpCode(secret: Uint8Array, step: number): string {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const mac = createHmac('sha1', secret).update(counter).digest();
  const offset = mac.readUInt8(mac.length - 1) & 0xf;
  const number = (mac.readUInt32BE(offset) & 0x7fff_ffff) % 1_000_000;
  return String(number).padStart(6, '0');
}
