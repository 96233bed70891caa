import { inspectKey, parsePrivateKey } from '../crypto/formats/index.js';
import { type SecretLike, toSecret } from '../crypto/secret.js';
import { localSigner, type Signer } from '../crypto/signer.js';
import { DeribitKeysError, usageError } from '../errors.js';
import { type PermissionPolicy, readPrivateFile } from '../keystore/permissions.js';

/** The variable that `env: true` reads. */
const PRIVATE_KEY_VARIABLE = 'DERIBIT_PRIVATE_KEY';

/** Exactly one of `file`, `pem` and `env`, and how it is opened. */
export interface LoadSignerOptions {
  /** A private key file, in any format that `parsePrivateKey` reads. */
  readonly file?: string;
  /** The key itself, as text. */
  readonly pem?: string;
  /** A variable of the environment, `true` for `DERIBIT_PRIVATE_KEY`: a PEM with real newlines or literal `\n`, or base64 of it. */
  readonly env?: string | true;
  readonly passphrase?: SecretLike | (() => Promise<SecretLike>);
  /** How strictly the file's owner and mode are checked; `mounted` for keys that Kubernetes or Docker mount. */
  readonly permissions?: PermissionPolicy;
  /** Where `env` looks; the process's own environment by default. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

async function inputFrom({
  file,
  pem,
  env,
  permissions,
  environment = process.env,
}: LoadSignerOptions): Promise<string | Uint8Array> {
  if ([file, pem, env].filter((source) => source !== undefined).length !== 1) {
    throw usageError('loadSigner takes exactly one of file, pem and env');
  }
  if (file !== undefined) return readPrivateFile(file, permissions);
  if (pem !== undefined) return pem;
  const variable = env === true || env === undefined ? PRIVATE_KEY_VARIABLE : env;
  const value = environment[variable];
  if (value !== undefined && value !== '') return value;
  throw new DeribitKeysError('ERR_KEY_UNREADABLE', `the environment variable ${variable} is not set`, {
    hint: 'set it to a private key as PEM, or as base64 of the PEM',
  });
}

/**
 * Loads a private key for a bot, from a file, a text or an environment variable. The passphrase is asked for only where
 * the key is encrypted.
 *
 * @throws `ERR_USAGE`, `ERR_KEY_UNREADABLE`, `ERR_PERMISSIONS` with the `chmod` to run, `ERR_PASSPHRASE_REQUIRED`,
 *   `ERR_PASSPHRASE_WRONG`, `ERR_KEY_UNSUPPORTED`, `ERR_KEY_INVALID`
 */
export async function loadSigner(options: LoadSignerOptions): Promise<Signer> {
  const input = await inputFrom(options);
  const { passphrase } = options;
  if (typeof passphrase !== 'function') {
    return localSigner(
      await parsePrivateKey(input, passphrase === undefined ? {} : { passphrase: toSecret(passphrase) }),
    );
  }
  const { encrypted } = await inspectKey(input);
  return localSigner(await parsePrivateKey(input, encrypted ? { passphrase: toSecret(await passphrase()) } : {}));
}
