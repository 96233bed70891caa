import { bitStringOf, octetStringOf, readDer, sequenceOf } from '../asn1/der.js';
import { decodeRsaPrivateKey, decodeRsaPublicKey } from '../asn1/key-der.js';
import {
  type Bytes,
  bigIntToBytes,
  bitLength,
  bytesToBigInt,
  concatBytes,
  equalBytes,
  modPow,
  ownBuffer,
} from '../bytes.js';
import { type CryptoKey, subtle } from './portable-platform.js';

const ALGORITHM = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' } as const;

/** DER of the DigestInfo of SHA-256 before the hash itself (RFC 8017 §9.2, note 1). */
const SHA256_PREFIX = Uint8Array.of(
  ...[0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20],
);

export async function generateRsa(bits: number): Promise<Bytes> {
  const algorithm = { ...ALGORITHM, modulusLength: bits, publicExponent: Uint8Array.of(1, 0, 1) };
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
  let key: CryptoKey;
  try {
    key = await platform.importKey('pkcs8', pkcs8, ALGORITHM, false, ['sign']);
  } catch {
    const numbers = decodeRsaPrivateKey(octetStringOf(partsOf(pkcs8)[2], 'the RSA private key'));
    return (await import('./portable-forge.js')).rsaSigner(numbers);
  }
  return async (message) => new Uint8Array(await platform.sign(ALGORITHM, key, ownBuffer(message)));
}

/**
 * By encoding the expected message and comparing (RFC 8017 §8.2.2): this takes every key that was checked, also those that
 * the platform's WebCrypto does not.
 */
export async function verifyRsa(spki: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  const { n, e } = decodeRsaPublicKey(bitStringOf(partsOf(spki)[1], 'the RSA public key'));
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

function partsOf(der: Uint8Array): ReturnType<typeof sequenceOf> {
  return sequenceOf(readDer(der, 'the RSA key'), 'the RSA key');
}
