import { parsedUrl } from '../deribit/endpoints.js';
import type { Notification } from '../deribit/json-rpc.js';
import type { Transport } from '../deribit/transport.js';
import type { WebSocketTransport } from '../deribit/websocket-transport.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { defined } from '../util/defined.js';
import { isFinal } from './failures.js';
import type { LoginReason } from './session.js';
import type { SessionContext } from './session-core.js';
import { Backoff, type Cancellation, pause, type Time } from './time.js';
import type { TokenManager } from './token-manager.js';

export type Connect = NonNullable<SessionContext['options']['connectWebSocket']>;

/** After a reconnect, heartbeats are asked for within this time: far less than a silent connection lives. */
const HEARTBEAT_WITHIN_MS = 5_000;

/** A transport that takes requests before its connection is open: they wait for it. */
function early(url: string, connecting: () => Promise<Transport>): Transport {
  return {
    kind: 'websocket',
    url,
    request: async (method, params, options) => (await connecting()).request(method, params, options),
    close: async () => (await connecting()).close(),
  };
}

interface Connecting {
  readonly connect: Connect;
  readonly reason: LoginReason;
  /** Gives up connecting. */
  readonly end: AbortSignal;
  /** Closes the connection. */
  readonly stop: Cancellation;
  readonly onSubscription: (notification: Notification) => void;
}

/**
 * Connects and logs in. The login is signed while the connection comes about, from the moment at which the other side
 * is there, and goes out first. Throws as connecting and {@link TokenManager.signIn} do; then the connection is closed again.
 */
export async function connectAndLogIn(
  { endpoint, connectOptions, heartbeatS, tokens, time, random }: SessionContext,
  { connect, reason, end, stop, onSubscription }: Connecting,
): Promise<WebSocketTransport> {
  let login: Promise<void> | null = null;
  const logIn = (): Promise<void> => {
    if (login !== null) return login;
    const line = early(endpoint.url, () => connecting);
    login = tokens.signIn(line, reason);
    login.catch(() => {});
    return login;
  };
  // while the exchange is away, no signature is made that would be of no use
  const connecting = connect(endpoint, { ...connectOptions, signal: end, onReached: logIn });
  const transport = withSharedToken(await connecting, tokens);
  const loggedIn = logIn();
  const close = () => void transport.close();
  if (stop.aborted) close();
  else stop.on(close);
  const watch = new Heartbeat(transport, heartbeatS, time);
  transport.onNotification((notification) => {
    watch.heard();
    if (notification.method === 'heartbeat') watch.answer(notification);
    else if (notification.method === 'subscription') onSubscription(notification);
  });
  tokens.compareClocks(transport);
  // when many come back at once, the exchange has more urgent things to do
  void watch.run(stop, reason === 'open' ? 0 : random() * HEARTBEAT_WITHIN_MS);
  try {
    await whileOpen(transport, loggedIn);
    return transport;
  } catch (error) {
    await transport.close();
    throw error;
  }
}

/** What is decided by who asks. */
const needsLogin = (method: string) => method.startsWith('private/') || method === 'public/subscribe';

/** A connection that is not logged in itself: its requests carry the token that sessions share. */
function withSharedToken(connection: WebSocketTransport, tokens: TokenManager): WebSocketTransport {
  if (!tokens.isShared) return connection;
  return {
    kind: connection.kind,
    url: connection.url,
    closed: connection.closed,
    onNotification: (listener) => connection.onNotification(listener),
    onClose: (listener) => connection.onClose(listener),
    close: () => connection.close(),
    request(method, params, options) {
      const accessToken = needsLogin(method) ? tokens.current()?.accessToken : undefined;
      return connection.request(method, params, { ...options, ...defined({ accessToken }) });
    },
  };
}

/** Waits for `work`, but not longer than the connection lives: a signer that never answers must not outlive it. */
function whileOpen(transport: WebSocketTransport, work: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const forget = transport.onClose(({ code }) => reject(cutError(transport.url, code)));
    work.then(resolve, reject).finally(forget);
  });
}

/** Why a connection ended that nobody wanted to end. */
export function cutError(url: string, code: number): DeribitKeysError {
  const how = code === 1006 ? 'cut without a close frame' : `closed with code ${code}`;
  return new DeribitKeysError('ERR_CONNECTION_CLOSED', `the connection to ${parsedUrl(url).host} was ${how}`);
}

/**
 * Renews the token again and again, well before it expires, until `stop` comes. Throws where it cannot: a final
 * refusal, or a token that expired while the exchange was busy.
 */
export async function keepTokenFresh(
  { time, random, tokens }: SessionContext,
  transport: Transport,
  { stop, onRenewed }: { readonly stop: Cancellation; readonly onRenewed: () => void },
): Promise<void> {
  const busy = new Backoff({}, random);
  let waitMs = tokens.dueInMs;
  for (;;) {
    await pause(time, Math.min(waitMs, tokens.followMs ?? waitMs), stop);
    if (stop.aborted) return;
    waitMs = tokens.dueInMs;
    const moved = tokens.followMs !== null && (await tokens.hasMoved());
    if (waitMs > 0 && !moved) continue;
    try {
      await (moved ? tokens.signIn(transport, 'rotated') : tokens.renew(transport));
      tokens.compareClocks(transport);
      onRenewed();
      busy.reset();
      waitMs = tokens.dueInMs;
    } catch (error) {
      if (stop.aborted) return;
      if (isFinal(error) || !tokens.isUsable) throw error;
      waitMs = busy.next();
    }
  }
}

/** How long the answer to a question may take that is asked only because nothing was heard. */
const PROBE_MS = 10_000;

/**
 * Keeps one connection's heartbeat: asks the exchange to send one every `heartbeatS`, answers its test
 * requests, and closes the connection where nothing is heard for half as long again and a question stays unanswered.
 */
export class Heartbeat {
  readonly #transport: WebSocketTransport;
  readonly #heartbeatS: number;
  readonly #time: Time;
  #heardMs: number;
  #heardTimes = 0;
  #beats = false;

  constructor(transport: WebSocketTransport, heartbeatS: number, time: Time) {
    this.#transport = transport;
    this.#heartbeatS = heartbeatS;
    this.#time = time;
    this.#heardMs = time.monotonicMs();
  }

  /** Something came from the exchange. */
  heard(): void {
    this.#heardMs = this.#time.monotonicMs();
    this.#heardTimes += 1;
  }

  /** Answers a `heartbeat` notification, where it wants an answer. */
  answer({ params }: Notification): void {
    if (params.type === 'test_request') void this.#ask('public/test', {}, PROBE_MS);
  }

  /** Begins after `afterMs`. Returns when `stop` comes, or when the connection was closed for its silence. */
  async run(stop: Cancellation, afterMs = 0): Promise<void> {
    const quietMs = this.#heartbeatS * 1500;
    if (afterMs > 0) await pause(this.#time, afterMs, stop);
    if (stop.aborted) return;
    this.#beats = await this.#start();
    while (!stop.aborted) {
      const silentMs = this.#time.monotonicMs() - this.#heardMs;
      if (silentMs < quietMs) {
        await pause(this.#time, quietMs - silentMs, stop);
        continue;
      }
      this.#beats ||= await this.#start();
      const before = this.#heardTimes;
      await this.#ask('public/test', {}, PROBE_MS);
      if (this.#heardTimes === before) {
        await this.#transport.close();
        return;
      }
    }
  }

  #start(): Promise<boolean> {
    return this.#ask('public/set_heartbeat', { interval: this.#heartbeatS });
  }

  /** Whether the exchange agreed; any answer counts as heard. */
  async #ask(method: string, params: Readonly<Record<string, unknown>>, timeoutMs?: number): Promise<boolean> {
    try {
      await this.#transport.request(method, params, defined({ timeoutMs }));
      this.heard();
      return true;
    } catch (error) {
      if (isDeribitKeysError(error) && error.rpc !== undefined) this.heard();
      return false;
    }
  }
}
