import type { Agent, ClientRequest } from 'node:http';
import { type RawData, WebSocket } from 'ws';
import { DeribitKeysError } from '../errors.js';
import { onAbort } from '../util/on-abort.js';
import { type ConnectOptions, DEFAULT_MAX_REPLY_BYTES, DEFAULT_TIMEOUT_MS, startTimer } from './connect-options.js';
import { type Endpoint, websocketUrlOf } from './endpoints.js';
import {
  decodeFrame,
  encodeRequest,
  type Notification,
  type Params,
  protocolError,
  type Reply,
  resultOf,
} from './json-rpc.js';
import { interruptedError, networkError, placeOf, statusError, timeoutError } from './network-errors.js';
import { proxyFor } from './proxy.js';
import type { RequestOptions, Transport } from './transport.js';

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
  /** Calls `listener` for each notification; gives the function that stops it. */
  onNotification(listener: (notification: Notification) => void): () => void;
  /** Calls `listener` when the connection has ended, soon where it has already; gives the function that stops it. */
  onClose(listener: (end: ConnectionEnd) => void): () => void;
}

/** How long the other side may take to answer our close frame. */
const CLOSE_GRACE_MS = 1_000;

/**
 * Opens a WebSocket connection. Throws `ERR_NETWORK` where it does not come about (name, refusal, TLS, an HTTP status
 * instead of an upgrade; redirects are not followed), `ERR_TIMEOUT`, `ERR_INTERRUPTED`, `ERR_USAGE` for a bad proxy
 * or authority; all with `maybeSent: false`.
 */
export async function openWebSocket(endpoint: Endpoint, options: ConnectOptions = {}): Promise<WebSocketTransport> {
  const url = websocketUrlOf(endpoint.url);
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const proxy = proxyFor(url, options);
  const place = placeOf(url, proxy);
  const what = `connecting to ${place}`;
  const agent = proxy === null ? {} : { agent: await proxyAgent(proxy) };
  const trust = options.ca === undefined ? {} : (await import('./trust.js')).trustOf(options.ca);
  const maxPayload = options.maxReplyBytes ?? DEFAULT_MAX_REPLY_BYTES;
  if (options.signal?.aborted) throw interruptedError(what, { maybeSent: false });
  const finishRequest = finishing(options.onReached);
  const socket = new WebSocket(url, { maxPayload, perMessageDeflate: false, finishRequest, ...agent, ...trust });
  const connection = new Connection(socket, url, endpoint.expectTestnet, timeoutMs);
  await new Promise<void>((resolve, reject) => {
    const give = (error: DeribitKeysError) => {
      settle();
      reject(error);
      socket.terminate();
    };
    const onOpen = () => {
      settle();
      resolve();
    };
    const onError = (error: Error) => give(networkError(place, error, { maybeSent: false }));
    const onResponse = (_: unknown, response: { readonly statusCode?: number | undefined }) =>
      give(statusError(place, response.statusCode ?? 0, { maybeSent: false }));
    const stopListening = onAbort(options.signal, () => give(interruptedError(what, { maybeSent: false })));
    const timer = startTimer(timeoutMs, () => give(timeoutError(what, timeoutMs, { maybeSent: false })));
    const settle = () => {
      clearTimeout(timer);
      stopListening();
      socket.off('open', onOpen).off('error', onError).off('unexpected-response', onResponse);
    };
    socket.on('open', onOpen).on('error', onError).on('unexpected-response', onResponse);
  });
  return connection;
}

/** Sends the request to upgrade; calls `onReached` as soon as there is a TCP connection, through a proxy where there is one. */
function finishing(onReached: (() => void) | undefined): (request: ClientRequest) => void {
  return (request) => {
    if (onReached !== undefined) {
      request.once('socket', (socket) => (socket.connecting ? socket.once('connect', onReached) : onReached()));
    }
    request.end();
  };
}

interface Waiting {
  readonly method: string;
  readonly params: Params;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: DeribitKeysError) => void;
  readonly release: () => void;
}

/**
 * One connection and the requests that wait on it.
 *
 *        open ──── close() ────> closing ── close frame, or CLOSE_GRACE_MS ──┐
 *         ├─── garbage frame, oversized frame ──> terminated ────────────────┤
 *         └─── other side closes, or the network cuts ───────────────────────┴──> ended
 *
 * All ways lead to `ended` through the socket's `close` event, which ws raises exactly once. A request leaves the
 * table of those that wait in one place too, `take`: by its answer, its time-out, its signal, or the end. An answer
 * to an id that is not in the table (late, doubled, invented) is passed over.
 */
class Connection implements WebSocketTransport {
  readonly kind = 'websocket';
  readonly url: string;
  readonly closed: Promise<ConnectionEnd>;
  readonly #socket: WebSocket;
  readonly #expectTestnet: boolean | null;
  readonly #timeoutMs: number;
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners = new Set<(notification: Notification) => void>();
  #lastId = 0;
  #byUs = false;
  /** Why the connection was given up, where it was. */
  #reason: DeribitKeysError | null = null;

  constructor(socket: WebSocket, url: string, expectTestnet: boolean | null, timeoutMs: number) {
    this.#socket = socket;
    this.url = url;
    this.#expectTestnet = expectTestnet;
    this.#timeoutMs = timeoutMs;
    socket.on('message', (data, isBinary) => this.#onMessage(data, isBinary));
    socket.on('error', (error) => this.#onError(error));
    this.closed = new Promise((resolve) => {
      socket.once('close', (code) => {
        this.#rejectAll(() => this.#reason ?? this.#closedError(code, true));
        resolve({ code, byUs: this.#byUs });
      });
    });
  }

  request(method: string, params: Params = {}, options: RequestOptions = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const { signal, accessToken } = options;
      const timeoutMs = options.timeoutMs ?? this.#timeoutMs;
      const sent = accessToken === undefined ? params : { ...params, access_token: accessToken };
      const id = this.#lastId + 1;
      const text = encodeRequest(id, method, sent);
      if (signal?.aborted) throw interruptedError(`the request ${method}`, { maybeSent: false });
      if (this.#socket.readyState !== WebSocket.OPEN) throw this.#closedError(null, false);
      this.#lastId = id;
      const stop = (error: DeribitKeysError) => this.#take(id)?.reject(error);
      const stopListening = onAbort(signal, () => stop(interruptedError(`the request ${method}`, { maybeSent: true })));
      const timer = startTimer(timeoutMs, () =>
        stop(timeoutError(`the answer to ${method}`, timeoutMs, { maybeSent: true })),
      );
      const release = () => {
        clearTimeout(timer);
        stopListening();
      };
      this.#waiting.set(id, { method, params: sent, resolve, reject, release });
      // A failed write surfaces as the socket's error and close, too.
      this.#socket.send(text, () => {});
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
    if (this.#socket.readyState === WebSocket.CLOSED) return;
    if (this.#socket.readyState === WebSocket.OPEN) this.#byUs = true;
    this.#rejectAll(() => this.#closedError(null, true));
    this.#socket.close(1000);
    const timer = setTimeout(() => this.#socket.terminate(), CLOSE_GRACE_MS);
    await this.closed;
    clearTimeout(timer);
  }

  #onMessage(data: RawData, isBinary: boolean): void {
    const frame = isBinary
      ? ({ kind: 'garbage', id: null, problem: 'is binary' } as const)
      : decodeFrame(data.toString());
    if (frame.kind === 'notification') {
      for (const listener of [...this.#listeners]) listener(frame.notification);
    } else if (frame.kind === 'reply') {
      this.#onReply(frame.reply);
    } else if (frame.id === null) {
      this.#giveUp(protocolError(`the exchange sent a frame that ${frame.problem}`, { maybeSent: true }));
    } else {
      const waiting = this.#take(frame.id);
      waiting?.reject(protocolError(`the answer to ${waiting.method} ${frame.problem}`, { maybeSent: true }));
    }
  }

  #onReply(reply: Reply): void {
    const waiting = this.#take(reply.id ?? this.#onlyId());
    if (waiting === null) return;
    try {
      waiting.resolve(resultOf(reply, waiting.method, waiting.params, this.#expectTestnet));
    } catch (error) {
      waiting.reject(error as DeribitKeysError);
    }
  }

  /** What the network does shows as the socket's close; only what the other side did wrong is an error of its own. */
  #onError(error: Error): void {
    if (!('code' in error) || !String(error.code).startsWith('WS_ERR_')) return;
    const tooLarge = error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH';
    const what = tooLarge ? 'is larger than the allowed size' : 'breaks the WebSocket protocol';
    this.#giveUp(protocolError(`the exchange sent a frame that ${what}`, { maybeSent: true }));
  }

  #giveUp(reason: DeribitKeysError): void {
    this.#reason ??= reason;
    this.#rejectAll(() => reason);
    this.#socket.terminate();
  }

  /** An error that names no id can only mean the request that waits alone. */
  #onlyId(): number | null {
    const [first, second] = this.#waiting.keys();
    return second === undefined ? (first ?? null) : null;
  }

  #take(id: number | null): Waiting | null {
    const waiting = id === null ? undefined : this.#waiting.get(id);
    if (id === null || waiting === undefined) return null;
    this.#waiting.delete(id);
    waiting.release();
    return waiting;
  }

  #rejectAll(reason: () => DeribitKeysError): void {
    if (this.#waiting.size === 0) return;
    const error = reason();
    for (const id of [...this.#waiting.keys()]) this.#take(id)?.reject(error);
  }

  #closedError(code: number | null, maybeSent: boolean): DeribitKeysError {
    const how = code === null ? '' : ` (${code}${code === 1006 ? ': cut without a word' : ''})`;
    return new DeribitKeysError(
      'ERR_CONNECTION_CLOSED',
      `the connection to ${new URL(this.url).host} is closed${how}`,
      {
        hint: 'connect again',
        maybeSent,
      },
    );
  }
}

async function proxyAgent(proxy: string): Promise<Agent> {
  const { HttpsProxyAgent } = await import('https-proxy-agent');
  return new HttpsProxyAgent(proxy);
}
