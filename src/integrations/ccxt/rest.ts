import type { Signer } from '../../crypto/signer.js';
import { type Endpoint, type Environment, resolveEndpoint } from '../../deribit/endpoints.js';
import { decodeFrame, encodeRequest, protocolError, resultOf, rpcError } from '../../deribit/json-rpc.js';
import { networkError } from '../../deribit/network-errors.js';
import type { Transport } from '../../deribit/transport.js';
import { DeribitKeysError } from '../../errors.js';
import type { FollowedKeystore } from '../../session/key-source.js';
import { openSession } from '../../session/open-session.js';
import type { Session } from '../../session/session.js';
import type { TokenStore } from '../../session/token-store.js';
import { defined } from '../../util/defined.js';
import { asCcxtError, type CcxtExchange, failureIn, SPENT_TOKEN } from './exchange.js';

/** What {@link withSigner} takes: a client id with its signer, or a key of a keystore, whose rotations are followed. */
export type CcxtLogin = CcxtLoginOptions &
  (
    | { readonly clientId: string; readonly signer: Signer }
    | { readonly keystore: FollowedKeystore; readonly name: string }
  );

/** How an exchange object of ccxt logs in. */
export interface CcxtLoginOptions {
  /** What to ask for; all that the key allows where left out. */
  readonly scope?: string | undefined;
  /** For a host that is not one of Deribit's: which of the two it counts as; `test` where left out. */
  readonly environment?: Environment | undefined;
  /** For REST: where processes share one token. A WebSocket connection of ccxt logs in for itself. */
  readonly tokenStore?: TokenStore | undefined;
}

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
        const headers = { 'Content-Type': 'application/json' };
        answer = await exchange.fetch(`${endpoint.url}/${method}`, 'POST', headers, body);
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
      if (frame.kind !== 'reply') throw protocolError(`the answer to ${method} is not a reply`);
      return resultOf({ reply: frame.reply, method, params, expectTestnet: endpoint.expectTestnet });
    },
    close: async () => {},
  };
}

/** Adds a Bearer token to private REST requests of `exchange`: from signed logins, and renewed before it expires. */
export function signRest(exchange: CcxtExchange, login: CcxtLogin): void {
  const { scope, environment, tokenStore } = login;
  const key =
    'keystore' in login
      ? { keystore: login.keystore, name: login.name }
      : { clientId: login.clientId, signer: login.signer };
  const lasting = new ManagedSession(async () => {
    const url = `${exchange.urls.api.rest.replace(/\/$/, '')}/api/${exchange.version}`;
    const endpoint = resolveEndpoint({ url, environment });
    const connectHttp = async () => transportOf(exchange, endpoint);
    return openSession({ url, environment, ...key, scope, tokenStore, openWithinMs: 0, connectHttp });
  });
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
      let session: Session;
      try {
        session = await lasting.get();
        token = await session.accessToken();
      } catch (error) {
        throw asCcxtError(exchange, error);
      }
      try {
        return await fetch2.apply(exchange, request);
      } catch (error) {
        if (isAgain || failureIn(error)?.code !== SPENT_TOKEN) throw error;
        await lasting.replace(session);
      }
    }
  };
}

/** A session that is opened when it is first needed, and again after it has ended. */
export class ManagedSession {
  readonly #open: () => Promise<Session>;
  #session: Promise<Session> | null = null;
  readonly #openings = new WeakMap<Session, Promise<Session>>();

  constructor(open: () => Promise<Session>) {
    this.#open = open;
  }

  /** @throws what opening throws */
  get(): Promise<Session> {
    this.#session ??= this.#start();
    return this.#session;
  }

  /** Ends `session`, unless it was replaced already; the next one is opened when it is needed. */
  async replace(session: Session): Promise<void> {
    this.#forget(this.#openings.get(session));
    await session.close();
  }

  #start(): Promise<Session> {
    const opening = this.#open();
    const forget = () => this.#forget(opening);
    opening.then((session) => {
      this.#openings.set(session, opening);
      return session.closed.then(forget);
    }, forget);
    return opening;
  }

  #forget(opening: Promise<Session> | undefined): void {
    if (this.#session === opening) this.#session = null;
  }
}
