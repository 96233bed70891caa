import { DeribitKeysError } from '../errors.js';
import { parsePublicKey } from './formats/index.js';
import { PublicKey } from './keys.js';
import type { Signer } from './signer.js';
import { proveSigner, signatureLength, signerError } from './signer.js';

export interface CallbackSignerOptions {
  /** A public key, or any text or bytes that `parsePublicKey` reads: an SPKI PEM or DER, a certificate … */
  readonly publicKey: PublicKey | string | Uint8Array;
  /**
   * Signs the whole message, not a digest of it: 64 bytes of pure Ed25519 (RFC 8032 §5.1.6), or RSASSA-PKCS1-v1_5 with
   * SHA-256 (RFC 8017 §8.2.1), as long as the modulus. It may be called many times at once.
   */
  readonly sign: (message: Uint8Array) => Promise<Uint8Array> | Uint8Array;
}

const WHAT = 'the callback';

/**
 * A signer from a function: for a key that a cloud service, or anything else that this package does not know, keeps. It
 * proves itself once before it is given.
 * @throws `ERR_SIGNER` where the function fails, or gives no valid signature; what `parsePublicKey` throws
 */
export async function callbackSigner(options: CallbackSignerOptions): Promise<Signer> {
  const { publicKey: given, sign } = options;
  if (typeof sign !== 'function') {
    throw new DeribitKeysError('ERR_USAGE', `"sign" must be a function, not of type ${typeof sign}`);
  }
  const publicKey = given instanceof PublicKey ? given : await parsePublicKey(given);
  const { algorithm } = publicKey;
  const length = signatureLength({ algorithm, publicKey });
  return proveSigner(
    {
      algorithm,
      publicKey,
      async sign(message) {
        const signature: unknown = await callBack(sign, message);
        if (!(signature instanceof Uint8Array)) {
          throw signerError(
            `${WHAT} gave a signature of type ${typeof signature}`,
            'decode what the service answers: a signature is a Uint8Array',
          );
        }
        if (signature.length !== length) {
          throw signerError(
            `${WHAT} gave a signature of ${signature.length} bytes: this key's have ${length}`,
            'give the raw signature: not base64, not hex, not wrapped',
          );
        }
        return signature;
      },
    },
    WHAT,
  );
}

async function callBack(sign: CallbackSignerOptions['sign'], message: Uint8Array): Promise<Uint8Array> {
  try {
    return await sign(message.slice());
  } catch (cause) {
    if (cause instanceof DeribitKeysError) throw cause;
    throw signerError(`${WHAT} failed to sign`, 'see the cause of this error', cause);
  }
}
