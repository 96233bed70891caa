import type { Signer } from '../crypto/signer.js';
import type { KeptReading } from '../deribit/clock.js';
import type { ConnectOptions } from '../deribit/connect-options.js';
import type { Endpoint, Environment } from '../deribit/endpoints.js';
import type { Params } from '../deribit/json-rpc.js';
import type { Transport } from '../deribit/transport.js';
import type { WebSocketTransport } from '../deribit/websocket-transport.js';
import type { DeribitKeysError } from '../errors.js';
import type { FollowedKeystore } from './key-source.js';
import type { CreditRate } from './rate-limits.js';
import type { ChannelListener } from './subscriptions.js';
import type { BackoffOptions, Time } from './time.js';
import type { TokenStore } from './token-store.js';

/** How a session connects, logs in and waits. All but `clientId` and `signer` may be left out. */
export interface SessionOptions extends Omit<ConnectOptions, 'signal' | 'onReached'> {
  /** `ws:` or `wss:` for a connection that stays open; `http:` or `https:` for requests with a token. */
  readonly url?: string | undefined;
  /** `test` (the default) or `prod`; over WebSocket unless `url` says otherwise. */
  readonly environment?: Environment | undefined;
  readonly clientId: string;
  readonly signer: Signer;
  /** What to ask for; all that the key allows where left out. See the `login` event for what was granted. */
  readonly scope?: string | undefined;
  /**
   * Where sessions share one token per key, endpoint and scope: `redisTokenStore` for many hosts, `fileTokenStore` for the
   * processes of one, `memoryTokenStore` for one process. One of them at a time logs in or refreshes, and the exchange
   * counts all as one session (`session:deribit_keys`, unless `scope` names another). Its owner closes the store.
   */
  readonly tokenStore?: TokenStore | undefined;
  /**
   * While the store cannot be reached, a token in use serves on. A session that needs another one logs in for itself
   * (`login`, the default) or waits for the store (`refuse`).
   */
  readonly tokenStoreAway?: 'login' | 'refuse' | undefined;
  /** Closes the session, or ends the attempt to open it. */
  readonly signal?: AbortSignal | undefined;
  /**
   * How long a first login is attempted while the exchange is busy or cuts the connection; 30 s. In a fleet this begins when
   * it is the session's turn to connect: only `signal` limits the wait for the turn.
   */
  readonly openWithinMs?: number | undefined;
  /** How often the exchange shows that it is there; 30 s. Deribit accepts 10 and more. */
  readonly heartbeatS?: number | undefined;
  readonly backoff?: BackoffOptions | undefined;
  /** How many requests may wait for a connection, and how many for their turn within `rate`; 1,000. */
  readonly queueLimit?: number | undefined;
  /**
   * A request is sent only while this much of its timeout is left for the answer, or more where recent answers took
   * longer; 500 ms, and never more than half of the timeout. Otherwise it is rejected with `ERR_NOT_SENT`.
   */
  readonly minAnswerMs?: number | undefined;
  /** Requests beyond this rate wait for their turn; unlimited where left out or null. */
  readonly rate?: CreditRate | null | undefined;
  /**
   * Enables cancel-on-disconnect (`private/enable_cancel_on_disconnect`) with this scope at each login, before any other
   * request: after a reconnect, too. Deribit does not keep it across connections. WebSocket only.
   */
  readonly cancelOnDisconnect?: 'connection' | 'account' | undefined;
  /** Replacements for the clocks, chance, and the network. */
  readonly time?: Time | undefined;
  /** From 0 up to, not including, 1. */
  readonly random?: (() => number) | undefined;
  readonly connectWebSocket?:
    | ((endpoint: Endpoint, options: ConnectOptions) => Promise<WebSocketTransport>)
    | undefined;
  readonly connectHttp?: ((endpoint: Endpoint, options: ConnectOptions) => Promise<Transport>) | undefined;
}

/**
 * A session whose key is the record of a keystore. It follows rotations: within a second it logs in with the successor, before
 * the old key is disabled where the rotation has a grace, else when the old one is refused. Requests wait meanwhile.
 */
export interface KeystoreSessionOptions extends Omit<SessionOptions, 'clientId' | 'signer'> {
  /** From `openKeystore`. */
  readonly keystore: FollowedKeystore;
  /** The name of a registered key. Its record supplies the endpoint where `url` and `environment` are left out. */
  readonly name: string;
}

/** The options of one request. */
export interface SessionRequestOptions {
  /** Ends the wait with `ERR_INTERRUPTED`. */
  readonly signal?: AbortSignal | undefined;
  /** For waiting in the queue, sending and the answer together; the session's where left out. */
  readonly timeoutMs?: number | undefined;
  /** Whether to wait while there is no connection; true where left out. False rejects with `ERR_CONNECTION_CLOSED`. */
  readonly queue?: boolean | undefined;
}

/** How a session is closed. */
export interface CloseOptions {
  /** Sends `private/logout` first, which invalidates the session's tokens and keeps its orders. False where left out. */
  readonly logout?: boolean | undefined;
}

/** An access token, and until when (milliseconds since the epoch, local clock) and for what it is valid. */
export interface AccessToken {
  readonly accessToken: string;
  readonly expiresAtMs: number;
  /** As granted. */
  readonly scope: string;
}

/**
 * A login that stays alive. It is also a `Transport`: functions that take one, such as `listApiKeys`, take a session.
 *
 * After a cut, a session over WebSocket connects and logs in again, enables cancel-on-disconnect where
 * `cancelOnDisconnect` asks for it, and restores the subscriptions. It repeats nothing else: a request that was sent and
 * not answered is rejected with `ERR_OUTCOME_UNKNOWN`, notifications of the time between are lost, and whatever else
 * belongs to a connection (such as `public/hello` or a server-side setting) must be set again on `reconnect`.
 */
export interface Session {
  readonly kind: 'websocket' | 'http';
  readonly url: string;
  /** Of the last login: it changes with a rotation that the session follows. */
  readonly clientId: string;
  /** Exchange minus local in milliseconds, as last compared; null before. */
  readonly clockOffsetMs: number | null;
  /** Resolves when the session has ended: to the error that ended it, or to null where its owner closed it. */
  readonly closed: Promise<Error | null>;

  /**
   * Sends a request and returns the reply's `result`. While there is no connection, requests wait for the next one.
   * Where the exchange is busy (10028, 11051 …), the request is sent again within `timeoutMs`; a token that it does not
   * accept any more (13009) is replaced first.
   *
   * A request that was pending when the connection was cut is never sent again. An error with `maybeSent: false` means
   * that the request was not handled.
   *
   * @param params the method's parameters
   * @typeParam T the shape of the result, which is not checked
   * @throws as a transport does; `ERR_OUTCOME_UNKNOWN` (`maybeSent: true`) after a cut; `ERR_NOT_SENT` where no answer
   *   could have arrived before the timeout; after the session has ended, the error that ended it or
   *   `ERR_CONNECTION_CLOSED`
   * @example
   * const { equity } = await session.request<{ equity: number }>('private/get_account_summary', { currency: 'BTC' });
   */
  request<T = unknown>(method: string, params?: Params, options?: SessionRequestOptions): Promise<T>;

  /**
   * An access token that is valid for a moment to come. That of a WebSocket login without a `session:NAME` scope is
   * usable on its own connection only.
   */
  accessToken(): Promise<string>;

  /** The same with its expiry and scope. */
  token(): Promise<AccessToken>;

  /**
   * Calls `listener` with what the channels say, across reconnects, until the returned function is called. Resolves when
   * the exchange has confirmed every channel.
   * @throws `ERR_USAGE` over HTTP; the exchange's `ERR_RPC`, or `ERR_NOT_ON_EXCHANGE`, for a channel that it does not
   *   offer; and as {@link request} does
   * @example
   * const stop = await session.subscribe('ticker.BTC-PERPETUAL.100ms', ({ channel, data }) => console.log(channel, data));
   */
  subscribe(channels: string | readonly string[], listener: ChannelListener): Promise<() => Promise<void>>;

  /** Calls `listener` for each such event; returns the function that stops it. See {@link SessionEvents}. */
  on<Name extends keyof SessionEvents>(name: Name, listener: (event: SessionEvents[Name]) => void): () => void;
  off<Name extends keyof SessionEvents>(name: Name, listener: (event: SessionEvents[Name]) => void): void;

  /**
   * Ends the session: rejects what waits and leaves no timer and no socket. Safe to call twice.
   *
   * By default it does not log out but only closes the connection, which voids a connection's token and triggers
   * cancel-on-disconnect where that is enabled; over HTTP and under a `session:NAME` scope the token stays valid until it
   * expires. With `logout: true` it sends `private/logout`: the tokens are invalidated, unless they are shared through a
   * token store, and orders stay.
   */
  close(options?: CloseOptions): Promise<void>;
}

/** Why a session signed a login: it opened, came back after a cut, its refresh was refused, its
 * token had expired or was refused, or a rotation replaced its key. */
export type LoginReason = 'open' | 'reconnect' | 'refresh-refused' | 'expired' | 'unauthorized' | 'rotated';

/** The events of a session; none holds a secret. */
export interface SessionEvents {
  /** A signed login was granted. */
  readonly login: {
    readonly reason: LoginReason;
    /** As granted. */
    readonly scope: string;
    /** Words that were asked for and not granted: the exchange narrows a scope instead of refusing it. */
    readonly missing: readonly string[];
    readonly expiresInS: number;
    readonly tookMs: number;
  };
  /** A token was renewed by its refresh token. */
  readonly refresh: { readonly scope: string; readonly expiresInS: number };
  /** A token that another session logged in for was taken from the token store. */
  readonly shared: { readonly scope: string; readonly expiresInS: number };
  /** The token store could not be reached: the token in use serves on, or the session logged in only for itself. */
  readonly unshared: { readonly error: DeribitKeysError };
  /** A connection was lost, or an attempt to connect failed; the next one comes in `retryInMs`. */
  readonly disconnect: {
    readonly error: DeribitKeysError | null;
    readonly attempt: number;
    readonly retryInMs: number;
  };
  /** Back: logged in, subscriptions restored. `attempts` were needed, `awayMs` it took. */
  readonly reconnect: { readonly attempts: number; readonly awayMs: number };
  /** The exchange's clock was compared with the local one. */
  readonly clock: KeptReading;
  /** The exchange would not give these channels again after a reconnect; their listeners are gone. */
  readonly unsubscribed: { readonly channels: readonly string[]; readonly error: DeribitKeysError };
  /** The last event: `error` is null where the session was closed by its owner. */
  readonly closed: { readonly error: DeribitKeysError | null };
}

/** What a listener throws becomes an uncaught exception, and does not stop anything here. */
export function callListener<T>(listener: (value: T) => void, value: T): void {
  try {
    listener(value);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

type Listener = (event: never) => void;

/** Typed events. Those that come before {@link Emitter.release} wait for it. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<Listener>>();
  readonly #tap: (name: keyof Events, event: Events[keyof Events]) => void;
  #held: (() => void)[] | null = [];

  /** @param tap called with each event when it happens */
  constructor(tap: (name: keyof Events, event: Events[keyof Events]) => void = () => {}) {
    this.#tap = tap;
  }

  /** Calls `listener` for each such event; returns the function that stops it. */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => this.off(name, listener);
  }

  off<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): void {
    this.#listeners.get(name)?.delete(listener);
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    this.#tap(name, event);
    if (this.#held === null) this.#deliver(name, event);
    else this.#held.push(() => this.#deliver(name, event));
  }

  /** Delivers what was held back, and everything else at once from now on. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const deliver of held) deliver();
  }

  #deliver<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    const listeners = [...(this.#listeners.get(name) ?? [])];
    for (const listener of listeners) callListener(listener as (e: unknown) => void, event);
  }
}
