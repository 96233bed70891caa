import type { Login } from '../../deribit/auth.js';
import { type Endpoint, httpUrlOf } from '../../deribit/endpoints.js';
import { signIn } from '../../deribit/sign-in.js';
import { DeribitKeysError } from '../../errors.js';
import type { KeyRecord } from '../../keystore/record.js';
import type { WorkflowContext } from '../context.js';
import { withTransport } from './account.js';

/** The client id of a key that can log in. @throws `ERR_STATE` for one that is not registered. */
export function requireClientId(record: KeyRecord): string {
  if (record.removedAt !== null) {
    throw new DeribitKeysError(
      'ERR_STATE',
      `the key "${record.name}" was removed from the exchange on ${record.removedAt}`,
      {
        hint: 'generate and register another; see which can log in with: deribit-keys list',
      },
    );
  }
  if (record.clientId !== null && record.state !== 'local') return record.clientId;
  throw new DeribitKeysError('ERR_STATE', `the key "${record.name}" is not registered`, {
    hint: `register it (deribit-keys register ${record.name} --help), or link it to a client id from Deribit's web page`,
  });
}

/**
 * Logs in with a stored key. With `outlives`, over HTTP whatever the endpoint says: a token of a WebSocket connection
 * would die with it.
 * @throws `ERR_STATE`, `ERR_UNAUTHORIZED`, and what the network and the signer can give
 */
export async function authenticate(
  context: WorkflowContext,
  record: KeyRecord,
  endpoint: Endpoint,
  options: { readonly scope?: string | undefined; readonly outlives?: boolean } = {},
): Promise<{ readonly clientId: string; readonly login: Login }> {
  const clientId = requireClientId(record);
  const signer = await context.signerOf(record);
  const target = options.outlives ? { ...endpoint, url: httpUrlOf(endpoint.url) } : endpoint;
  return withTransport(context, target, async (transport) => ({
    clientId,
    login: await signIn(context, transport, { clientId, signer }, options.scope),
  }));
}
