import type { KeyAlgorithm, PublicKey } from './keys.js';

/**
 * Whatever can sign with one private key: a local key, an agent's, an HSM's, a cloud service's.
 *
 * `sign` gives 64 bytes of pure Ed25519 (RFC 8032 §5.1.6), or as many bytes as the modulus has of
 * RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2.1). It may be called many times at once.
 */
export interface Signer {
  readonly algorithm: KeyAlgorithm;
  readonly publicKey: PublicKey;
  sign(message: Uint8Array): Promise<Uint8Array>;
}
