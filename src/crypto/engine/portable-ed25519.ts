import { Point, signAsync, verifyAsync } from '@noble/ed25519';
import { rawEd25519PublicKey, rawEd25519Seed } from '../ed25519-der.js';

const SIGNATURE_LENGTH = 64;
const POINT_LENGTH = 32;

export function ed25519Signer(pkcs8: Uint8Array): (message: Uint8Array) => Promise<Uint8Array> {
  const seed = rawEd25519Seed(pkcs8);
  return (message) => signAsync(message, seed);
}

/**
 * noble's strict branch multiplies by the cofactor. Where R has no part of small order, and a checked key has none, the
 * equation holds without the cofactor as well, which is what OpenSSL tests.
 */
export async function verifyEd25519(spki: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  if (signature.length !== SIGNATURE_LENGTH) return false;
  const valid = await verifyAsync(signature, message, rawEd25519PublicKey(spki), { zip215: false });
  return valid && Point.fromBytes(signature.slice(0, POINT_LENGTH), false).isTorsionFree();
}
