import { buildAuthParams } from '../../deribit/auth.js';
import { ExchangeClock, withClockCorrection } from '../../deribit/clock.js';
import { startTimer } from '../../deribit/connect-options.js';
import { rpcError } from '../../deribit/json-rpc.js';
import { DeribitKeysError, type RpcFailure } from '../../errors.js';
import { renewAfterMs, usableForMs } from '../../session/token-life.js';
import { asCcxtError, type CcxtClient, type CcxtStreaming, type Message } from './exchange.js';
import type { CcxtLogin } from './rest.js';

interface StreamLogin {
  readonly message: unknown;
  readonly relyUntilMs: number;
}

/** Adds a signed login to the WebSocket form of `exchange`: one for each connection, renewed before it expires. */
export function signStream(exchange: CcxtStreaming, { clientId, signer, scope }: CcxtLogin): void {
  const handleMessage = exchange.handleMessage;
  const logins = new WeakMap<CcxtClient, StreamLogin>();
  const flights = new WeakMap<CcxtClient, Promise<unknown>>();
  /** Logins that wait for their answer, by the id of the request. */
  const asked = new Map<number, { readonly client: CcxtClient; readonly hash: string }>();
  const clock = new ExchangeClock();

  exchange.handleMessage = (client, message) => {
    const login = typeof message.id === 'number' ? asked.get(message.id) : undefined;
    if (login === undefined || login.client !== client) return handleMessage.call(exchange, client, message);
    const failure = message.error as RpcFailure | undefined;
    if (failure === undefined) return client.resolve(message, login.hash);
    return client.reject(rpcError('public/auth', failure), login.hash);
  };

  const currentClient = () => exchange.client(exchange.urls.api.ws ?? '');
  const isCurrent = (client: CcxtClient) => exchange.clients?.[client.url] === client;

  /** @param only the connection that it is for; any where it is null */
  async function attempt(only: CcxtClient | null): Promise<unknown> {
    const params = await buildAuthParams({ clientId, signer }, { timestampMs: clock.timestampMs(), scope });
    if (only !== null && !isCurrent(only))
      throw new DeribitKeysError('ERR_CONNECTION_CLOSED', 'the connection is closed');
    const client = currentClient();
    const id = exchange.requestId();
    const hash = `deribit-keys.login.${id}`;
    asked.set(id, { client, hash });
    try {
      const request = { jsonrpc: '2.0', id, method: 'public/auth', params };
      const message = await exchange.watch(client.url, hash, request, hash);
      keep(client, message as Message);
      return message;
    } finally {
      asked.delete(id);
      delete client.subscriptions[hash];
    }
  }

  function keep(client: CcxtClient, message: Message): void {
    const { expires_in: expiresInS } = (message.result ?? {}) as { readonly expires_in?: unknown };
    const lifeMs = (typeof expiresInS === 'number' ? Math.max(1, expiresInS) : 1) * 1000;
    logins.set(client, { message, relyUntilMs: performance.now() + usableForMs(lifeMs) });
    const renew = () => {
      // who asks next is told why, where this fails
      if (isCurrent(client)) start(client, client).catch(() => logins.delete(client));
    };
    startTimer(renewAfterMs(lifeMs), renew).unref();
  }

  async function logIn(only: CcxtClient | null): Promise<unknown> {
    try {
      return await withClockCorrection({
        clock,
        attempt: () => attempt(only),
        read: () => clock.read(() => exchange.fetchTime()).catch(() => null),
      });
    } catch (error) {
      throw asCcxtError(exchange, error);
    }
  }

  function start(client: CcxtClient, only: CcxtClient | null): Promise<unknown> {
    const before = flights.get(client);
    if (before !== undefined) return before;
    const flight = logIn(only).finally(() => flights.delete(client));
    flights.set(client, flight);
    return flight;
  }

  exchange.authenticate = async () => {
    const client = currentClient();
    const login = logins.get(client);
    if (login !== undefined && performance.now() < login.relyUntilMs) return login.message;
    return start(client, null);
  };
}
