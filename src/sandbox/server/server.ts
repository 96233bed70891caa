import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { SandboxError } from '../core/errors.js';
import type { Exchange } from '../core/exchange.js';
import { answerHttp } from './http.js';
import { longestTimerMs } from './options.js';
import { serveWebsocket } from './websocket.js';

const host = '127.0.0.1';
const websocketPath = '/ws/api/v2';
/** Far above the 32 kB that get an answer: beyond it the connection is closed with 1009. */
const largestFrame = 16 * 1024 * 1024;

export interface ServerSettings {
  readonly connectionsPerIp: number | null;
  readonly silentMs: number | null;
}

/** HTTP and WebSocket on one port of 127.0.0.1. It can stop and start again on the same port. */
export class SandboxServer {
  readonly #exchange: Exchange;
  readonly #settings: ServerSettings;
  readonly #sockets = new Set<Socket>();
  readonly #refused = new WeakSet<Duplex>();
  readonly #websockets = new Set<WebSocket>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #server: Server | null = null;
  #nextConnectionId = 1;
  #port: number;

  constructor(exchange: Exchange, port: number, settings: ServerSettings) {
    this.#exchange = exchange;
    this.#port = port;
    this.#settings = settings;
  }

  get port(): number {
    return this.#port;
  }

  /** Listens; throws `ERR_LISTEN` where the port cannot be had. */
  async start(): Promise<void> {
    const server = createServer((request, response) => this.#onRequest(request, response));
    const websockets = new WebSocketServer({ noServer: true, maxPayload: largestFrame, perMessageDeflate: false });
    server.on('connection', (socket: Socket) => this.#onConnection(socket));
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      if (request.headers.upgrade?.toLowerCase() !== 'websocket')
        return serveWithoutUpgrade(server, request, socket, head);
      if (this.#refused.has(socket)) return refuseUpgrade(socket, '429 Too Many Requests');
      if (request.url?.split('?')[0] !== websocketPath) return refuseUpgrade(socket, '404 Not Found');
      websockets.handleUpgrade(request, socket, head, (websocket) => {
        this.#websockets.add(websocket);
        websocket.on('close', () => this.#websockets.delete(websocket));
        const peer = request.socket.remoteAddress ?? '';
        const { silentMs } = this.#settings;
        serveWebsocket(this.#exchange, websocket, this.#nextConnectionId++, peer, { later: this.later, silentMs });
      });
    });
    server.listen(this.#port, host);
    try {
      await once(server, 'listening');
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
      const message = `the port ${this.#port} of ${host} cannot be had${code}`;
      throw new SandboxError('ERR_LISTEN', message, 'choose another one, or 0 for any that is free', cause);
    }
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Cuts every connection and stops to listen. Safe to call twice. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    if (server === null) return;
    const closed = once(server, 'close');
    server.close();
    this.dropConnections();
    await closed;
  }

  /** Sends a frame on every WebSocket connection. */
  broadcast(frame: string): void {
    for (const websocket of this.#websockets) websocket.send(frame);
  }

  /** Cuts every connection, without a word. */
  dropConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** A timer that {@link stop} clears. */
  readonly later = (delayMs: number, action: () => void): void => {
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        action();
      },
      Math.min(delayMs, longestTimerMs),
    );
    this.#timers.add(timer);
  };

  #onConnection(socket: Socket): void {
    if (this.#sockets.has(socket)) return;
    if (this.#isOneTooMany(socket)) this.#refused.add(socket);
    socket.setNoDelay(true);
    this.#sockets.add(socket);
    // Node takes its own listener away from a connection that asks for an upgrade, and a cut would end the process.
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
  }

  #isOneTooMany({ remoteAddress }: Socket): boolean {
    const limit = this.#settings.connectionsPerIp;
    if (limit === null) return false;
    const served = [...this.#sockets].filter((other) => !this.#refused.has(other));
    return served.filter((other) => other.remoteAddress === remoteAddress).length >= limit;
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    if (this.#refused.has(request.socket)) {
      response.writeHead(429, { connection: 'close' }).end();
      return;
    }
    void answerHttp(this.#exchange, request, response, this.later);
  }
}

/**
 * Answers a request that offers another protocol than WebSocket as if it did not (RFC 9110 §7.8): Java's HTTP client offers
 * `h2c` with every first request. The request goes in once more, on the same connection, without the offer.
 */
function serveWithoutUpgrade(server: Server, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const { method, url, httpVersion, rawHeaders } = request;
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? '';
    if (!/^(connection|upgrade|http2-settings)$/i.test(name)) lines.push(`${name}: ${rawHeaders[at + 1]}`);
  }
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]));
  server.emit('connection', socket);
}

function refuseUpgrade(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
}
