import { DeribitKeysError, usageError } from '../errors.js';
import { ownBuffer } from './bytes.js';
import { type CryptoKey, subtle } from './engine/portable-signatures.js';
import { PublicKey } from './keys.js';
import { proveSigner, type Signer, signatureLength, signerError } from './signer.js';

/** The arguments of {@link callbackSigner}. */
export interface CallbackSignerOptions {
  /** A public key, or any text or bytes that `parsePublicKey` reads: an SPKI PEM or DER, a certificate … */
  readonly publicKey: PublicKey | string | Uint8Array;
  /**
   * Signs the message itself, not a digest of it: 64 bytes of pure Ed25519 (RFC 8032 §5.1.6), or RSASSA-PKCS1-v1_5 with
   * SHA-256 (RFC 8017 §8.2.1), as long as the modulus. It may be called many times at once.
   */
  readonly sign: (message: Uint8Array) => Promise<Uint8Array> | Uint8Array;
}

/**
 * A signer from a function: for a key in a cloud service, or in anything else that this package does not know. It signs
 * one random challenge as a proof before it is returned.
 * @throws ERR_SIGNER where the function fails, or returns no valid signature; what `parsePublicKey` throws
 */
export async function callbackSigner(options: CallbackSignerOptions): Promise<Signer> {
  const { publicKey: given, sign } = options;
  if (typeof sign !== 'function') throw usageError(`"sign" must be a function, not of type ${typeof sign}`);
  const publicKey = await readPublicKey(given);
  return signerOf(publicKey, sign, 'the callback');
}

/** The arguments of {@link cryptoKeySigner}. */
export interface CryptoKeySignerOptions {
  /** A private key of WebCrypto for signatures: Ed25519, or RSASSA-PKCS1-v1_5 with SHA-256. It need not be extractable. */
  readonly privateKey: CryptoKey;
  /** Its public key: an extractable one of WebCrypto, or as for {@link CallbackSignerOptions}. */
  readonly publicKey: CryptoKey | CallbackSignerOptions['publicKey'];
}

/**
 * A signer from a `CryptoKey`, such as a non-extractable one that a browser keeps in IndexedDB. It signs one random
 * challenge as a proof before it is returned.
 * @throws ERR_USAGE for a key of another algorithm or use; ERR_SIGNER where the keys do not belong together; what
 * `parsePublicKey` throws
 */
export async function cryptoKeySigner({ privateKey, publicKey }: CryptoKeySignerOptions): Promise<Signer> {
  const { name } = privateKey.algorithm;
  const hash = 'hash' in privateKey.algorithm ? (privateKey.algorithm.hash as { readonly name?: unknown }).name : null;
  const isRsa = name === 'RSASSA-PKCS1-v1_5' && hash === 'SHA-256';
  if (!(name === 'Ed25519' || isRsa) || privateKey.type !== 'private' || !privateKey.usages.includes('sign')) {
    throw usageError(
      `the CryptoKey is not a private key for signatures that Deribit takes`,
      'make or import it as Ed25519, or as RSASSA-PKCS1-v1_5 with SHA-256, with the usage "sign"',
    );
  }
  const platform = subtle();
  const isText = typeof publicKey === 'string' || publicKey instanceof Uint8Array;
  const readable =
    isText || publicKey instanceof PublicKey ? publicKey : new Uint8Array(await platform.exportKey('spki', publicKey));
  const key = await readPublicKey(readable);
  const sign = async (message: Uint8Array) => new Uint8Array(await platform.sign(name, privateKey, ownBuffer(message)));
  return signerOf(key, sign, 'the CryptoKey');
}

/** The readers of formats are loaded only where the key comes as text or bytes. */
async function readPublicKey(given: CallbackSignerOptions['publicKey']): Promise<PublicKey> {
  if (given instanceof PublicKey) return given;
  return (await import('./formats/index.js')).parsePublicKey(given);
}

function signerOf(publicKey: PublicKey, sign: CallbackSignerOptions['sign'], what: string): Promise<Signer> {
  const length = signatureLength(publicKey);
  const signer: Signer = {
    algorithm: publicKey.algorithm,
    publicKey,
    async sign(message) {
      const signature: unknown = await callBack(sign, message, what);
      if (!(signature instanceof Uint8Array)) {
        throw signerError(
          `${what} returned a signature of type ${typeof signature}`,
          'decode what the service answers: a signature is a Uint8Array',
        );
      }
      if (signature.length !== length) {
        throw signerError(
          `${what} returned a signature of ${signature.length} bytes; those of this key have ${length}`,
          'return the raw signature: not base64, not hexadecimal, not wrapped',
        );
      }
      return ownBuffer(signature);
    },
  };
  return proveSigner(signer, what);
}

async function callBack(sign: CallbackSignerOptions['sign'], message: Uint8Array, what: string): Promise<Uint8Array> {
  try {
    return await sign(message.slice());
  } catch (cause) {
    if (cause instanceof DeribitKeysError) throw cause;
    throw signerError(`${what} failed to sign`, 'see the cause of this error', cause);
  }
}
