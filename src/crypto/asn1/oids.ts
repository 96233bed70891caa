import type { DeribitKeysError } from '../../errors.js';
import { refuseAlgorithm, unsupported } from '../key-errors.js';
import type { KeyAlgorithm } from '../keys.js';
import { type DerNode, isTag, oidOf, TAG } from './der.js';
import { RSA_OID } from './key-der.js';

const ACCEPTED: ReadonlyMap<string, KeyAlgorithm> = new Map([
  ['1.3.101.112', 'ed25519'],
  [RSA_OID, 'rsa'],
]);

const EC_OID = '1.2.840.10045.2.1';

/**
 * Ed25519 under an OID from before RFC 8410: draft-josefsson-pkix-eddsa (net.i2p.crypto.eddsa before 0.2.0), GnuPG. What
 * it contains differs between drafts, so it is named and not read.
 */
const OLD_ED25519: ReadonlyMap<string, string> = new Map([
  ['1.3.101.100', 'Ed25519 under its old draft OID 1.3.101.100'],
  ['1.3.6.1.4.1.11591.15.1', "Ed25519 under GnuPG's OID 1.3.6.1.4.1.11591.15.1"],
]);

/** Names of the algorithms that a user may come with although Deribit does not accept them. */
const REFUSED: ReadonlyMap<string, string> = new Map([
  ['1.3.101.110', 'X25519'],
  ['1.3.101.111', 'X448'],
  ['1.3.101.113', 'Ed448'],
  ['1.2.840.10040.4.1', 'DSA'],
  ['1.3.14.3.2.12', 'DSA'],
  ['1.2.840.113549.1.3.1', 'DH'],
  ['1.2.840.10046.2.1', 'DH'],
  ['1.2.840.113549.1.1.7', 'RSA-OAEP'],
  ['1.2.840.113549.1.1.10', 'RSA-PSS'],
  ['1.3.132.1.12', 'ECDH'],
  ['1.3.132.1.13', 'ECMQV'],
  ['1.2.643.2.2.19', 'GOST R 34.10-2001'],
  ['1.2.643.7.1.1.1.1', 'GOST R 34.10-2012'],
  ['1.2.643.7.1.1.1.2', 'GOST R 34.10-2012'],
  ['1.2.156.10197.1.301', 'SM2'],
  ['2.16.840.1.101.3.4.3.17', 'ML-DSA'],
  ['2.16.840.1.101.3.4.3.18', 'ML-DSA'],
  ['2.16.840.1.101.3.4.3.19', 'ML-DSA'],
]);

const CURVES: ReadonlyMap<string, string> = new Map([
  ['1.2.840.10045.3.1.1', 'P-192'],
  ['1.3.132.0.33', 'P-224'],
  ['1.2.840.10045.3.1.7', 'P-256'],
  ['1.3.132.0.34', 'P-384'],
  ['1.3.132.0.35', 'P-521'],
  ['1.3.132.0.10', 'secp256k1'],
  ['1.3.36.3.3.2.8.1.1.7', 'brainpoolP256r1'],
  ['1.3.36.3.3.2.8.1.1.11', 'brainpoolP384r1'],
  ['1.3.36.3.3.2.8.1.1.13', 'brainpoolP512r1'],
  ['1.2.156.10197.1.301', 'SM2'],
]);

/** The error for an elliptic-curve key; `parameters` name its curve (RFC 5480 §2.1.1). */
export function refusedEcKey(parameters: DerNode | undefined): DeribitKeysError {
  if (!isTag(parameters, TAG.oid)) return refuseAlgorithm('EC key');
  const curve = oidOf(parameters, 'the curve');
  return refuseAlgorithm(`EC key (${CURVES.get(curve) ?? curve})`);
}

/** Which of Deribit's algorithms an OID means; any other throws `ERR_KEY_UNSUPPORTED`, by its name where it has one. */
export function algorithmOf(oid: string, parameters: DerNode | undefined): KeyAlgorithm {
  const algorithm = ACCEPTED.get(oid);
  if (algorithm !== undefined) return algorithm;
  const old = OLD_ED25519.get(oid);
  if (old !== undefined) {
    throw unsupported(old, {
      hint: 'convert it: write the key again with a current version of the library that made it (net.i2p.crypto.eddsa 0.2.0 or later), or give its 32-byte seed with --format raw-seed',
    });
  }
  throw oid === EC_OID ? refusedEcKey(parameters) : refuseAlgorithm(`${REFUSED.get(oid) ?? `algorithm ${oid}`} key`);
}
