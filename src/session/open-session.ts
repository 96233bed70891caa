import { isWebSocketUrl } from '../deribit/endpoints.js';
import { type SessionContext, type Shared, sessionContext } from './context.js';
import { HttpSession } from './http-session.js';
import type { Session, SessionOptions } from './session.js';

/**
 * Connects and logs in, and stays logged in: over WebSocket, or over HTTP where the URL says so. The first login is
 * tried again for `openWithinMs` while the exchange is busy or cuts the connection.
 *
 * Events that come meanwhile are delivered in a moment after this has resolved, so that no listener misses them.
 * Proxies are taken from `HTTPS_PROXY` and `NO_PROXY` unless `proxy` or `env` says otherwise.
 *
 * Throws `ERR_USAGE` for options that cannot be meant, `ERR_UNAUTHORIZED` for a refused login (the hint tells what the
 * clocks have to do with it), `ERR_NETWORK` where the exchange cannot be reached, and whatever the signer throws.
 */
export async function openSession(options: SessionOptions): Promise<Session> {
  return openSharedSession(options);
}

/** @internal The same for a session of a fleet. */
export async function openSharedSession(options: SessionOptions, shared?: Shared): Promise<Session> {
  const context = sessionContext(options, shared);
  const session = await prepare(context);
  await session.open();
  context.time.setTimeout(() => context.events.release(), 0);
  return session;
}

async function prepare(context: SessionContext): Promise<Session & { open(): Promise<void> }> {
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
