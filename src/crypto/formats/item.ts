import type { Engine } from '../engine/engine.js';
import type { PrivateKey, PublicKey } from '../keys.js';
import type { SecretLike } from '../secret.js';

/**
 * Formats by their usual names. `ssh` is OpenSSH's public line, `x509` a certificate; `raw-seed` are the 32 bytes of an
 * Ed25519 seed, `raw-pair` a seed with its public key behind it, and `raw-public` the 32 bytes of an Ed25519 public key.
 */
export type KeyFormat =
  | 'pkcs8'
  | 'pkcs1'
  | 'openssh'
  | 'putty'
  | 'jwk'
  | 'raw-seed'
  | 'raw-pair'
  | 'raw-public'
  | 'spki'
  | 'ssh'
  | 'x509';

/** A private key found in an input, recognised but not opened. */
export interface PrivateItem {
  readonly kind: 'private';
  readonly format: KeyFormat;
  readonly encrypted: boolean;
  open(passphrase: SecretLike | undefined, engine: Engine): Promise<PrivateKey>;
}

/** A public key, or a certificate of one, found in an input. */
export interface PublicItem {
  readonly kind: 'public' | 'certificate';
  readonly format: KeyFormat;
  readonly encrypted: false;
  read(engine: Engine): PublicKey | Promise<PublicKey>;
}

/** Something else that may stand beside a key, such as parameters. Without a key it is refused with this error. */
export interface OtherItem {
  readonly kind: 'other';
  readonly refusal: Error;
}

export type Item = PrivateItem | PublicItem | OtherItem;
