export {
  privateKeyFromEd25519Seed,
  privateKeyFromRsaNumbers,
  publicKeyFromEd25519,
  publicKeyFromRsa,
} from './build-keys.js';
export { type CallbackSignerOptions, callbackSigner } from './callback-signer.js';
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
export { encodePrivateKeyPem, encodePublicKeyPem, loadPkcs8Pem } from './key-pem.js';
export { type KeyAlgorithm, PrivateKey, PublicKey } from './keys.js';
export { randomNonce } from './nonce.js';
export type { RsaPrivateNumbers, RsaPublicNumbers } from './numbers.js';
export { Secret, type SecretLike, toSecret } from './secret.js';
export type { Signer } from './signer.js';
export { localSigner, verifySignature } from './signer.js';
