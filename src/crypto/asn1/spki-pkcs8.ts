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
import { bitStringOf, type DerNode, integerOf, isTag, octetStringOf, oidOf, readDer, sequenceOf, TAG } from './der.js';
import { algorithmOf } from './oids.js';
import { decodeRsaPrivateKey, decodeRsaPublicKey, encodeRsaPublicKey } from './rsa-der.js';

const ATTRIBUTES_TAG = 0;
const PUBLIC_KEY_TAG = 1;

/**
 * The public key in SubjectPublicKeyInfo DER (RFC 5280 §4.1.2.7, RFC 8410 §4, RFC 3279 §2.3.1).
 *
 * Throws `ERR_KEY_UNREADABLE` for what is no such structure, `ERR_KEY_UNSUPPORTED` for a key of another algorithm or
 * size, by name, and `ERR_KEY_INVALID`.
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
 *
 * Throws as {@link decodeSpki}.
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

/** The algorithm in an AlgorithmIdentifier; any but the two is refused by name. */
function keyAlgorithm(node: DerNode | undefined, name: string): KeyAlgorithm {
  const [oidNode, parameters, ...rest] = sequenceOf(node, name);
  const algorithm = algorithmOf(oidOf(oidNode, name), parameters);
  const sound =
    rest.length === 0 &&
    (algorithm === 'ed25519' ? parameters === undefined : isTag(parameters, TAG.null) && parameters.children === null);
  if (!sound) {
    throw unreadable(
      `${name} has the wrong parameters: ${algorithm === 'ed25519' ? 'none for Ed25519 (RFC 8410 §3)' : 'NULL for RSA (RFC 3279 §2.3.1)'}`,
    );
  }
  return algorithm;
}

/** The bytes of the public half that OneAsymmetricKey may hold, behind attributes that may be there as well. */
function publicHalfOf(rest: readonly DerNode[], version: bigint): Uint8Array | undefined {
  const parts = isTag(rest[0], ATTRIBUTES_TAG, 'context') ? rest.slice(1) : rest;
  const [publicKey, ...unknown] = parts;
  if (publicKey === undefined) return undefined;
  if (unknown.length > 0 || version === 0n)
    throw unreadable('the private key has parts that its version does not allow');
  return bitStringOf(publicKey, 'the public half of the private key', PUBLIC_KEY_TAG, 'context');
}

function ed25519Key(key: Uint8Array, publicHalf: Uint8Array | undefined, engine: Engine): Promise<PrivateKey> {
  const seed = octetStringOf(readDer(key, 'the Ed25519 private key'), 'the Ed25519 private key');
  return privateKeyFromEd25519Seed(seed, publicHalf, engine);
}

async function rsaKey(key: Uint8Array, publicHalf: Uint8Array | undefined, engine: Engine): Promise<PrivateKey> {
  const numbers = decodeRsaPrivateKey(key);
  if (publicHalf !== undefined && !equalBytes(publicHalf, encodeRsaPublicKey(numbers))) {
    throw invalid('the public half stored with the RSA private key does not belong to it');
  }
  return privateKeyFromRsaNumbers(numbers, engine);
}
