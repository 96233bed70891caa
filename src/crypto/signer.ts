import { engine as defaultEngine } from '#engine';
import { DeribitKeysError } from '../errors.js';
import { type Bytes, bytesToHex } from './bytes.js';
import type { Engine } from './engine/engine.js';
import type { KeyAlgorithm, PrivateKey, PublicKey } from './keys.js';

/**
 * Whatever can sign with one private key: a local key, an agent's, an HSM's, a cloud service's.
 *
 * `sign` returns 64 bytes of pure Ed25519 (RFC 8032 §5.1.6), or a signature of RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017
 * §8.2.1) as long as the modulus. It may be called many times at once.
 */
export interface Signer {
  readonly algorithm: KeyAlgorithm;
  readonly publicKey: PublicKey;
  sign(message: Uint8Array): Promise<Uint8Array>;
}

/** The signer of a key in memory. Its signatures have a buffer of their own, as WebCrypto and `fetch` take them. */
export interface LocalSigner extends Signer {
  sign(message: Uint8Array): Promise<Bytes>;
}

/** The signer of a private key in memory. No property of the signer holds the private key. */
export function localSigner(key: PrivateKey): LocalSigner;
/** @internal With another engine than the platform's, for tests. */
export function localSigner(key: PrivateKey, engine: Engine): LocalSigner;
export function localSigner(key: PrivateKey, engine: Engine = defaultEngine): LocalSigner {
  return {
    algorithm: key.algorithm,
    publicKey: key.publicKey,
    sign: engine.signer(key),
  };
}

/**
 * Whether `signature` is valid for `message` under `publicKey`: pure Ed25519 (RFC 8032 §5.1.7, S below the group's order,
 * no cofactor), or RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2.2).
 */
export function verifySignature(publicKey: PublicKey, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  return defaultEngine.verify(publicKey, message, signature);
}

/** The length of each signature of the key, in bytes. */
export function signatureLength({ algorithm, bits }: PublicKey): number {
  return algorithm === 'ed25519' ? 64 : Math.ceil((bits ?? 0) / 8);
}

/**
 * Proves that `signer` holds the private half of its public key: it signs a random challenge, which cannot be a login, and
 * the signature is verified. Returns the signer.
 * @param what names the signer in errors
 * @throws ERR_SIGNER where the signature is not valid, and what `sign` throws
 */
export async function proveSigner<S extends Signer>(signer: S, what: string): Promise<S> {
  const challenge = new TextEncoder().encode(`deribit-keys proof of possession ${randomNonce()}${randomNonce()}`);
  const signature = await signer.sign(challenge);
  if (await verifySignature(signer.publicKey, challenge, signature)) return signer;
  const kind = signer.algorithm === 'rsa' ? 'RSASSA-PKCS1-v1_5 with SHA-256' : 'pure Ed25519';
  throw signerError(
    `${what} returned a signature that its public key does not verify`,
    `it must sign with the private half of exactly that key, by ${kind}`,
  );
}

/** `ERR_SIGNER`: a key outside this process is not available, or does not sign. */
export function signerError(message: string, hint: string, cause?: unknown): DeribitKeysError {
  return new DeribitKeysError('ERR_SIGNER', message, cause === undefined ? { hint } : { hint, cause });
}

const NONCE_BYTES = 12;

/** A nonce for `client_signature`: 96 random bits in 24 lower-case hex digits. */
export function randomNonce(): string {
  return bytesToHex(defaultEngine.randomBytes(NONCE_BYTES));
}
