import { createPrivateKey, type KeyObject } from 'node:crypto';

/** The key object for PKCS#8 DER. */
export function privateKeyObject(pkcs8: Uint8Array): KeyObject {
  const key = Buffer.from(pkcs8.buffer, pkcs8.byteOffset, pkcs8.byteLength);
  return createPrivateKey({ key, format: 'der', type: 'pkcs8' });
}

/** The bytes of a Buffer as a plain Uint8Array over the same memory. */
export function plainBytes(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}
