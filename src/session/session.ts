import type { Signer } from '../crypto/signer.js';
import type { ConnectOptions } from '../deribit/connect-options.js';
import type { Endpoint, Environment } from '../deribit/endpoints.js';
import type { Params } from '../deribit/json-rpc.js';
import type { Transport } from '../deribit/transport.js';
import type { WebSocketTransport } from '../deribit/websocket-transport.js';
import type { BackoffOptions } from './backoff.js';
import type { CreditRate } from './credits.js';
import type { SessionEvents } from './events.js';
import type { ChannelListener } from './subscriptions.js';
import type { Time } from './time.js';

/** How a session connects, logs in and waits. All but `clientId` and `signer` may be left out. */
export interface SessionOptions extends Omit<ConnectOptions, 'signal' | 'onReached'> {
  /** `ws:` or `wss:` for a connection that stays; `http:` or `https:` for requests with a token. */
  readonly url?: string | undefined;
  /** `test` (where nothing is said) or `prod`; over WebSocket unless `url` says otherwise. */
  readonly environment?: Environment | undefined;
  readonly clientId: string;
  readonly signer: Signer;
  /** What to ask for; all that the key allows where left out. See the `login` event for what was granted. */
  readonly scope?: string | undefined;
  /** Closes the session, and gives up opening it. */
  readonly signal?: AbortSignal | undefined;
  /** How long a first login is tried again while the exchange is busy or cuts the connection; 30 s. */
  readonly openWithinMs?: number | undefined;
  /** The exchange says at least so often that it is there; 30 s. Deribit takes 10 and more. */
  readonly heartbeatS?: number | undefined;
  readonly backoff?: BackoffOptions | undefined;
  /** How many requests may wait for a connection at a time; 1,000. */
  readonly queueLimit?: number | undefined;
  /** Requests beyond this rate wait for their turn; unlimited where left out or null. */
  readonly rate?: CreditRate | null | undefined;
  /** Stand-ins for the clocks, chance, and the network. */
  readonly time?: Time | undefined;
  /** From 0 up to, not including, 1. */
  readonly random?: (() => number) | undefined;
  readonly connectWebSocket?:
    | ((endpoint: Endpoint, options: ConnectOptions) => Promise<WebSocketTransport>)
    | undefined;
  readonly connectHttp?: ((endpoint: Endpoint, options: ConnectOptions) => Promise<Transport>) | undefined;
}

export interface SessionRequestOptions {
  /** Ends the wait with `ERR_INTERRUPTED`. */
  readonly signal?: AbortSignal | undefined;
  /** For waiting in line, sending and answering together; the session's where left out. */
  readonly timeoutMs?: number | undefined;
  /** `false`: not sent later, where there is no connection now. */
  readonly queue?: boolean | undefined;
}

/** An access token, and until when (milliseconds since the epoch, by our clock) and for what it is good. */
export interface AccessToken {
  readonly accessToken: string;
  readonly expiresAtMs: number;
  /** As granted. */
  readonly scope: string;
}

/**
 * A login that stays alive. It is also a `Transport`: calls that take one, such as `listApiKeys`, take a session.
 */
export interface Session {
  readonly kind: 'websocket' | 'http';
  readonly url: string;
  readonly clientId: string;
  /** Exchange's time less ours in milliseconds, as last compared; null before. */
  readonly clockOffsetMs: number | null;
  /** Resolves when the session has ended: to the error that ended it, or to null where its owner closed it. */
  readonly closed: Promise<Error | null>;

  /**
   * Asks the exchange; gives the reply's `result`. While there is no connection, requests wait for the next one. What
   * the exchange refuses because it is busy (10028, 11051 …) is asked again within `timeoutMs`; a token that it does
   * not take any more (13009) is replaced first.
   *
   * Throws as a transport does. A request that was under way when the connection was cut is never sent again: it
   * rejects with `ERR_OUTCOME_UNKNOWN` (`maybeSent: true`). Every error with `maybeSent: false` means that it was not
   * handled. After the session has ended: the error that ended it, or `ERR_CONNECTION_CLOSED`.
   *
   * `T` is the caller's word for the shape of the result, which is not checked.
   */
  request<T = unknown>(method: string, params?: Params, options?: SessionRequestOptions): Promise<T>;

  /**
   * An access token that is valid now and for a moment to come. Of a WebSocket login without a `session:NAME` scope it
   * is of use on its own connection alone.
   */
  accessToken(): Promise<string>;

  /** The same with what is known of it. */
  token(): Promise<AccessToken>;

  /**
   * Calls `listener` with what the channels say, across reconnects, until the function that it gives is called.
   * Resolves when the exchange has confirmed every channel. Throws `ERR_USAGE` over HTTP, the exchange's `ERR_RPC` or
   * `ERR_NOT_ON_EXCHANGE` for a channel that it does not give, and as {@link request} does.
   */
  subscribe(channels: string | readonly string[], listener: ChannelListener): Promise<() => Promise<void>>;

  /** Calls `listener` for each such event; gives the function that stops it. See {@link SessionEvents}. */
  on<Name extends keyof SessionEvents>(name: Name, listener: (event: SessionEvents[Name]) => void): () => void;
  off<Name extends keyof SessionEvents>(name: Name, listener: (event: SessionEvents[Name]) => void): void;

  /** Logs out by closing the connection. What waits is rejected. Afterwards no timer and no socket is left. Safe to call twice. */
  close(): Promise<void>;
}
