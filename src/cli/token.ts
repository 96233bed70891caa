import type { TokenPurpose } from '../integrations/token-store/token-cache.js';
import type { KeyRecord } from '../keystore/record.js';
import type { AccessToken, Session } from '../session/session.js';
import type { Context } from './context.js';

/** Where a stored key logs in to, over HTTP: a token got so outlives the program. */
export interface TokenSource {
  readonly record: KeyRecord;
  readonly clientId: string;
  /** The HTTP endpoint. */
  readonly url: string;
  readonly purpose: TokenPurpose;
  /** Opens a session over HTTP: it asks for the key's passphrase where it must. */
  open(): Promise<Session>;
  /** Logs in for one token. */
  fetch(): Promise<AccessToken>;
}

/** @throws `ERR_NO_SUCH_NAME`, `ERR_STATE` for a key that is not registered, `ERR_USAGE` for another place than its own */
export async function tokenSource(cx: Context, name: string, scope?: string): Promise<TokenSource> {
  const [{ requireClientId }, { selectEndpoint }, { httpUrlOf }, { purposeOf }] = await Promise.all([
    import('../workflows/account/authenticate.js'),
    import('../workflows/endpoint-selection.js'),
    import('../deribit/endpoints.js'),
    import('../integrations/token-store/token-cache.js'),
  ]);
  const record = await cx.store.read(name);
  const clientId = requireClientId(record);
  const endpoint = selectEndpoint(cx.target, record);
  const url = httpUrlOf(endpoint.url);
  const open = async () => {
    cx.login.attempt = { endpoint, clientId, record, secret: null };
    const { openSession } = await import('../session/open-session.js');
    return openSession({
      url,
      environment: endpoint.environment,
      clientId,
      signer: await cx.workflow.signerOf(record),
      scope,
      timeoutMs: cx.timeoutMs,
      signal: cx.host.signal,
      connectHttp: cx.workflow.connect,
    });
  };
  return {
    record,
    clientId,
    url,
    purpose: purposeOf(record, clientId, url, scope),
    open,
    async fetch() {
      const session = await open();
      try {
        return await session.token();
      } finally {
        await session.close();
      }
    },
  };
}
