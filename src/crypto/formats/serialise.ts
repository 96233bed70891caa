import { engine as defaultEngine } from '#engine';
import { type DeribitKeysError, usageError } from '../../errors.js';
import { encodeRsaPrivateKey, encodeRsaPublicKey } from '../asn1/key-der.js';
import { privateNumbers, publicNumbers } from '../build-keys.js';
import type { Engine } from '../engine/engine.js';
import type { PrivateKey, PublicKey } from '../keys.js';
import { encodePem, encodePrivateKeyPem, encodePublicKeyPem } from '../pem.js';
import type { SecretLike } from '../secret.js';
import { encryptPkcs8 } from './encrypted-pkcs8.js';
import { encodePrivateJwk, encodePublicJwk } from './jwk.js';
import { encodeOpensshPrivate } from './openssh-private.js';
import { MAX_ITERATIONS, MIN_ITERATIONS, passphraseToWrite } from './passphrase.js';
import { encodeSshLine } from './ssh-public.js';

const MAX_COMMENT_LENGTH = 1024;

/** The formats of a private key: `der` is PKCS#8 DER, all others are text. */
export type PrivateFormat = 'pkcs8' | 'pkcs1' | 'openssh' | 'jwk' | 'der';
/** The formats of a public key: `der` is SPKI DER, all others are text. */
export type PublicFormat = 'spki' | 'ssh' | 'jwk' | 'der' | 'pkcs1';

/** How to write a private key. */
export interface SerialisePrivateOptions<F extends PrivateFormat = PrivateFormat> {
  readonly format: F;
  /** Encrypts the key; only for `pkcs8` and `openssh`. */
  readonly passphrase?: SecretLike | undefined;
  /** For `openssh`: what ssh-keygen and ssh-add show beside the key. */
  readonly comment?: string | undefined;
  /** For encrypted `pkcs8`: rounds of PBKDF2, 600,000 (the default) to 10,000,000. */
  readonly iterations?: number | undefined;
  /** @internal The engine to compute with; the platform's own by default. */
  readonly engine?: Engine;
}

/** How to write a public key. */
export interface SerialisePublicOptions<F extends PublicFormat = PublicFormat> {
  readonly format: F;
  /** For `ssh`: the comment at the end of the line. */
  readonly comment?: string | undefined;
}

/** What a key is written as in a format: bytes for `der`, text for all others. */
export type Serialised<F extends PrivateFormat | PublicFormat> = F extends 'der' ? Uint8Array<ArrayBuffer> : string;

/**
 * Writes a private key, unencrypted unless a passphrase is given. Text ends with a newline.
 *
 * With a passphrase, `pkcs8` is encrypted by PBES2 (RFC 8018 §6.2) with PBKDF2-HMAC-SHA-256 and AES-256-CBC, and `openssh`
 * by bcrypt and AES-256-CTR. The derivation does not block.
 *
 * @throws ERR_USAGE for an empty passphrase, for a passphrase, comment or number of iterations that the format does not
 * allow, and for `pkcs1` of an Ed25519 key
 */
export async function serialisePrivateKey<F extends PrivateFormat>(
  key: PrivateKey,
  options: SerialisePrivateOptions<F>,
): Promise<Serialised<F>> {
  return (await writePrivate(key, options)) as Serialised<F>;
}

/**
 * Writes a public key. Text ends with a newline.
 * @throws ERR_USAGE for a comment that the format does not allow, and for `pkcs1` of an Ed25519 key
 */
export async function serialisePublicKey<F extends PublicFormat>(
  key: PublicKey,
  options: SerialisePublicOptions<F>,
): Promise<Serialised<F>> {
  return writePublic(key, options) as Serialised<F>;
}

async function writePrivate(key: PrivateKey, options: SerialisePrivateOptions): Promise<string | Uint8Array> {
  const { format } = options;
  const engine = options.engine ?? defaultEngine;
  const passphrase = options.passphrase === undefined ? undefined : passphraseToWrite(options.passphrase);
  const comment = checkComment(options.comment, format === 'openssh', format);
  const iterations = checkIterations(options.iterations, format === 'pkcs8' && passphrase !== undefined);
  if (format === 'openssh') {
    return encodePem('OPENSSH PRIVATE KEY', await encodeOpensshPrivate(key, { comment, passphrase }, engine));
  }
  if (format === 'pkcs8') {
    if (passphrase === undefined) return encodePrivateKeyPem(key);
    return encodePem(
      'ENCRYPTED PRIVATE KEY',
      await encryptPkcs8(key.exposePkcs8(), { passphrase, iterations }, engine),
    );
  }
  if (passphrase !== undefined) {
    throw usageError(
      `the format ${format} cannot be encrypted`,
      'use the format pkcs8 or openssh, or give no passphrase',
    );
  }
  switch (format) {
    case 'der':
      return key.exposePkcs8();
    case 'jwk':
      return encodePrivateJwk(privateNumbers(key));
    case 'pkcs1': {
      const numbers = privateNumbers(key);
      if (numbers.algorithm !== 'rsa') throw refusePkcs1('pkcs8');
      return encodePem('RSA PRIVATE KEY', encodeRsaPrivateKey(numbers));
    }
    default:
      throw unknownFormat(format, 'pkcs8, pkcs1, openssh, jwk or der');
  }
}

function writePublic(key: PublicKey, options: SerialisePublicOptions): string | Uint8Array {
  const { format } = options;
  const comment = checkComment(options.comment, format === 'ssh', format);
  switch (format) {
    case 'spki':
      return encodePublicKeyPem(key);
    case 'der':
      return key.spki;
    case 'ssh':
      return encodeSshLine(publicNumbers(key), comment);
    case 'jwk':
      return encodePublicJwk(publicNumbers(key));
    case 'pkcs1': {
      const numbers = publicNumbers(key);
      if (numbers.algorithm !== 'rsa') throw refusePkcs1('spki');
      return encodePem('RSA PUBLIC KEY', encodeRsaPublicKey(numbers));
    }
    default:
      throw unknownFormat(format, 'spki, ssh, jwk, der or pkcs1');
  }
}

/** A line of a key file, so no control characters; OpenSSH's own limit is far above ours. */
function checkComment(comment: string | undefined, allowed: boolean, format: string): string {
  if (comment === undefined) return '';
  if (!allowed) throw usageError(`the format ${format} has no comment`, 'leave the comment out, or use openssh or ssh');
  if (comment.length > MAX_COMMENT_LENGTH || /\p{Cc}/u.test(comment) || comment.trim() !== comment) {
    throw usageError(
      `a comment of ${comment.length} characters cannot be written to this key file`,
      `use one line of at most ${MAX_COMMENT_LENGTH} characters without white space around it`,
    );
  }
  return comment;
}

function checkIterations(iterations: number | undefined, allowed: boolean): number {
  if (iterations === undefined) return MIN_ITERATIONS;
  if (!allowed) throw usageError('iterations were given for a key that is not encrypted PKCS#8', 'leave them out');
  if (!Number.isSafeInteger(iterations) || iterations < MIN_ITERATIONS || iterations > MAX_ITERATIONS) {
    throw usageError(`${iterations} iterations of PBKDF2`, `use ${MIN_ITERATIONS} to ${MAX_ITERATIONS}`);
  }
  return iterations;
}

function refusePkcs1(instead: string): DeribitKeysError {
  return usageError('PKCS#1 holds RSA keys only, and this is an Ed25519 key', `use the format ${instead}`);
}

function unknownFormat(format: never, known: string): DeribitKeysError {
  return usageError(`unknown key format ${String(format).slice(0, 32)}`, `use ${known}`);
}
