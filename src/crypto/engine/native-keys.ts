import { createPrivateKey, createPublicKey, type KeyObject, randomFillSync, sign, verify } from 'node:crypto';
import type { Bytes } from '../bytes.js';
import { equalBytes } from '../bytes.js';
import { PrivateKey, PublicKey } from '../keys.js';
import { bytesToBigInt } from '../numbers.js';
import { checkRsaPrivate } from '../rsa-checks.js';

/** The key object for PKCS#8 DER. */
export function privateKeyObject(pkcs8: Uint8Array): KeyObject {
  const key = Buffer.from(pkcs8.buffer, pkcs8.byteOffset, pkcs8.byteLength);
  return createPrivateKey({ key, format: 'der', type: 'pkcs8' });
}

/** The bytes of a Buffer as a plain Uint8Array over the same memory. */
export function plainBytes(buffer: Buffer): Bytes {
  return new Uint8Array(buffer.buffer as ArrayBuffer, buffer.byteOffset, buffer.byteLength);
}

const POOL_SIZE = 4096;
const MAX_FROM_POOL = 64;

const pool = new Uint8Array(POOL_SIZE);
let used = POOL_SIZE;

/** Random bytes; short ones come from a pool, since a call of the generator costs more than a nonce may. */
export function pooledRandomBytes(length: number): Bytes {
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

/**
 * The private key in PKCS#8 DER, read by OpenSSL. Where OpenSSL writes it back as other bytes, or anything else is unusual,
 * the result is null and the caller reads it with our own DER reader.
 */
export async function quickPrivateKey(pkcs8: Uint8Array): Promise<PrivateKey | null> {
  try {
    const key = privateKeyObject(pkcs8);
    if (!equalBytes(key.export({ format: 'der', type: 'pkcs8' }), pkcs8)) return null;
    const publicKey = publicHalf(key);
    return publicKey === null ? null : new PrivateKey(publicKey, pkcs8.slice());
  } catch {
    return null;
  }
}

function publicHalf(key: KeyObject): PublicKey | null {
  const spki = plainBytes(createPublicKey(key).export({ format: 'der', type: 'spki' })).slice();
  if (key.asymmetricKeyType === 'ed25519') return new PublicKey('ed25519', null, spki);
  if (key.asymmetricKeyType !== 'rsa') return null;
  const bits = checkRsaPrivate(rsaNumbers(key));
  return signsForItself(key) ? new PublicKey('rsa', bits, spki) : null;
}

/**
 * Signs a random message and verifies it: for a factor that is not prime, and was not built to deceive, the two disagree
 * (a Fermat test of both factors at once). A full test of primality would take longer than all the rest.
 */
function signsForItself(key: KeyObject): boolean {
  const message = pooledRandomBytes(32);
  return verify('sha256', message, createPublicKey(key), sign('sha256', message, key));
}

function rsaNumbers(key: KeyObject): Parameters<typeof checkRsaPrivate>[0] {
  const jwk = key.export({ format: 'jwk' });
  const read = (text: string | undefined): bigint => bytesToBigInt(Buffer.from(text ?? '', 'base64url'));
  return {
    n: read(jwk.n),
    e: read(jwk.e),
    d: read(jwk.d),
    p: read(jwk.p),
    q: read(jwk.q),
    dp: read(jwk.dp),
    dq: read(jwk.dq),
    qi: read(jwk.qi),
  };
}
