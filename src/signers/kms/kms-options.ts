import type { KeyAlgorithm } from '../../crypto/keys.js';
import type { Signer } from '../../crypto/signer.js';
import type { LoadPackage } from '../optional-package.js';
import type { CallOptions } from '../remote-key.js';

/** What the signers of all cloud services take. */
export interface KmsSignerOptions extends CallOptions {
  /** How the service's SDK is loaded; default: an ordinary import. */
  readonly load?: LoadPackage | undefined;
}

/** A signer whose key a cloud service keeps. */
export interface KmsSigner extends Signer {
  /** The service's name of exactly this key and version. */
  readonly keyId: string;
}

export interface GenerateInKmsOptions {
  /** Default `ed25519`. */
  readonly type?: KeyAlgorithm | undefined;
  /** For RSA only; default 3072. */
  readonly bits?: 2048 | 3072 | 4096 | undefined;
}
