import { engine as defaultEngine } from '#engine';
import {
  privateKeyFromEd25519Seed,
  privateKeyFromRsaNumbers,
  publicKeyFromEd25519,
  publicKeyFromRsa,
} from '../build-keys.js';
import { equalBytes } from '../bytes.js';
import type { Engine } from '../engine/engine.js';
import { invalid, unreadable } from '../key-errors.js';
import type { KeyAlgorithm, PrivateKey, PublicKey } from '../keys.js';
import {
  berOutline,
  bitStringOf,
  type DerNode,
  integerOf,
  isTag,
  octetStringOf,
  oidOf,
  primitive,
  readDer,
  sequenceOf,
  TAG,
} from './der.js';
import { decodeRsaPrivateKey, decodeRsaPublicKey, ED25519_LENGTH, encodeRsaPublicKey } from './key-der.js';
import { algorithmOf } from './oids.js';

const WRITE_AGAIN =
  'write the key again with a current version of the tool that made it, or give its 32-byte seed with --format raw-seed';

/** The identifier octet of a SEQUENCE. */
export const SEQUENCE = 0x20 | TAG.sequence;
const ATTRIBUTES_TAG = 0;
const PUBLIC_KEY_TAG = 1;

/**
 * The public key in SubjectPublicKeyInfo DER (RFC 5280 §4.1.2.7, RFC 8410 §4, RFC 3279 §2.3.1).
 * @throws ERR_KEY_UNREADABLE for another structure, ERR_KEY_UNSUPPORTED for a key of another algorithm or size, by name,
 * ERR_KEY_INVALID
 */
export function decodeSpki(der: Uint8Array): PublicKey {
  return spkiOf(readDer(der, 'the public key'));
}

/** As {@link decodeSpki}, from a node that is read already. */
export function spkiOf(node: DerNode): PublicKey {
  const [algorithmNode, keyNode, ...rest] = sequenceOf(node, 'the public key');
  const algorithm = keyAlgorithm(algorithmNode, 'the algorithm of the public key');
  const key = bitStringOf(keyNode, 'the public key');
  if (rest.length > 0) throw unreadable('the public key has more parts than an algorithm and a key');
  return algorithm === 'ed25519' ? publicKeyFromEd25519(key) : publicKeyFromRsa(decodeRsaPublicKey(key));
}

/**
 * The private key in unencrypted PKCS#8 DER: PrivateKeyInfo (RFC 5208 §5), or OneAsymmetricKey with the public half in it
 * (RFC 5958 §2), which must belong to the private one. Attributes are allowed and dropped.
 * @throws as {@link decodeSpki}
 */
export async function decodePkcs8(der: Uint8Array, engine: Engine = defaultEngine): Promise<PrivateKey> {
  const [version, algorithmNode, keyNode, ...rest] = sequenceOf(readDer(der, 'the private key'), 'the private key');
  const versionNumber = integerOf(version, 'the version of the private key');
  if (versionNumber > 1n) throw unreadable('the private key has an unknown PKCS#8 version');
  const algorithm = keyAlgorithm(algorithmNode, 'the algorithm of the private key');
  const key = octetStringOf(keyNode, 'the private key');
  const publicHalf = publicHalfOf(rest, versionNumber);
  return algorithm === 'ed25519' ? ed25519Key(key, publicHalf, engine) : rsaKey(key, publicHalf, engine);
}

/**
 * Whether the bytes begin as PKCS#8 or PKCS#1 of a private key does: a version, then an AlgorithmIdentifier or a number.
 * Noise has a chance of about 2^-40 to look like that.
 */
export function looksLikePrivateKey(bytes: Uint8Array): boolean {
  const [outer, version, next, id] = berOutline(bytes, 4);
  const isVersion =
    version?.identifier === TAG.integer && version.contents.length === 1 && (version.contents[0] ?? 9) < 2;
  if (outer?.identifier !== SEQUENCE || !isVersion) return false;
  const isPkcs8 = next?.identifier === SEQUENCE && id?.identifier === TAG.oid && id.contents.length > 2;
  return isPkcs8 || (next?.identifier === TAG.integer && next.contents.length > 64);
}

/** The algorithm in an AlgorithmIdentifier; any but the two is refused by name. */
function keyAlgorithm(node: DerNode | undefined, name: string): KeyAlgorithm {
  const [oidNode, parameters, ...rest] = sequenceOf(node, name);
  const algorithm = algorithmOf(oidOf(oidNode, name), parameters);
  const isNull = isTag(parameters, TAG.null) && parameters.children === null;
  // RFC 3279 §2.3.1 asks for NULL with RSA; some writers leave it out, and nothing else can be meant.
  if (rest.length === 0 && (parameters === undefined || (algorithm === 'rsa' && isNull))) return algorithm;
  throw unreadable(
    algorithm === 'ed25519'
      ? `${name} has parameters, which Ed25519 does not allow (RFC 8410 §3)`
      : `${name} has parameters other than NULL, which RSA does not allow (RFC 3279 §2.3.1)`,
    { hint: WRITE_AGAIN },
  );
}

/** The bytes of the public half that OneAsymmetricKey may hold, behind attributes that may be there as well. */
function publicHalfOf(rest: readonly DerNode[], version: bigint): Uint8Array | undefined {
  const parts = isTag(rest[0], ATTRIBUTES_TAG, 'context') ? rest.slice(1) : rest;
  const [publicKey, ...unknown] = parts;
  if (publicKey === undefined) return undefined;
  if (unknown.length > 0 || version === 0n)
    throw unreadable('the private key has parts that its version does not allow (RFC 5958 §2)', { hint: WRITE_AGAIN });
  // The tag is implicit; ring before 0.17 puts a BIT STRING under an explicit one.
  const [bits, ...others] = publicKey.children ?? [primitive(TAG.bitString, publicKey.contents)];
  const isTagged = isTag(publicKey, PUBLIC_KEY_TAG, 'context') && others.length === 0;
  return bitStringOf(isTagged ? bits : undefined, 'the public half of the private key');
}

/** RFC 8410 §7: the seed is an OCTET STRING inside the OCTET STRING. Some writers put its public half behind it. */
function ed25519Key(key: Uint8Array, publicHalf: Uint8Array | undefined, engine: Engine): Promise<PrivateKey> {
  if (key.length === ED25519_LENGTH || key.length === 2 * ED25519_LENGTH) {
    throw unreadable('the Ed25519 private key is one OCTET STRING, not one inside another (RFC 8410 §7)', {
      hint: WRITE_AGAIN,
    });
  }
  const secret = octetStringOf(readDer(key, 'the Ed25519 private key'), 'the Ed25519 private key');
  if (secret.length !== 2 * ED25519_LENGTH) return privateKeyFromEd25519Seed(secret, publicHalf, engine);
  const stored = secret.slice(ED25519_LENGTH);
  if (publicHalf !== undefined && !equalBytes(publicHalf, stored)) {
    throw invalid('the Ed25519 private key stores two different public halves');
  }
  return privateKeyFromEd25519Seed(secret.slice(0, ED25519_LENGTH), stored, engine);
}

async function rsaKey(key: Uint8Array, publicHalf: Uint8Array | undefined, engine: Engine): Promise<PrivateKey> {
  const numbers = decodeRsaPrivateKey(key);
  if (publicHalf !== undefined && !equalBytes(publicHalf, encodeRsaPublicKey(numbers))) {
    throw invalid('the public half stored with the RSA private key does not belong to it');
  }
  return privateKeyFromRsaNumbers(numbers, engine);
}

/**
 * The SubjectPublicKeyInfo of an X.509 certificate (RFC 5280 §4.1). Signature, dates and names are not checked: the
 * certificate only carries the key.
 * @throws ERR_KEY_UNREADABLE
 */
export function subjectPublicKeyInfo(node: DerNode): DerNode {
  const [tbs, algorithm, signature, ...others] = sequenceOf(node, 'Certificate');
  sequenceOf(algorithm, 'the signature algorithm');
  const fields = sequenceOf(tbs, 'TBSCertificate');
  const at = isTag(fields[0], 0, 'context') ? 1 : 0;
  const [serial, ...rest] = fields.slice(at);
  if (!isTag(serial, TAG.integer)) throw unreadable('TBSCertificate has no serial number');
  for (const [i, name] of ['the signature algorithm', 'the issuer', 'the validity', 'the subject'].entries()) {
    sequenceOf(rest[i], name);
  }
  const spki = rest[4];
  if (spki === undefined || !isTag(signature, TAG.bitString) || others.length > 0)
    throw unreadable('the certificate does not have three parts');
  sequenceOf(spki, 'SubjectPublicKeyInfo');
  return spki;
}
