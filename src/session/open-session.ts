import { platform } from '#platform';
import { ExchangeClock } from '../deribit/clock.js';
import { checkConnectOptions } from '../deribit/connect-options.js';
import { httpUrlOf, isWebSocketUrl, resolveEndpoint } from '../deribit/endpoints.js';
import { parseScope } from '../deribit/scope.js';
import { isDeribitKeysError, usageError } from '../errors.js';
import { requireNumber, requireObject } from '../util/checks.js';
import { defined } from '../util/defined.js';
import { HttpSession } from './http-session.js';
import { fixedKey, followKey, type KeySource } from './key-source.js';
import { CreditPool, type Scheduler, unscheduled } from './rate-limits.js';
import { AnswerTimes } from './requests.js';
import {
  Emitter,
  type KeystoreSessionOptions,
  type Session,
  type SessionEvents,
  type SessionOptions,
} from './session.js';
import type { SessionContext, SessionCore } from './session-core.js';
import { systemTime } from './time.js';
import { TokenManager } from './token-manager.js';
import type { TokenStore } from './token-store.js';

/** What the sessions of a fleet have in common. */
interface Shared {
  readonly scheduler: Scheduler;
  readonly clock: ExchangeClock;
  readonly credits: CreditPool | null;
  readonly tokenStore: TokenStore | undefined;
}

/**
 * Connects and logs in, and stays logged in: over WebSocket, or over HTTP where the URL says so. The first login is
 * attempted for `openWithinMs` while the exchange is busy or cuts the connection.
 *
 * Events that come meanwhile are delivered right after this has resolved, so that no listener misses them. Proxies are
 * taken from `HTTPS_PROXY` and `NO_PROXY` unless `proxy` or `env` says otherwise.
 *
 * @throws `ERR_USAGE` for bad options, `ERR_UNAUTHORIZED` for a refused login (the message says what the clocks have to
 *   do with it), `ERR_NETWORK` where the exchange cannot be reached, and whatever the signer throws
 */
export async function openSession(options: SessionOptions | KeystoreSessionOptions): Promise<Session> {
  return openWithKey(await keyOf(options));
}

/** What a session logs in with, and its other options. */
interface OptionsWithKey {
  readonly options: KeylessOptions;
  readonly key: KeySource;
}

/** @internal The same for a session of a fleet. */
export async function openWithKey({ options, key }: OptionsWithKey, shared?: Shared): Promise<Session> {
  const context = sessionContext(options, key, shared);
  const session = await prepare(context);
  await session.open();
  context.time.setTimeout(() => context.events.release(), 0);
  return session;
}

async function prepare(context: SessionContext): Promise<SessionCore> {
  const { connectWebSocket, connectHttp } = context.options;
  if (!isWebSocketUrl(context.endpoint.url)) {
    return new HttpSession(context, connectHttp ?? (await import('../deribit/http-transport.js')).openHttp);
  }
  const [{ WebSocketSession }, connect] = await Promise.all([
    import('./websocket-session.js'),
    connectWebSocket ?? import('../deribit/websocket-transport.js').then(({ openWebSocket }) => openWebSocket),
  ]);
  return new WebSocketSession(context, connect);
}

type KeylessOptions = Omit<SessionOptions, 'clientId' | 'signer'>;

/**
 * @internal The key that the options name, and the endpoint of its record where they name none.
 * @throws `ERR_USAGE` where neither a client id with a signer nor a key of a keystore is given, and as `followKey` does
 */
export async function keyOf(all: SessionOptions | KeystoreSessionOptions): Promise<OptionsWithKey> {
  const given = requireObject('the options of a session', all);
  if ('keystore' in given) {
    const { keystore, name, ...options } = given;
    if (typeof keystore?.get !== 'function' || typeof keystore.signer !== 'function' || typeof name !== 'string') {
      throw usageError('the keystore or the name of the key is missing', 'open a keystore with openKeystore({ dir })');
    }
    const key = await followKey(keystore, name);
    const { environment, url } = key.record;
    const isSaid = options.url !== undefined || options.environment !== undefined;
    return {
      key,
      options: isSaid
        ? options
        : { ...options, ...defined({ environment: environment ?? undefined, url: url ?? undefined }) },
    };
  }
  const { clientId, signer, ...options } = given;
  if (typeof clientId !== 'string' || clientId === '') {
    throw usageError('the client id is missing', "give the API key's client id");
  }
  if (typeof signer?.sign !== 'function') {
    throw usageError('the signer is missing', 'make one with loadSigner or localSigner');
  }
  return { options, key: fixedKey({ clientId, signer }) };
}

/** @throws `ERR_USAGE` for bad options */
function sessionContext(options: KeylessOptions, key: KeySource, shared?: Shared): SessionContext {
  const { scope, url, environment, rate, cancelOnDisconnect } = options;
  const tokenStore = options.tokenStore ?? shared?.tokenStore;
  if (scope !== undefined) parseScope(scope);
  if (cancelOnDisconnect !== undefined && !['connection', 'account'].includes(cancelOnDisconnect)) {
    throw usageError('cancelOnDisconnect is neither "connection" nor "account"', 'leave it out to change nothing');
  }
  if (options.backoff !== undefined) {
    const { firstMs = 1, longestMs = 1 } = requireObject('backoff', options.backoff);
    requireNumber({ name: 'backoff.firstMs', value: firstMs, least: 1 });
    requireNumber({ name: 'backoff.longestMs', value: longestMs, least: 1 });
  }
  const endpoint = resolveEndpoint({ url, environment });
  if (tokenStore !== undefined) checkShared(scope, tokenStore);
  if (cancelOnDisconnect !== undefined && !isWebSocketUrl(endpoint.url)) {
    throw usageError('cancelOnDisconnect needs a connection', 'open the session with a ws: or wss: URL');
  }
  const time = options.time ?? systemTime;
  const random = options.random ?? Math.random;
  const clock = shared?.clock ?? new ExchangeClock(time);
  const events = new Emitter<SessionEvents>((event, details) => platform.trace(() => traceOf(event, details)));
  const { proxy, env = platform.environment, ca, maxReplyBytes, timeoutMs, signal } = options;
  const { signal: _, ...connectOptions } = checkConnectOptions({ proxy, env, ca, maxReplyBytes, timeoutMs, signal });
  return {
    endpoint,
    options,
    connectOptions,
    timeoutMs: connectOptions.timeoutMs,
    openWithinMs: requireNumber({ name: 'openWithinMs', value: options.openWithinMs ?? 30_000, least: 0 }),
    heartbeatS: requireNumber({ name: 'heartbeatS', value: options.heartbeatS ?? 30, least: 10 }),
    queueLimit: requireNumber({ name: 'queueLimit', value: options.queueLimit ?? 1_000, least: 0 }),
    time,
    random,
    events,
    clock,
    scheduler: shared?.scheduler ?? unscheduled,
    credits: shared?.credits ?? (rate ? new CreditPool(rate, time) : null),
    answers: new AnswerTimes(requireNumber({ name: 'minAnswerMs', value: options.minAnswerMs ?? 500, least: 0 })),
    tokens: new TokenManager({
      key,
      scope,
      time,
      random,
      clock,
      events,
      shared:
        tokenStore === undefined
          ? null
          : { store: tokenStore, url: httpUrlOf(endpoint.url), whenAway: options.tokenStoreAway ?? 'login' },
    }),
  };
}

function checkShared(scope: string | undefined, store: TokenStore): void {
  if (typeof store?.get !== 'function' || typeof store.put !== 'function' || typeof store.lock !== 'function') {
    throw usageError(
      'tokenStore is not a token store',
      'make one with redisTokenStore, fileTokenStore or memoryTokenStore',
    );
  }
  if (scope?.split(/\s+/).includes('connection')) {
    throw usageError('a token of the scope "connection" cannot be shared', 'leave "connection" or tokenStore out');
  }
}

/** A session's event for diagnostics: of an error its code only. */
function traceOf(event: keyof SessionEvents, details: SessionEvents[keyof SessionEvents]) {
  const plain: Record<string, string | number | boolean | null> = {};
  for (const [name, value] of Object.entries(details)) {
    plain[name] = isDeribitKeysError(value) ? value.code : Array.isArray(value) ? value.join(' ') : value;
  }
  return { ...plain, kind: 'session', event } as const;
}
