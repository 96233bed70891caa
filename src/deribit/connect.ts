import type { ConnectOptions } from './connect-options.js';
import { type Endpoint, isWebSocketUrl } from './endpoints.js';
import type { Transport } from './transport.js';

/**
 * The transport that the endpoint's URL asks for: a WebSocket connection for `ws:` and `wss:`, HTTP else. Only the module
 * of that one is loaded.
 * @throws as `openWebSocket` and `openHttp` do
 */
export async function connect(endpoint: Endpoint, options: ConnectOptions = {}): Promise<Transport> {
  if (isWebSocketUrl(endpoint.url)) return (await import('./websocket-transport.js')).openWebSocket(endpoint, options);
  return (await import('./http-transport.js')).openHttp(endpoint, options);
}
