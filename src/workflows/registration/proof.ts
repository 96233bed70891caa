import type { Signer } from '../../crypto/signer.js';
import type { Login } from '../../deribit/auth.js';
import type { Endpoint } from '../../deribit/endpoints.js';
import { compareScopes } from '../../deribit/scope.js';
import { signIn } from '../../deribit/sign-in.js';
import { isDeribitKeysError } from '../../errors.js';
import { withTransport } from '../account/account.js';
import type { WorkflowContext } from '../context.js';

/** One sentence for each way in which a granted scope differs from the one asked for. */
export function scopeDifferences(asked: string, granted: string): string[] {
  const { missing, extra } = compareScopes(asked, granted);
  return [
    ...(missing.length > 0 ? [`the scope: ${missing.join(' ')} was asked for and not granted`] : []),
    ...(extra.length > 0 ? [`the scope: ${extra.join(' ')} was granted and not asked for`] : []),
  ];
}

/**
 * Logs in with the private key, on a connection of its own: the proof that the exchange has the public key.
 * @returns null where the exchange refuses the login; a network that fails is thrown
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
