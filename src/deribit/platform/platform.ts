import type { ConnectOptions } from '../connect-options.js';

/** One POST of JSON text. */
export interface Post {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly maxReplyBytes: number;
  /** Ends the request; the promise rejects then. */
  readonly signal: AbortSignal;
  /** Called just before the first byte goes out: until then, the exchange cannot have seen the request. */
  readonly onSending: () => void;
}

/** The answer to a POST; `body` is null where it was longer than allowed. */
export interface PostAnswer {
  readonly status: number;
  readonly body: string | null;
}

/** Sends POSTs. None is ever sent twice, and no redirect is followed. */
export interface HttpClient {
  post(post: Post): Promise<PostAnswer>;
  close(): Promise<void>;
}

/** Why the other side's frame cannot be used. */
export type FrameFault = 'is binary' | 'is larger than the allowed size' | 'breaks the WebSocket protocol';

export interface SocketHandlers {
  onText(text: string): void;
  onFault(fault: FrameFault): void;
  /** Called once, with the close code; 1006 where the connection was cut. */
  onEnd(code: number): void;
}

/** An open WebSocket connection. */
export interface Socket {
  readonly state: 'open' | 'closing' | 'closed';
  /** Bytes that were passed to `send` and have not left this machine. */
  readonly bufferedBytes: number;
  send(text: string): void;
  /** Sends a close frame. */
  close(): void;
  /** Ends the connection without waiting for the other side. */
  terminate(): void;
}

/** The state of a WebSocket by its `readyState`, as the WebSocket standard numbers them. */
export function stateOf(readyState: number): Socket['state'] {
  return readyState === 1 ? 'open' : readyState === 3 ? 'closed' : 'closing';
}

/** What a connection needs to know beside its URL. */
export interface SocketOptions extends Omit<ConnectOptions, 'timeoutMs' | 'proxy'> {
  /** The other side, for messages. */
  readonly host: string;
  /** The URL of the proxy, as `proxyFor` returned it; null for none. */
  readonly proxy: string | null;
  readonly maxReplyBytes: number;
  readonly timeoutMs: number;
}

/** Something that happened, for diagnostics; never a secret, a parameter or a result. */
interface TraceEvent {
  readonly kind: 'connect' | 'disconnect' | 'request' | 'answer' | 'session';
  readonly [detail: string]: string | number | boolean | null;
}

/** What differs between Node.js (with Bun and Deno) and browsers (with workers). */
export interface Platform {
  /**
   * Whether its HTTP client can be trusted never to repeat a request that was cut: a browser's may send it again on
   * another connection.
   */
  readonly sendsOnce: boolean;
  /** Environment variables that name proxies. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The proxy that requests to `url` go through; null for none. */
  proxyFor(url: string, options: ConnectOptions): string | null;
  openHttpClient(url: string, options: SocketOptions): Promise<HttpClient>;
  /** Connects. Rejects with what the network says, or with a `DeribitKeysError`. */
  openSocket(url: string, options: SocketOptions, handlers: SocketHandlers): Promise<Socket>;
  /** Publishes an event, which is made only where somebody listens. */
  trace(event: () => TraceEvent): void;
}
