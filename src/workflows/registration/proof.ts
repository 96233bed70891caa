import { parsePublicKey } from '../../crypto/formats/index.js';
import { fingerprint } from '../../crypto/index.js';
import type { PublicKey } from '../../crypto/keys.js';
import type { Signer } from '../../crypto/signer.js';
import type { ApiKey } from '../../deribit/api-keys.js';
import type { Login } from '../../deribit/auth.js';
import type { Endpoint } from '../../deribit/endpoints.js';
import { compareScopes } from '../../deribit/scope.js';
import { signIn } from '../../deribit/sign-in.js';
import { isDeribitKeysError } from '../../errors.js';
import { withTransport } from '../account/account.js';
import type { WorkflowContext } from '../context.js';

/** How a key on the exchange compares with the local one; null where the exchange does not say. */
export interface Comparison {
  readonly fingerprintVerified: boolean | null;
  readonly publicKeyVerified: boolean | null;
  /** One sentence for each difference; none where all is as it should be. */
  readonly differences: readonly string[];
}

/** Whether the public key that the exchange shows is `key`: compared as DER, since its text has other newlines. */
async function isSameKey(shown: string, key: PublicKey): Promise<boolean> {
  try {
    return (await parsePublicKey(shown)).equals(key);
  } catch {
    return false;
  }
}

/** Compares what the exchange recorded with the local public key. */
export async function compareKey(apiKey: ApiKey, key: PublicKey): Promise<Comparison> {
  const local = fingerprint(key);
  const differences: string[] = [];
  const fingerprintVerified = apiKey.fingerprint === local;
  if (!fingerprintVerified) {
    const shown = apiKey.fingerprint ?? 'none (its client_secret is not a fingerprint)';
    differences.push(`the fingerprint: the exchange says ${shown}, the local key has ${local}`);
  }
  const publicKeyVerified = apiKey.publicKey === null ? null : await isSameKey(apiKey.publicKey, key);
  if (publicKeyVerified === false) differences.push('the public key: the exchange shows another one than was sent');
  return { fingerprintVerified, publicKeyVerified, differences };
}

/**
 * Whether the exchange has `key` there, by all that it shows; null where it shows neither the key nor its fingerprint.
 * A login that may only read is not shown the fingerprints of other keys.
 */
export async function isSameThere(apiKey: ApiKey, key: PublicKey): Promise<boolean | null> {
  const { fingerprintVerified, publicKeyVerified } = await compareKey(apiKey, key);
  if (apiKey.fingerprint === null) return publicKeyVerified;
  return fingerprintVerified === true && publicKeyVerified !== false;
}

/** One sentence for each word in which a granted scope differs from the one asked for. */
export function scopeDifferences(asked: string, granted: string): string[] {
  const { missing, extra } = compareScopes(asked, granted);
  return [
    ...(missing.length > 0 ? [`the scope: ${missing.join(' ')} was asked for and not granted`] : []),
    ...(extra.length > 0 ? [`the scope: ${extra.join(' ')} was granted and not asked for`] : []),
  ];
}

/**
 * The proof that counts: logs in with the private key, on a connection of its own. Gives null where the exchange
 * refuses the login; a network that fails is thrown.
 */
export async function proveLogin(
  context: WorkflowContext,
  endpoint: Endpoint,
  clientId: string,
  signer: Signer,
): Promise<Login | null> {
  try {
    return await withTransport(context, endpoint, (transport) => signIn(context, transport, { clientId, signer }));
  } catch (error) {
    if (isDeribitKeysError(error, 'ERR_UNAUTHORIZED')) return null;
    throw error;
  }
}
