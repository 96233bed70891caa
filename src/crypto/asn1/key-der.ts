import { concatBytes, hexToBytes, type RsaPrivateNumbers, type RsaPublicNumbers } from '../bytes.js';
import { unreadable, unsupported } from '../key-errors.js';
import {
  bitString,
  bitStringOf,
  type DerNode,
  integer,
  integerOf,
  nullNode,
  octetString,
  octetStringOf,
  oid,
  readDer,
  sequence,
  sequenceOf,
  writeDer,
} from './der.js';

/** Length in bytes of a seed and of a public key (RFC 8032 §5.1.5). */
export const ED25519_LENGTH = 32;

// Both encodings have a fixed length, so a document is a fixed prefix followed by the key's bytes.
const SPKI_PREFIX = hexToBytes('302a300506032b6570032100');
const PKCS8_PREFIX = hexToBytes('302e020100300506032b657004220420');

/** SubjectPublicKeyInfo DER of the 32 bytes of a public key (RFC 8410 §4). */
export function ed25519Spki(publicKey: Uint8Array): Uint8Array {
  return concatBytes(SPKI_PREFIX, publicKey);
}

/** PrivateKeyInfo DER, version 1, of a 32-byte seed (RFC 8410 §7). */
export function ed25519Pkcs8(seed: Uint8Array): Uint8Array {
  return concatBytes(PKCS8_PREFIX, seed);
}

/** The 32 bytes of the public key in DER from {@link ed25519Spki}. */
export function rawEd25519PublicKey(spki: Uint8Array): Uint8Array {
  return spki.slice(SPKI_PREFIX.length);
}

/** The 32-byte seed in DER from {@link ed25519Pkcs8}. */
export function rawEd25519Seed(pkcs8: Uint8Array): Uint8Array {
  return pkcs8.slice(PKCS8_PREFIX.length);
}

/** rsaEncryption (RFC 8017 §A.1). */
export const RSA_OID = '1.2.840.113549.1.1.1';

function rsaAlgorithm(): DerNode {
  return sequence(oid(RSA_OID), nullNode());
}

/** PKCS#1 RSAPublicKey DER (RFC 8017 §A.1.1). */
export function encodeRsaPublicKey({ n, e }: RsaPublicNumbers): Uint8Array {
  return writeDer(sequence(integer(n), integer(e)));
}

/** PKCS#1 RSAPrivateKey DER of two primes (RFC 8017 §A.1.2). */
export function encodeRsaPrivateKey({ n, e, d, p, q, dp, dq, qi }: RsaPrivateNumbers): Uint8Array {
  return writeDer(sequence(...[0n, n, e, d, p, q, dp, dq, qi].map(integer)));
}

/** The numbers in PKCS#1 RSAPublicKey DER, not yet checked. @throws ERR_KEY_UNREADABLE */
export function decodeRsaPublicKey(der: Uint8Array): RsaPublicNumbers {
  const children = sequenceOf(readDer(der, 'the RSA public key'), 'the RSA public key');
  if (children.length !== 2) throw unreadable(`an RSA public key has 2 numbers, this one ${children.length}`);
  return { n: integerOf(children[0], 'the RSA modulus'), e: integerOf(children[1], 'the RSA public exponent') };
}

/** The numbers in PKCS#1 RSAPrivateKey DER, not yet checked. @throws ERR_KEY_UNREADABLE, ERR_KEY_UNSUPPORTED */
export function decodeRsaPrivateKey(der: Uint8Array): RsaPrivateNumbers {
  const [version, ...numbers] = sequenceOf(readDer(der, 'the RSA private key'), 'the RSA private key');
  const versionNumber = integerOf(version, 'the version of the RSA private key');
  if (versionNumber === 1n) throw unsupported('RSA key of more than two primes: only two are supported');
  if (versionNumber !== 0n) throw unreadable('the RSA private key has an unknown version');
  if (numbers.length !== 8) throw unreadable(`an RSA private key has 8 numbers, this one ${numbers.length}`);
  const read = (at: number): bigint => integerOf(numbers[at], 'a number of the RSA private key');
  return { n: read(0), e: read(1), d: read(2), p: read(3), q: read(4), dp: read(5), dq: read(6), qi: read(7) };
}

/** SubjectPublicKeyInfo DER (RFC 3279 §2.3.1). */
export function rsaSpki(numbers: RsaPublicNumbers): Uint8Array {
  return writeDer(sequence(rsaAlgorithm(), bitString(encodeRsaPublicKey(numbers))));
}

/** PrivateKeyInfo DER, version 1 (RFC 5208 §5). */
export function rsaPkcs8(numbers: RsaPrivateNumbers): Uint8Array {
  return writeDer(sequence(integer(0n), rsaAlgorithm(), octetString(encodeRsaPrivateKey(numbers))));
}

/** The numbers in DER from {@link rsaSpki}. */
export function rsaPublicNumbers(spki: Uint8Array): RsaPublicNumbers {
  const [, key] = sequenceOf(readDer(spki), 'SubjectPublicKeyInfo');
  return decodeRsaPublicKey(bitStringOf(key, 'the public key'));
}

/** The numbers in DER from {@link rsaPkcs8}. */
export function rsaPrivateNumbers(pkcs8: Uint8Array): RsaPrivateNumbers {
  const [, , key] = sequenceOf(readDer(pkcs8), 'PrivateKeyInfo');
  return decodeRsaPrivateKey(octetStringOf(key, 'the private key'));
}
