import type * as formats from './formats/index.js';

export {
  privateKeyFromEd25519Seed,
  privateKeyFromRsaNumbers,
  publicKeyFromEd25519,
  publicKeyFromRsa,
} from './build-keys.js';
export type { Bytes, RsaPrivateNumbers, RsaPublicNumbers } from './bytes.js';
export {
  type CallbackSignerOptions,
  type CryptoKeySignerOptions,
  callbackSigner,
  cryptoKeySigner,
} from './callback-signer.js';
export type {
  BcryptParameters,
  Engine,
  Pbkdf2Parameters,
  PbkdfHash,
  ScryptParameters,
  VerificationKey,
} from './engine/engine.js';
export type { CryptoKey } from './engine/portable-signatures.js';
export { fingerprint } from './fingerprint.js';
export type {
  KeyDescription,
  KeyFormat,
  ParseOptions,
  PrivateFormat,
  PublicFormat,
  Serialised,
  SerialisePrivateOptions,
  SerialisePublicOptions,
} from './formats/index.js';
export { type GenerateOptions, generateKeyPair, RSA_SIZES, type RsaSize } from './generate.js';
export { type KeyAlgorithm, PrivateKey, PublicKey } from './keys.js';
export { encodePublicKeyPem } from './pem.js';
export { Secret, type SecretLike, toSecret } from './secret.js';
export { type LocalSigner, localSigner, randomNonce, type Signer, verifySignature } from './signer.js';

// Most programs meet one format once: the readers and writers of all of them are loaded when the first is needed.

/** As `parsePrivateKey` of ./formats: a private key from any format that can be read. */
export const parsePrivateKey: typeof formats.parsePrivateKey = async (input, options) =>
  (await import('./formats/index.js')).parsePrivateKey(input, options);

/** As `parsePublicKey` of ./formats: a public key from any format that has one in it. */
export const parsePublicKey: typeof formats.parsePublicKey = async (input, options) =>
  (await import('./formats/index.js')).parsePublicKey(input, options);

/** As `inspectKey` of ./formats: what an input is, without opening it. */
export const inspectKey: typeof formats.inspectKey = async (input, options) =>
  (await import('./formats/index.js')).inspectKey(input, options);

/** As `serialisePrivateKey` of ./formats: the secret itself, unless a passphrase is given. */
export const serialisePrivateKey: typeof formats.serialisePrivateKey = async (key, options) =>
  (await import('./formats/index.js')).serialisePrivateKey(key, options);

/** As `serialisePublicKey` of ./formats. */
export const serialisePublicKey: typeof formats.serialisePublicKey = async (key, options) =>
  (await import('./formats/index.js')).serialisePublicKey(key, options);
