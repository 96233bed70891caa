import { engine as defaultEngine } from '#engine';
import { usageError } from '../errors.js';
import { ED25519_LENGTH } from './asn1/key-der.js';
import { decodePkcs8 } from './asn1/spki-pkcs8.js';
import { privateKeyFromEd25519Seed } from './build-keys.js';
import type { Engine } from './engine/engine.js';
import type { KeyAlgorithm, PrivateKey } from './keys.js';

/** The lengths of the RSA keys that are generated, in bits. */
export const RSA_SIZES = [2048, 3072, 4096] as const;
/** The length of a generated RSA key, in bits. */
export type RsaSize = (typeof RSA_SIZES)[number];

const DEFAULT_RSA_SIZE: RsaSize = 3072;

/** The kind of key that is generated. */
export interface GenerateOptions {
  /** Default `ed25519`. */
  readonly type?: KeyAlgorithm;
  /** Only for RSA; default 3072. */
  readonly bits?: RsaSize;
}

/** @throws `ERR_USAGE` for another type or length, or a length given for Ed25519 */
export function requireSize({ type = 'ed25519', bits }: GenerateOptions): void {
  if (type === 'ed25519' && bits !== undefined) {
    throw usageError('the length of an Ed25519 key is fixed', 'leave out bits, or choose the type rsa');
  }
  if (type === 'ed25519' || (type === 'rsa' && RSA_SIZES.includes(bits ?? DEFAULT_RSA_SIZE))) return;
  throw usageError(
    'keys of this type and length cannot be generated',
    `choose ed25519, or rsa with ${RSA_SIZES.join(', ')} bits`,
  );
}

/**
 * Generates a private key with its public half: Ed25519 (RFC 8032 §5.1.5), or RSA with the public exponent 65537. Nothing
 * is stored.
 *
 * @throws ERR_USAGE for another type or length, and for a length given for Ed25519
 */
export function generateKeyPair(options?: GenerateOptions): Promise<PrivateKey>;
/** @internal With another engine than the platform's, for tests and for the code of this package. */
export function generateKeyPair(options: GenerateOptions, engine: Engine): Promise<PrivateKey>;
export async function generateKeyPair(
  options: GenerateOptions = {},
  engine: Engine = defaultEngine,
): Promise<PrivateKey> {
  requireSize(options);
  const { type = 'ed25519', bits = DEFAULT_RSA_SIZE } = options;
  if (type === 'ed25519') return privateKeyFromEd25519Seed(engine.randomBytes(ED25519_LENGTH), undefined, engine);
  return decodePkcs8(await engine.generateRsaPkcs8(bits), engine);
}
