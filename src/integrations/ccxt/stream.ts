import { buildAuthParams } from '../../deribit/auth.js';
import { ExchangeClock, withClockCorrection } from '../../deribit/clock.js';
import { startTimer } from '../../deribit/connect-options.js';
import { isRefusedLogin, rpcError } from '../../deribit/json-rpc.js';
import { DeribitKeysError, type RpcFailure } from '../../errors.js';
import { fixedKey, followKey, type KeySource } from '../../session/key-source.js';
import { renewAfterMs, usableForMs } from '../../session/token-store.js';
import { asCcxtError, type CcxtClient, type CcxtStreaming, type Message, SPENT_TOKEN } from './exchange.js';
import type { CcxtLogin } from './rest.js';

interface StreamLogin {
  readonly message: unknown;
  readonly relyUntilMs: number;
}

/** Adds a signed login to the WebSocket form of `exchange`: one for each connection, renewed before it expires. */
export function signStream(exchange: CcxtStreaming, login: CcxtLogin): void {
  const { scope } = login;
  let source: Promise<KeySource> | null = 'keystore' in login ? null : Promise.resolve(fixedKey(login));
  const keySource = (): Promise<KeySource> => {
    if (source === null && 'keystore' in login) {
      source = followKey(login.keystore, login.name);
      source.catch(() => {
        source = null;
      });
    }
    return source as Promise<KeySource>;
  };
  const handleMessage = exchange.handleMessage;
  const logins = new WeakMap<CcxtClient, StreamLogin>();
  const flights = new WeakMap<CcxtClient, Promise<unknown>>();
  const followed = new WeakSet<CcxtClient>();
  /** Requests to subscribe that were sent a second time. */
  const repeated = new WeakSet<object>();
  /** Logins that wait for their answer, by the id of the request. */
  const asked = new Map<number, { readonly client: CcxtClient; readonly hash: string }>();
  const clock = new ExchangeClock();

  exchange.handleMessage = (client, message) => {
    const pending = typeof message.id === 'number' ? asked.get(message.id) : undefined;
    const failure = message.error as RpcFailure | undefined;
    if (pending === undefined || pending.client !== client) {
      if (failure?.code === SPENT_TOKEN && subscribesAgain(client, message)) return undefined;
      return handleMessage.call(exchange, client, message);
    }
    if (failure === undefined) return client.resolve(message, pending.hash);
    return client.reject(rpcError('public/auth', failure), pending.hash);
  };

  /** Whether a subscription was refused because the connection's login is over; then it is asked for again, once. */
  function subscribesAgain(client: CcxtClient, message: Message): boolean {
    const request = Object.values(client.subscriptions).find(
      (one) => typeof one === 'object' && one !== null && 'id' in one && one.id === message.id,
    );
    if (typeof request !== 'object' || request === null || repeated.has(request)) return false;
    repeated.add(request);
    start(client, client)
      .then(() => client.send(request))
      .catch((error: unknown) => client.reject(error));
    return true;
  }

  const currentClient = () => exchange.client(exchange.urls.api.ws ?? '');
  const isCurrent = (client: CcxtClient) => exchange.clients?.[client.url] === client;

  /** @param only the connection that it is for; any where it is null */
  async function attempt(only: CcxtClient | null): Promise<unknown> {
    const params = await buildAuthParams(await (await keySource()).current(), {
      timestampMs: clock.timestampMs(),
      scope,
    });
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
      follow(client);
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
      // if this fails, the next caller gets the reason
      if (isCurrent(client)) start(client, client).catch(() => logins.delete(client));
    };
    startTimer(renewAfterMs(lifeMs), renew).unref();
  }

  /** Logs the connection in again when a rotation has replaced the key. */
  function follow(client: CcxtClient): void {
    if (!('keystore' in login) || followed.has(client)) return;
    followed.add(client);
    const check = async () => {
      if (!isCurrent(client)) return;
      const key = await keySource();
      if (await key.moved()) await start(client, client).catch(() => {});
      startTimer(key.followMs ?? 1_000, () => void check()).unref();
    };
    void check().catch(() => followed.delete(client));
  }

  async function logIn(only: CcxtClient | null): Promise<unknown> {
    const once = () =>
      withClockCorrection({
        clock,
        attempt: () => attempt(only),
        read: () => clock.read(() => exchange.fetchTime()).catch(() => null),
      });
    try {
      return await once().catch(async (error: unknown) => {
        if (!isRefusedLogin(error) || !(await (await keySource()).moved())) throw error;
        return once();
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
    const last = logins.get(client);
    const isValid = last !== undefined && performance.now() < last.relyUntilMs;
    return isValid && !(await (await keySource()).moved()) ? last.message : start(client, null);
  };
}
