import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { SandboxError } from '../core/errors.js';
import type { Exchange } from '../core/exchange.js';
import { answerHttp } from './http.js';
import { longestTimerMs } from './options.js';
import type { ServerCertificate } from './tls.js';
import { serveWebsocket } from './websocket.js';

const host = '127.0.0.1';
const websocketPath = '/ws/api/v2';
/** Far above the 32 kB that get an answer: beyond it the connection is closed with 1009. */
const largestFrame = 16 * 1024 * 1024;

/** HTTP and WebSocket on one port of 127.0.0.1. It can stop and start again on the same port. */
export class SandboxServer {
  readonly #exchange: Exchange;
  readonly #certificate: ServerCertificate | null;
  /** TCP connections, to be cut. */
  readonly #sockets = new Set<Socket>();
  /** Connections that HTTP is spoken on; with TLS these are others than the TCP connections. */
  readonly #served = new Set<Socket>();
  readonly #refused = new WeakSet<Duplex>();
  readonly #websockets = new WebSocketServer({ noServer: true, maxPayload: largestFrame, perMessageDeflate: false });
  readonly #timers = new Set<NodeJS.Timeout>();
  #server: Server | null = null;
  #nextConnectionId = 1;
  #port: number;

  constructor(exchange: Exchange, port: number, certificate: ServerCertificate | null) {
    this.#exchange = exchange;
    this.#port = port;
    this.#certificate = certificate;
  }

  get port(): number {
    return this.#port;
  }

  /** Listens. @throws SandboxError `ERR_LISTEN` where the port cannot be listened on */
  async start(): Promise<void> {
    const certificate = this.#certificate;
    const server: Server =
      certificate === null
        ? createServer(offersOfUpgrade)
        : createTlsServer({ ...offersOfUpgrade, key: certificate.key, cert: certificate.cert });
    const spoken = certificate === null ? 'connection' : 'secureConnection';
    server.on('request', (request, response) => this.#onRequest(request, response));
    server.on('connection', (socket: Socket) => this.#track(socket));
    server.on(spoken, (socket: Socket) => this.#admit(socket));
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      if (!isWebsocketOffer(request)) {
        unshiftWithoutOffer(request, socket, head);
        return server.emit(spoken, socket);
      }
      if (this.#refused.has(socket)) return refuseUpgrade(socket, '429 Too Many Requests');
      if (request.url?.split('?')[0] !== websocketPath) return refuseUpgrade(socket, '404 Not Found');
      this.#websockets.handleUpgrade(request, socket, head, (websocket) => {
        const peer = request.socket.remoteAddress ?? '';
        serveWebsocket(this.#exchange, websocket, { id: this.#nextConnectionId++, peer });
      });
    });
    await listen(server, this.#port);
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Cuts every connection and stops listening. Safe to call twice. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    if (server === null) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    this.dropConnections();
    await closed;
  }

  /** Sends a frame on every WebSocket connection. */
  broadcast(frame: string): void {
    for (const websocket of this.#websockets.clients) websocket.send(frame);
  }

  /** Cuts every connection, without a close frame. */
  dropConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** A timer that {@link stop} clears. */
  later(delayMs: number, action: () => void): void {
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        action();
      },
      Math.min(delayMs, longestTimerMs),
    );
    this.#timers.add(timer);
  }

  #track(socket: Socket): void {
    if (this.#sockets.has(socket)) return;
    socket.setNoDelay(true);
    this.#sockets.add(socket);
    // Node removes its own listener from a connection that asks for an upgrade, and a cut would end the process.
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
  }

  #admit(socket: Socket): void {
    if (this.#served.has(socket) || this.#refused.has(socket)) return;
    socket.on('error', () => undefined);
    if (this.#isOneTooMany(socket)) {
      this.#refused.add(socket);
      return;
    }
    this.#served.add(socket);
    socket.on('close', () => this.#served.delete(socket));
  }

  #isOneTooMany({ remoteAddress }: Socket): boolean {
    const limit = this.#exchange.settings.connectionsPerIp;
    if (limit === null) return false;
    return [...this.#served].filter((other) => other.remoteAddress === remoteAddress).length >= limit;
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    if (this.#refused.has(request.socket)) {
      response.writeHead(429, { connection: 'close' }).end();
      return;
    }
    void answerHttp({ exchange: this.#exchange, request, response });
  }
}

/** @throws SandboxError `ERR_LISTEN` */
async function listen(server: Server, port: number): Promise<void> {
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
    const message = `cannot listen on port ${port} of ${host}${code}`;
    throw new SandboxError('ERR_LISTEN', message, {
      hint: 'choose another one, or end the program that uses it; 0 takes any free port',
      cause,
    });
  }
}

function isWebsocketOffer({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket';
}

/** Since Node 24.9 a server says itself which offers of an upgrade it accepts; older ones ignore the option. */
const offersOfUpgrade: ServerOptions & { readonly shouldUpgradeCallback: (request: IncomingMessage) => boolean } = {
  shouldUpgradeCallback: isWebsocketOffer,
};

/**
 * For Node before 24.9: puts back a request that offers another protocol than WebSocket, without the offer, so that it is
 * answered as if there were none (RFC 9110 §7.8). Java's HTTP client offers `h2c` with every first request.
 */
function unshiftWithoutOffer(request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const { method, url, httpVersion, rawHeaders } = request;
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? '';
    if (!/^(connection|upgrade|http2-settings)$/i.test(name)) lines.push(`${name}: ${rawHeaders[at + 1]}`);
  }
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]));
}

function refuseUpgrade(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
}
