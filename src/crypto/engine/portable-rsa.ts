import jsbn from 'node-forge/lib/jsbn.js';
import rsa from 'node-forge/lib/rsa.js';
import sha256 from 'node-forge/lib/sha256.js';
import { bitStringOf, octetStringOf, readDer, sequenceOf } from '../asn1/der.js';
import { decodeRsaPrivateKey, decodeRsaPublicKey } from '../asn1/rsa-der.js';
import { concatBytes, equalBytes, fromBinary, toBinary } from '../bytes.js';
import { bigIntToBytes, bitLength, bytesToBigInt, modPow, type RsaPrivateNumbers } from '../numbers.js';

/** DER of the DigestInfo of SHA-256 before the hash itself (RFC 8017 §9.2, note 1). */
const SHA256_PREFIX = Uint8Array.of(
  ...[0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20],
);

export function rsaSigner(pkcs8: Uint8Array): (message: Uint8Array) => Promise<Uint8Array> {
  const numbers = decodeRsaPrivateKey(octetStringOf(partsOf(pkcs8)[2], 'the RSA private key'));
  const { n, e, d, p, q, dp, dq, qi } = largerPrimeFirst(numbers);
  const key = rsa.setPrivateKey(
    toForge(n),
    toForge(e),
    toForge(d),
    toForge(p),
    toForge(q),
    toForge(dp),
    toForge(dq),
    toForge(qi),
  );
  return async (message) => fromBinary(key.sign(sha256.create().update(toBinary(message))));
}

/**
 * The same key with p > q. Forge adds p to a number below p until it exceeds one below q: with a q much longer than p it
 * would never come to an end.
 */
function largerPrimeFirst(numbers: RsaPrivateNumbers): RsaPrivateNumbers {
  const { p, q, dp, dq } = numbers;
  if (p > q) return numbers;
  // The inverse of p, by Fermat's little theorem.
  return { ...numbers, p: q, q: p, dp: dq, dq: dp, qi: modPow(p, q - 2n, q) };
}

/** By encoding the expected message and comparing (RFC 8017 §8.2.2): forge parses instead, and accepts too much. */
export async function verifyRsa(spki: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  const { n, e } = decodeRsaPublicKey(bitStringOf(partsOf(spki)[1], 'the RSA public key'));
  const length = Math.ceil(bitLength(n) / 8);
  const representative = bytesToBigInt(signature);
  if (signature.length !== length || representative >= n) return false;
  return equalBytes(bigIntToBytes(modPow(representative, e, n), length), encodeEmsa(message, length));
}

/** EMSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §9.2). */
function encodeEmsa(message: Uint8Array, length: number): Uint8Array {
  const hash = fromBinary(sha256.create().update(toBinary(message)).digest().getBytes());
  const digestInfo = concatBytes(SHA256_PREFIX, hash);
  const padding = new Uint8Array(length - digestInfo.length - 3).fill(0xff);
  return concatBytes(Uint8Array.of(0, 1), padding, Uint8Array.of(0), digestInfo);
}

function partsOf(der: Uint8Array): ReturnType<typeof sequenceOf> {
  return sequenceOf(readDer(der, 'the RSA key'), 'the RSA key');
}

function toForge(value: bigint): jsbn.BigInteger {
  return new jsbn.BigInteger(value.toString(16), 16);
}
