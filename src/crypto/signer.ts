import { engine as defaultEngine } from '#engine';
import { DeribitKeysError } from '../errors.js';
import type { Engine } from './engine/engine.js';
import type { KeyAlgorithm, PrivateKey, PublicKey } from './keys.js';
import { randomNonce } from './nonce.js';

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
  return engine.verify(publicKey, message, signature);
}

/** The length of each signature that belongs to the signer's key, in bytes. */
export function signatureLength({ algorithm, publicKey }: Pick<Signer, 'algorithm' | 'publicKey'>): number {
  return algorithm === 'ed25519' ? 64 : Math.ceil((publicKey.bits ?? 0) / 8);
}

/**
 * Proves that `signer` holds the private half of its public key: it signs a random challenge, which can be no login, and
 * the signature is verified here. Gives the signer back.
 * @throws `ERR_SIGNER` where the signature is not valid, and what `sign` throws
 */
export async function proveSigner<S extends Signer>(signer: S, what: string): Promise<S> {
  const challenge = new TextEncoder().encode(`deribit-keys proof of possession ${randomNonce()}${randomNonce()}`);
  const signature = await signer.sign(challenge);
  if (await verifySignature(signer.publicKey, challenge, signature)) return signer;
  const kind = signer.algorithm === 'rsa' ? 'RSASSA-PKCS1-v1_5 with SHA-256' : 'pure Ed25519';
  throw signerError(
    `${what} gives signatures that its public key does not verify`,
    `it must sign with the private half of that very key, by ${kind}`,
  );
}

/** `ERR_SIGNER`: a key that lives elsewhere cannot be had, or does not sign. */
export function signerError(message: string, hint: string, cause?: unknown): DeribitKeysError {
  return new DeribitKeysError('ERR_SIGNER', message, cause === undefined ? { hint } : { hint, cause });
}
