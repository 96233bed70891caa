import {
  privateKeyFromEd25519Seed,
  privateKeyFromRsaNumbers,
  publicKeyFromEd25519,
  publicKeyFromRsa,
} from '../build-keys.js';
import { bitStringOf, octetStringOf, readDer, sequenceOf } from '../der.js';
import { rawEd25519PublicKey, rawEd25519Seed } from '../ed25519-der.js';
import type { Engine } from '../engine/engine.js';
import type { PrivateKey, PublicKey } from '../keys.js';
import type { RsaPrivateNumbers, RsaPublicNumbers } from '../numbers.js';
import { decodeRsaPrivateKey, decodeRsaPublicKey } from '../rsa-der.js';

/** What a public key is made of: the form in which every format gives it and takes it. */
export type PublicNumbers =
  | { readonly algorithm: 'ed25519'; readonly raw: Uint8Array }
  | ({ readonly algorithm: 'rsa' } & RsaPublicNumbers);

/** What a private key is made of. `raw` is the public half of `seed`. */
export type PrivateNumbers =
  | { readonly algorithm: 'ed25519'; readonly raw: Uint8Array; readonly seed: Uint8Array }
  | ({ readonly algorithm: 'rsa' } & RsaPrivateNumbers);

/** The checked public key. @throws ERR_KEY_UNSUPPORTED, ERR_KEY_INVALID */
export function buildPublicKey(numbers: PublicNumbers): PublicKey {
  return numbers.algorithm === 'ed25519' ? publicKeyFromEd25519(numbers.raw) : publicKeyFromRsa(numbers);
}

/** The checked private key. @throws ERR_KEY_UNSUPPORTED, ERR_KEY_INVALID */
export function buildPrivateKey(numbers: PrivateNumbers, engine: Engine): Promise<PrivateKey> {
  return numbers.algorithm === 'ed25519'
    ? privateKeyFromEd25519Seed(numbers.seed, numbers.raw, engine)
    : privateKeyFromRsaNumbers(numbers, engine);
}

/** The numbers of a public key. */
export function publicNumbers({ algorithm, spki }: PublicKey): PublicNumbers {
  if (algorithm === 'ed25519') return { algorithm, raw: rawEd25519PublicKey(spki) };
  const [, key] = sequenceOf(readDer(spki), 'SubjectPublicKeyInfo');
  return { algorithm, ...decodeRsaPublicKey(bitStringOf(key, 'the public key')) };
}

/** The numbers of a private key. */
export function privateNumbers(key: PrivateKey): PrivateNumbers {
  const pkcs8 = key.exposePkcs8();
  const publicHalf = publicNumbers(key.publicKey);
  if (publicHalf.algorithm === 'ed25519') return { ...publicHalf, seed: rawEd25519Seed(pkcs8) };
  const [, , rsaKey] = sequenceOf(readDer(pkcs8), 'PrivateKeyInfo');
  return { algorithm: 'rsa', ...decodeRsaPrivateKey(octetStringOf(rsaKey, 'the private key')) };
}
