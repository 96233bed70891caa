import { getPublicKeyAsync, Point, signAsync } from '@noble/ed25519';
import { ed25519Pkcs8, rawEd25519PublicKey, rawEd25519Seed } from '../asn1/key-der.js';
import { type Bytes, base64urlToBytes, bytesToBigInt, concatBytes, equalBytes, ownBuffer } from '../bytes.js';
import { type CryptoKey, subtle } from './portable-platform.js';

const ALGORITHM = 'Ed25519';
const SIGNATURE_LENGTH = 64;
const POINT_LENGTH = 32;
const { n: ORDER } = Point.CURVE();

/** By WebCrypto, which is faster and runs in constant time; by noble where the platform has no Ed25519. */
export async function ed25519PublicKey(seed: Uint8Array): Promise<Bytes> {
  const key = await importPrivate(ed25519Pkcs8(seed), true);
  if (key === null) return ownBuffer(await getPublicKeyAsync(seed));
  const { x = '' } = await subtle().exportKey('jwk', key);
  return ownBuffer(base64urlToBytes(x) ?? (await getPublicKeyAsync(seed)));
}

/** As {@link ed25519PublicKey}. */
export function ed25519Signer(pkcs8: Uint8Array): (message: Uint8Array) => Promise<Bytes> {
  let imported: Promise<CryptoKey | null> | undefined;
  return async (message) => {
    imported ??= importPrivate(pkcs8, false);
    const key = await imported;
    return key === null
      ? ownBuffer(await signAsync(message, rawEd25519Seed(pkcs8)))
      : new Uint8Array(await subtle().sign(ALGORITHM, key, ownBuffer(message)));
  };
}

async function importPrivate(pkcs8: Uint8Array, extractable: boolean): Promise<CryptoKey | null> {
  const platform = subtle();
  try {
    return await platform.importKey('pkcs8', ownBuffer(pkcs8), ALGORITHM, extractable, ['sign']);
  } catch {
    return null;
  }
}

/**
 * RFC 8032 §5.1.7, as OpenSSL does it: S < L, and [S]B - [k]A encodes to R byte by byte. noble's own `verify` multiplies
 * by the cofactor and so accepts a few signatures more, and WebCrypto's rule depends on the browser.
 */
export async function verifyEd25519(spki: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  const r = signature.slice(0, POINT_LENGTH);
  const s = littleEndian(signature.slice(POINT_LENGTH));
  if (signature.length !== SIGNATURE_LENGTH || s >= ORDER) return false;
  const publicKey = rawEd25519PublicKey(spki);
  const hash = await subtle().digest('SHA-512', concatBytes(r, publicKey, message));
  const k = littleEndian(new Uint8Array(hash)) % ORDER;
  const kA = Point.fromBytes(publicKey, false).multiply(k, false);
  return equalBytes(Point.BASE.multiply(s, false).subtract(kA).toBytes(), r);
}

function littleEndian(bytes: Uint8Array): bigint {
  return bytesToBigInt(bytes.slice().reverse());
}
