import { signerError } from '../crypto/signer.js';

/** The packages that only some signers and token stores need. */
export type OptionalPackage =
  | 'ssh2'
  | 'pkcs11js'
  | '@aws-sdk/client-kms'
  | '@google-cloud/kms'
  | '@azure/keyvault-keys'
  | '@azure/identity'
  | 'redis'
  | 'prom-client';

/** How a package is loaded that is not among our own dependencies. */
export type LoadPackage = (name: string) => Promise<unknown>;

const importPackage: LoadPackage = (name) => import(name);

/**
 * Loads an optional peer of this package, as an ordinary import from its own place finds it.
 * @throws `ERR_SIGNER` where it is not installed, or is installed and does not load
 */
export async function loadOptionalPackage(
  name: OptionalPackage,
  purpose: string,
  load: LoadPackage = importPackage,
): Promise<object> {
  let loaded: unknown;
  try {
    loaded = await load(name);
  } catch (cause) {
    const missing = cause instanceof Error && [`'${name}'`, `"${name}"`].some((word) => cause.message.includes(word));
    throw missing
      ? signerError(`${purpose} needs the package ${name}, which is not installed`, `npm install ${name}`, cause)
      : signerError(`the package ${name} is installed, but does not load`, `npm rebuild ${name}`, cause);
  }
  const value = (loaded as { default?: unknown }).default ?? loaded;
  if (typeof value === 'object' && value !== null) return value;
  throw signerError(`the package ${name} is installed, but is not what it should be`, `npm install ${name}@latest`);
}
