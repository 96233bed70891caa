import { platform } from '#platform';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { onAbort } from '../util/checks.js';
import { type ConnectOptions, checkConnectOptions, startTimer } from './connect-options.js';
import { type Endpoint, parsedUrl, websocketUrlOf } from './endpoints.js';
import {
  decodeFrame,
  encodeRequest,
  type Notification,
  type Params,
  protocolError,
  type Reply,
  resultOf,
  unattributedError,
} from './json-rpc.js';
import { describeHost, interruptedError, networkError, timeoutError } from './network-errors.js';
import type { FrameFault, Socket, SocketHandlers } from './platform/platform.js';
import { checkRequest, type RequestOptions, type Transport } from './transport.js';

/** How a connection ended: the WebSocket close code (1006 where it was cut), and whether we closed it. */
export interface ConnectionEnd {
  readonly code: number;
  readonly byUs: boolean;
}

/** A transport over one connection, which also carries what the exchange says unasked. */
export interface WebSocketTransport extends Transport {
  readonly kind: 'websocket';
  /** Resolves when the connection has ended, whoever ended it. Never rejects. */
  readonly closed: Promise<ConnectionEnd>;
  /** Calls `listener` for each notification; returns the function that stops it. */
  onNotification(listener: (notification: Notification) => void): () => void;
  /** Calls `listener` when the connection has ended, soon where it has already; returns the function that stops it. */
  onClose(listener: (end: ConnectionEnd) => void): () => void;
}

/** How long the other side may take to answer our close frame. */
const CLOSE_GRACE_MS = 1_000;

/** While this much waits to leave this machine, the other side has stopped reading, and nothing more is sent. */
const MAX_BUFFERED_BYTES = 1024 * 1024;

/**
 * Opens a WebSocket connection.
 * @throws `ERR_NETWORK` where it cannot be opened (name, refusal, TLS, an HTTP status instead of an upgrade; redirects
 *   are not followed), `ERR_TIMEOUT`, `ERR_INTERRUPTED`, `ERR_USAGE` for bad options; all with `maybeSent: false`
 */
export async function openWebSocket(endpoint: Endpoint, given: ConnectOptions = {}): Promise<WebSocketTransport> {
  const options = checkConnectOptions(given);
  const url = websocketUrlOf(endpoint.url);
  const proxy = platform.proxyFor(url, options);
  const host = describeHost(url, proxy);
  if (options.signal?.aborted) throw interruptedError(`connecting to ${host}`, { maybeSent: false });
  const connection = new Connection(url, endpoint.expectTestnet, options.timeoutMs);
  try {
    connection.attach(await platform.openSocket(url, { ...options, proxy, host }, connection));
    platform.trace(() => ({ kind: 'connect', host: parsedUrl(url).host }));
    return connection;
  } catch (error) {
    throw isDeribitKeysError(error) ? error : networkError(host, error, { maybeSent: false });
  }
}

interface Waiting {
  readonly method: string;
  readonly params: Params;
  readonly startMs: number;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: DeribitKeysError) => void;
  readonly release: () => void;
}

/**
 * One connection and the requests that wait on it.
 *
 *        open ──── close() ────> closing ── close frame, or CLOSE_GRACE_MS ──┐
 *         ├─── unreadable frame, oversized frame ──> terminated ─────────────┤
 *         └─── other side closes, or the network cuts ───────────────────────┴──> ended
 *
 * All paths lead to `ended` through `onEnd`, which the socket calls exactly once. A request leaves the table of those
 * that wait in one place too, `#take`: by its answer, its timeout, its signal, or the end. An answer to an id that is
 * not in the table (late, doubled, invented) is ignored.
 */
class Connection implements WebSocketTransport, SocketHandlers {
  readonly kind = 'websocket';
  readonly url: string;
  readonly closed: Promise<ConnectionEnd>;
  readonly #expectTestnet: boolean | null;
  readonly #timeoutMs: number;
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners = new Set<(notification: Notification) => void>();
  #socket: Socket | null = null;
  #resolveClosed: (end: ConnectionEnd) => void = () => {};
  #lastId = 0;
  #byUs = false;
  /** Why the connection was given up, where it was. */
  #reason: DeribitKeysError | null = null;

  constructor(url: string, expectTestnet: boolean | null, timeoutMs: number) {
    this.url = url;
    this.#expectTestnet = expectTestnet;
    this.#timeoutMs = timeoutMs;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  attach(socket: Socket): void {
    this.#socket = socket;
    if (this.#reason !== null) socket.terminate();
  }

  async request(method: string, given?: Params, options?: RequestOptions): Promise<unknown> {
    const { params, signal, accessToken, timeoutMs = this.#timeoutMs } = checkRequest(given, options);
    const sent = accessToken === undefined ? params : { ...params, access_token: accessToken.reveal() };
    const id = this.#lastId + 1;
    const text = encodeRequest(id, method, sent);
    if (signal?.aborted) throw interruptedError(`the request ${method}`, { maybeSent: false });
    const socket = this.#socket;
    if (socket?.state !== 'open') throw this.#closedError(null, false);
    if (socket.bufferedBytes > MAX_BUFFERED_BYTES) throw congestedError(method);
    this.#lastId = id;
    return new Promise((resolve, reject) => {
      const stop = (error: DeribitKeysError) => this.#take(id, error.code)?.reject(error);
      const stopListening = onAbort(signal, () => stop(interruptedError(`the request ${method}`, { maybeSent: true })));
      const timer = startTimer(timeoutMs, () =>
        stop(timeoutError(`the answer to ${method}`, timeoutMs, { maybeSent: true })),
      );
      const release = () => {
        clearTimeout(timer);
        stopListening();
      };
      this.#waiting.set(id, { method, params: sent, startMs: performance.now(), resolve, reject, release });
      platform.trace(() => ({ kind: 'request', transport: 'websocket', method, id }));
      socket.send(text);
    });
  }

  onNotification(listener: (notification: Notification) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onClose(listener: (end: ConnectionEnd) => void): () => void {
    let wanted = true;
    void this.closed.then((end) => {
      if (wanted) listener(end);
    });
    return () => {
      wanted = false;
    };
  }

  async close(): Promise<void> {
    const socket = this.#socket;
    if (socket === null || socket.state === 'closed') return;
    if (socket.state === 'open') this.#byUs = true;
    this.#rejectAll(() => this.#closedError(null, true));
    socket.close();
    const timer = setTimeout(() => socket.terminate(), CLOSE_GRACE_MS);
    await this.closed;
    clearTimeout(timer);
  }

  onText(text: string): void {
    const frame = decodeFrame(text);
    if (frame.kind === 'notification') {
      for (const listener of [...this.#listeners]) listener(frame.notification);
    } else if (frame.kind === 'reply') {
      this.#onReply(frame.reply);
    } else if (frame.id === null) {
      this.#giveUp(protocolError(`the exchange sent a frame that ${frame.problem}`, { maybeSent: true }));
    } else {
      const waiting = this.#take(frame.id, 'ERR_PROTOCOL');
      waiting?.reject(protocolError(`the answer to ${waiting.method} ${frame.problem}`, { maybeSent: true }));
    }
  }

  onFault(fault: FrameFault): void {
    this.#giveUp(protocolError(`the exchange sent a frame that ${fault}`, { maybeSent: true }));
  }

  onEnd(code: number): void {
    platform.trace(() => ({ kind: 'disconnect', host: parsedUrl(this.url).host, code }));
    this.#rejectAll(() => this.#reason ?? this.#closedError(code, true));
    this.#resolveClosed({ code, byUs: this.#byUs });
  }

  #onReply(reply: Reply): void {
    if (reply.id === null) {
      this.#onUnattributed(reply);
      return;
    }
    const waiting = this.#take(reply.id, 'error' in reply.outcome ? String(reply.outcome.error.code) : 'ok');
    if (waiting === null) return;
    const { method, params } = waiting;
    try {
      waiting.resolve(resultOf({ reply, method, params, expectTestnet: this.#expectTestnet }));
    } catch (error) {
      waiting.reject(error as DeribitKeysError);
    }
  }

  /**
   * An error that names no id may be about any request, one that has timed out included. Where only one waits, that one
   * learns of it, as a request whose outcome is unknown; where several wait, their own answers or timeouts tell.
   */
  #onUnattributed({ outcome }: Reply): void {
    const [first, second] = this.#waiting.keys();
    if (first === undefined || second !== undefined || !('error' in outcome)) return;
    const waiting = this.#take(first, 'ERR_OUTCOME_UNKNOWN');
    waiting?.reject(unattributedError(waiting.method, outcome.error, waiting.params));
  }

  #giveUp(reason: DeribitKeysError): void {
    this.#reason ??= reason;
    this.#rejectAll(() => reason);
    this.#socket?.terminate();
  }

  #take(id: number, outcome: string): Waiting | null {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return null;
    this.#waiting.delete(id);
    waiting.release();
    const { method, startMs } = waiting;
    platform.trace(() => {
      const ms = Math.round(performance.now() - startMs);
      return { kind: 'answer', transport: 'websocket', method, id, outcome, ms };
    });
    return waiting;
  }

  #rejectAll(reason: () => DeribitKeysError): void {
    if (this.#waiting.size === 0) return;
    const error = reason();
    for (const id of [...this.#waiting.keys()]) this.#take(id, error.code)?.reject(error);
  }

  #closedError(code: number | null, maybeSent: boolean): DeribitKeysError {
    const how = code === null ? '' : ` (${code}${code === 1006 ? ': cut without a close frame' : ''})`;
    const message = `the connection to ${parsedUrl(this.url).host} is closed${how}`;
    return new DeribitKeysError('ERR_CONNECTION_CLOSED', message, { hint: 'connect again', maybeSent });
  }
}

function congestedError(method: string): DeribitKeysError {
  const message = `${method} was not sent: the exchange is not reading from the connection`;
  return new DeribitKeysError('ERR_NOT_SENT', message, {
    hint: 'send less, or wait until the connection has recovered',
    maybeSent: false,
  });
}
