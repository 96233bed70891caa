import type { Notification } from '../deribit/json-rpc.js';
import type { Transport } from '../deribit/transport.js';
import type { WebSocketTransport } from '../deribit/websocket-transport.js';
import { DeribitKeysError } from '../errors.js';
import { Backoff } from './backoff.js';
import type { Cancellation } from './cancellation.js';
import type { SessionContext } from './context.js';
import type { LoginReason } from './events.js';
import { isFinal } from './failures.js';
import { Heartbeat } from './heartbeat.js';
import { pause } from './time.js';

export type Connect = NonNullable<SessionContext['options']['connectWebSocket']>;

/** After a reconnect, heartbeats are asked for within this time: far less than a silent connection lives. */
const HEARTBEAT_WITHIN_MS = 5_000;

/** A transport that can be asked before its connection is open: the question waits for it. */
function early(url: string, connecting: Promise<Transport>): Transport {
  return {
    kind: 'websocket',
    url,
    request: async (method, params, options) => (await connecting).request(method, params, options),
    close: async () => (await connecting).close(),
  };
}

/**
 * Connects and logs in. The login is signed while the connection comes about, from the moment at which the other side
 * is there, and goes out first. `end` gives up connecting, `stop` closes the connection. Throws as connecting and
 * {@link TokenManager.signIn} do; then the connection is closed again.
 */
export async function connectAndLogIn(
  { endpoint, connectOptions, clock, heartbeatS, tokens, time, random }: SessionContext,
  connect: Connect,
  reason: LoginReason,
  end: AbortSignal,
  stop: Cancellation,
  onSubscription: (notification: Notification) => void,
): Promise<WebSocketTransport> {
  let onReached = () => {};
  const reached = new Promise<void>((resolve) => {
    onReached = resolve;
  });
  const connecting = connect(endpoint, { ...connectOptions, signal: end, onReached });
  // while the exchange is away, nobody is asked for signatures that would be of no use
  const loggedIn = Promise.race([reached, connecting]).then(() =>
    tokens.signIn(early(endpoint.url, connecting), reason),
  );
  loggedIn.catch(() => {});
  const transport = await connecting;
  const close = () => void transport.close();
  if (stop.aborted) close();
  else stop.on(close);
  const watch = new Heartbeat(transport, heartbeatS, time);
  transport.onNotification((notification) => {
    watch.heard();
    if (notification.method === 'heartbeat') watch.answer(notification);
    else if (notification.method === 'subscription') onSubscription(notification);
  });
  if (!clock.isFresh) tokens.readClock(transport).catch(() => {});
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

/** Waits for `work`, but not longer than the connection lives: a signer that never answers must not outlive it. */
function whileOpen(transport: WebSocketTransport, work: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const forget = transport.onClose(({ code }) => reject(cutError(transport.url, code)));
    work.then(resolve, reject).finally(forget);
  });
}

/** Why a connection ended that nobody wanted to end. */
export function cutError(url: string, code: number): DeribitKeysError {
  const how = code === 1006 ? 'cut without a word' : `closed with code ${code}`;
  return new DeribitKeysError('ERR_CONNECTION_CLOSED', `the connection to ${new URL(url).host} was ${how}`);
}

/**
 * Renews the token again and again, well before it expires, until `stop` comes. Throws where it cannot: a final
 * refusal, or a token that has come to its end while the exchange was busy.
 */
export async function keepTokenFresh(
  { time, random, clock, tokens }: SessionContext,
  transport: Transport,
  stop: Cancellation,
): Promise<void> {
  const busy = new Backoff({}, random);
  let waitMs = tokens.dueInMs;
  for (;;) {
    await pause(time, waitMs, stop);
    if (stop.aborted) return;
    waitMs = tokens.dueInMs;
    if (waitMs > 0) continue;
    try {
      await tokens.renew(transport);
      if (!clock.isFresh) tokens.readClock(transport).catch(() => {});
      busy.reset();
      waitMs = tokens.dueInMs;
    } catch (error) {
      if (stop.aborted) return;
      if (isFinal(error) || !tokens.isUsable) throw error;
      waitMs = busy.next();
    }
  }
}
