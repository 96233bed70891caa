import { verifySignature } from '../crypto/local-signer.js';
import { randomNonce } from '../crypto/nonce.js';
import type { Signer } from '../crypto/signer.js';
import { signerError } from './signer-error.js';

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
