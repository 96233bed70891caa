import { hashes, Point, signAsync } from '@noble/ed25519';
import { rawEd25519PublicKey, rawEd25519Seed } from '../asn1/ed25519-der.js';
import { concatBytes, equalBytes } from '../bytes.js';
import { bytesToBigInt } from '../numbers.js';

const SIGNATURE_LENGTH = 64;
const POINT_LENGTH = 32;
const { n: ORDER } = Point.CURVE();

export function ed25519Signer(pkcs8: Uint8Array): (message: Uint8Array) => Promise<Uint8Array> {
  const seed = rawEd25519Seed(pkcs8);
  return (message) => signAsync(message, seed);
}

/**
 * RFC 8032 §5.1.7, as OpenSSL does it: S < L, and [S]B - [k]A encodes to R byte by byte. noble's own `verify` multiplies
 * by the cofactor, and so accepts a few signatures more.
 */
export async function verifyEd25519(spki: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  const r = signature.slice(0, POINT_LENGTH);
  const s = littleEndian(signature.slice(POINT_LENGTH));
  if (signature.length !== SIGNATURE_LENGTH || s >= ORDER) return false;
  const publicKey = rawEd25519PublicKey(spki);
  const k = littleEndian(await hashes.sha512Async(concatBytes(r, publicKey, message))) % ORDER;
  const kA = Point.fromBytes(publicKey, false).multiply(k, false);
  return equalBytes(Point.BASE.multiply(s, false).subtract(kA).toBytes(), r);
}

function littleEndian(bytes: Uint8Array): bigint {
  return bytesToBigInt(bytes.slice().reverse());
}
