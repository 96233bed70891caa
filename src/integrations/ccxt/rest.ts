import type { Signer } from '../../crypto/signer.js';
import { type Endpoint, type Environment, resolveEndpoint } from '../../deribit/endpoints.js';
import { decodeFrame, encodeRequest, protocolError, resultOf, rpcError } from '../../deribit/json-rpc.js';
import { networkError } from '../../deribit/network-errors.js';
import type { Transport } from '../../deribit/transport.js';
import { DeribitKeysError } from '../../errors.js';
import type { FollowedKeystore } from '../../session/key-source.js';
import { openSession } from '../../session/open-session.js';
import { defined } from '../../util/defined.js';
import { asCcxtError, type CcxtExchange, failureIn } from './exchange.js';
import { ManagedSession } from './managed-session.js';

/** What {@link withSigner} takes: a client id with its signer, or a key of a keystore, whose rotations are followed. */
export type CcxtLogin = CcxtLoginOptions &
  (
    | { readonly clientId: string; readonly signer: Signer }
    | { readonly keystore: FollowedKeystore; readonly name: string }
  );

export interface CcxtLoginOptions {
  /** What to ask for; all that the key allows where left out. */
  readonly scope?: string | undefined;
  /** For a host that is not one of Deribit's: which of the two it counts as; `test` where left out. */
  readonly environment?: Environment | undefined;
}

/** 13009: the request was refused for its token, hence not handled. */
const SPENT_TOKEN = 13009;

/** Asks through ccxt's own `fetch`: with the proxies, agents and limits that are set there. */
function transportOf(exchange: CcxtExchange, endpoint: Endpoint): Transport {
  let lastId = 0;
  return {
    kind: 'http',
    url: endpoint.url,
    async request(method, params = {}) {
      lastId += 1;
      const body = encodeRequest(lastId, method, params);
      let answer: unknown;
      try {
        answer = await exchange.fetch(
          `${endpoint.url}/${method}`,
          'POST',
          { 'Content-Type': 'application/json' },
          body,
        );
      } catch (cause) {
        const failure = failureIn(cause);
        const { code, message, hint, rpc, maybeSent } =
          failure === null
            ? networkError(new URL(endpoint.url).host, cause, { maybeSent: true })
            : rpcError(method, failure, params);
        // asCcxtError finds ccxt's own error here
        throw new DeribitKeysError(code, message, defined({ hint, rpc, maybeSent, cause }));
      }
      const frame = decodeFrame(JSON.stringify(answer));
      if (frame.kind !== 'reply') throw protocolError(`the answer to ${method} is no reply`);
      return resultOf(frame.reply, method, params, endpoint.expectTestnet);
    },
    close: async () => {},
  };
}

/** Adds a Bearer token to private REST requests of `exchange`: from signed logins, and renewed before it expires. */
export function signRest(exchange: CcxtExchange, login: CcxtLogin): void {
  const { scope, environment } = login;
  const key =
    'keystore' in login
      ? { keystore: login.keystore, name: login.name }
      : { clientId: login.clientId, signer: login.signer };
  const lasting = new ManagedSession(
    () => {
      const url = `${exchange.urls.api.rest.replace(/\/$/, '')}/api/${exchange.version}`;
      const endpoint = resolveEndpoint({ url, environment });
      return openSession({
        url,
        environment,
        ...key,
        scope,
        openWithinMs: 0,
        connectHttp: async () => transportOf(exchange, endpoint),
      });
    },
    undefined,
    0,
  );
  const { sign, fetch2 } = exchange;
  let token: string | null = null;

  exchange.sign = (...request) => {
    const signed = sign.apply(exchange, request);
    if (request[1] !== 'private') return signed;
    if (token === null) throw new DeribitKeysError('ERR_STATE', 'there is no access token yet to sign a request with');
    return { ...signed, headers: { ...signed.headers, Authorization: `Bearer ${token}` } };
  };

  exchange.fetch2 = async (...request) => {
    if (request[1] !== 'private') return fetch2.apply(exchange, request);
    for (let isAgain = false; ; isAgain = true) {
      const session = await lasting.get().catch((error: unknown) => {
        throw asCcxtError(exchange, error);
      });
      token = await session.accessToken().catch((error: unknown) => {
        throw asCcxtError(exchange, error);
      });
      try {
        return await fetch2.apply(exchange, request);
      } catch (error) {
        if (isAgain || failureIn(error)?.code !== SPENT_TOKEN) throw error;
        await lasting.replace(session);
      }
    }
  };
}
