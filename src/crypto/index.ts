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
export {
  inspectKey,
  parsePrivateKey,
  parsePublicKey,
  serialisePrivateKey,
  serialisePublicKey,
} from './formats/lazy.js';
export { type GenerateOptions, generateKeyPair, RSA_SIZES, type RsaSize } from './generate.js';
export { encodePublicKeyPem } from './key-pem.js';
export { type KeyAlgorithm, PrivateKey, PublicKey } from './keys.js';
export { Secret, type SecretLike, toSecret } from './secret.js';
export { type LocalSigner, localSigner, randomNonce, type Signer, verifySignature } from './signer.js';
