import { getPublicKeyAsync, Point, signAsync } from '@noble/ed25519';
import { usageError } from '../../errors.js';
import {
  ed25519Pkcs8,
  rawEd25519PublicKey,
  rawEd25519Seed,
  rsaPrivateNumbers,
  rsaPublicNumbers,
} from '../asn1/key-der.js';
import {
  type Bytes,
  base64urlToBytes,
  bigIntToBytes,
  bitLength,
  bytesToBigInt,
  concatBytes,
  equalBytes,
  hexToBytes,
  modPow,
  ownBuffer,
} from '../bytes.js';

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
  return subtle()
    .importKey('pkcs8', ownBuffer(pkcs8), ALGORITHM, extractable, ['sign'])
    .catch(() => null);
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

// Named by the values, so that they exist with the types of Node.js and with those of the DOM.
type SubtleCrypto = typeof globalThis.crypto.subtle;
/** A key of WebCrypto. */
export type CryptoKey = Awaited<ReturnType<typeof globalThis.crypto.subtle.importKey>>;

/**
 * WebCrypto of the platform.
 * @throws ERR_USAGE where the platform has no WebCrypto: browsers offer it only in secure contexts
 */
export function subtle(): SubtleCrypto {
  const platform: { readonly subtle?: SubtleCrypto } | undefined = globalThis.crypto;
  if (platform?.subtle !== undefined) return platform.subtle;
  throw usageError(
    'WebCrypto (crypto.subtle) is not available: this page is not a secure context',
    'open the page over https:, from localhost, or as a file on this computer',
  );
}

/** Bytes of the platform's secure generator, which needs no secure context. */
export function randomBytes(length: number): Bytes {
  return globalThis.crypto.getRandomValues(new Uint8Array(length));
}

const RSA_ALGORITHM = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' } as const;

/** DER of the DigestInfo of SHA-256 before the hash itself (RFC 8017 §9.2, note 1). */
const SHA256_PREFIX = hexToBytes('3031300d060960864801650304020105000420');

export async function generateRsa(bits: number): Promise<Bytes> {
  const algorithm = { ...RSA_ALGORITHM, modulusLength: bits, publicExponent: Uint8Array.of(1, 0, 1) };
  const { privateKey } = await subtle().generateKey(algorithm, true, ['sign', 'verify']);
  return new Uint8Array(await subtle().exportKey('pkcs8', privateKey));
}

/** Signs by WebCrypto, which does not block; by node-forge where the platform does not take the key. */
export function rsaSigner(pkcs8: Uint8Array): (message: Uint8Array) => Promise<Bytes> {
  let sign: Promise<(message: Uint8Array) => Bytes | Promise<Bytes>> | undefined;
  return async (message) => {
    sign ??= chooseSigner(ownBuffer(pkcs8));
    return (await sign)(message);
  };
}

async function chooseSigner(pkcs8: Bytes): Promise<(message: Uint8Array) => Bytes | Promise<Bytes>> {
  const platform = subtle();
  const key = await platform.importKey('pkcs8', pkcs8, RSA_ALGORITHM, false, ['sign']).catch(() => null);
  if (key === null) {
    return (await import('./portable-forge.js')).rsaSigner(rsaPrivateNumbers(pkcs8));
  }
  return async (message) => new Uint8Array(await platform.sign(RSA_ALGORITHM, key, ownBuffer(message)));
}

/**
 * By encoding the expected message and comparing (RFC 8017 §8.2.2): this takes every key that was checked, also those that
 * the platform's WebCrypto does not.
 */
export async function verifyRsa(spki: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  const { n, e } = rsaPublicNumbers(spki);
  const length = Math.ceil(bitLength(n) / 8);
  const representative = bytesToBigInt(signature);
  if (signature.length !== length || representative >= n) return false;
  return equalBytes(bigIntToBytes(modPow(representative, e, n), length), await encodeEmsa(message, length));
}

/** EMSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §9.2). */
async function encodeEmsa(message: Uint8Array, length: number): Promise<Uint8Array> {
  const hash = new Uint8Array(await subtle().digest('SHA-256', ownBuffer(message)));
  const digestInfo = concatBytes(SHA256_PREFIX, hash);
  const padding = new Uint8Array(length - digestInfo.length - 3).fill(0xff);
  return concatBytes(Uint8Array.of(0, 1), padding, Uint8Array.of(0), digestInfo);
}
