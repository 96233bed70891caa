import { engine as defaultEngine } from '#engine';
import type { Engine } from './engine/engine.js';
import type { PrivateKey, PublicKey } from './keys.js';
import type { Signer } from './signer.js';

/** The signer of a private key in memory. The key stays inside: nothing of it is seen on the signer. */
export function localSigner(key: PrivateKey, engine: Engine = defaultEngine): Signer {
  return {
    algorithm: key.algorithm,
    publicKey: key.publicKey,
    sign: engine.signer(key.algorithm, key.exposePkcs8()),
  };
}

/**
 * Whether `signature` is what the owner of `publicKey` made of `message`: pure Ed25519 (RFC 8032 §5.1.7, S below the
 * group's order, no cofactor), or RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2.2).
 */
export function verifySignature(
  publicKey: PublicKey,
  message: Uint8Array,
  signature: Uint8Array,
  engine: Engine = defaultEngine,
): Promise<boolean> {
  return engine.verify(publicKey.algorithm, publicKey.spki, message, signature);
}
