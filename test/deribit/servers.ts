import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import { inspect } from 'node:util';
import { expect, onTestFinished } from 'vitest';
import { type WebSocket, WebSocketServer } from 'ws';
import { resolveEndpoint } from '../../src/deribit/endpoints.js';
import type { RequestOptions, Transport } from '../../src/deribit/transport.js';
import type { DeribitKeysError, ErrorCode } from '../../src/errors.js';
import { errorOf } from '../support/outcomes.js';

/** A request as a server in a test sees it. */
export interface Asked {
  readonly id: number;
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
}

export const local = (scheme: 'ws' | 'http', port: number) => resolveEndpoint({ url: `${scheme}://127.0.0.1:${port}` });

/** The same place, said to be of one of Deribit's environments. */
export const said = (endpoint: ReturnType<typeof local>, expectTestnet: boolean) => ({ ...endpoint, expectTestnet });

const portOf = (server: { address(): unknown }) => (server.address() as AddressInfo).port;

/** A bare WebSocket server that does with each request what the test wants. */
export async function webSocketServer(
  onRequest: (asked: Asked, socket: WebSocket) => void,
  onConnection: (socket: WebSocket) => void = () => {},
) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  server.on('connection', (socket) => {
    socket.on('error', () => {});
    socket.on('message', (data) => onRequest(JSON.parse(data.toString()), socket));
    onConnection(socket);
  });
  await once(server, 'listening');
  onTestFinished(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  return { server, endpoint: local('ws', portOf(server)) };
}

/** A bare HTTP server that does with each request what the test wants. */
export async function httpServer(
  onRequest: (body: string, request: IncomingMessage, response: ServerResponse) => void,
) {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    onRequest(body, request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { server, port: portOf(server), endpoint: local('http', portOf(server)) };
}

/** A TCP server that does not speak HTTP at all. */
export async function tcpServer(onSocket: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    onSocket(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return portOf(server);
}

/** A port on which nothing listens. */
export async function unusedPort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = portOf(server);
  server.close();
  await once(server, 'close');
  return port;
}

export const reply = (asked: Pick<Asked, 'id'>, fields: object) =>
  JSON.stringify({ jsonrpc: '2.0', id: asked.id, ...fields });

/** The error that `work` ends with; fails where it does not, or with another code. */
export async function failure(work: Promise<unknown> | (() => unknown), code: ErrorCode): Promise<DeribitKeysError> {
  const ours = await errorOf(work);
  expect(ours.code, ours.message).toBe(code);
  expect(ours.message).toMatch(/^\S.*[^.\s]$/);
  return ours;
}

/** Everything that a log could show of a value. */
export const shown = (value: unknown) =>
  [
    inspect(value, { depth: 10, showHidden: true, getters: true }),
    JSON.stringify(value),
    String(value),
    value instanceof Error ? `${value.message} ${value.stack} ${JSON.stringify({ ...value })}` : '',
  ].join('\n');

/** A transport that answers by a function, and keeps what it was asked. */
export function fakeTransport(
  answer: (method: string, params: Readonly<Record<string, unknown>>) => unknown,
  kind: 'websocket' | 'http' = 'http',
) {
  const asked: { method: string; params: Readonly<Record<string, unknown>>; options: RequestOptions }[] = [];
  let closed = 0;
  const transport: Transport = {
    kind,
    url: 'http://127.0.0.1/api/v2',
    async request(method, params = {}, options = {}) {
      asked.push({ method, params, options });
      return answer(method, params);
    },
    async close() {
      closed += 1;
    },
  };
  return { transport, asked, closed: () => closed };
}
