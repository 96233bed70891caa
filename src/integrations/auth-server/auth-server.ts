import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https';
import { type AuthParamsOptions, buildAuthParams } from '../../deribit/auth.js';
import { parseScope } from '../../deribit/scope.js';
import { usageError } from '../../errors.js';
import { type Client, clientOf, narrowedScope } from './clients.js';
import {
  answer,
  answerText,
  hasBody,
  isLocal,
  type ListenAddress,
  listen,
  Refusal,
  readJson,
  refusalOf,
  refuseBrowsers,
  requireOwnHost,
  texts,
} from './local-http.js';
import { type Metrics, noMetrics } from './metrics.js';
import { bearerOf, hashOf, isSameHash } from './secret-file.js';
import { KeyServer, type ServedKey, type TokenSharing } from './served-key.js';

/** One answered request, for a log; it holds no secret. */
export interface RequestEntry {
  /** ISO 8601, UTC. */
  readonly time: string;
  /** Null for a request without a valid secret. */
  readonly client: string | null;
  readonly method: string;
  /** The path without a query. */
  readonly path: string;
  readonly status: number;
  /** The code of a refusal, or null. */
  readonly error: string | null;
  readonly ms: number;
}

/** Certificate and key of the server, and the authorities that clients' certificates must come from; PEM. */
export interface TlsOptions {
  readonly cert: string;
  readonly key: string;
  readonly clientCa?: string | undefined;
}

interface AuthServerOptions extends TokenSharing {
  readonly keys: readonly ServedKey[];
  readonly address: ListenAddress;
  /** What the operator's own programs present as `Authorization: Bearer`: all keys, all scopes, and `/metrics`. */
  readonly secret: string;
  readonly clients?: readonly Client[] | undefined;
  readonly tls?: TlsOptions | undefined;
  readonly metrics?: Metrics | undefined;
  /** A port of its own for `/metrics`, which then needs no secret, and for probes, which need no certificate there. */
  readonly metricsAddress?: ListenAddress | undefined;
  readonly onRequest?: ((entry: RequestEntry) => void) | undefined;
}

interface AuthServer {
  /** `http(s)://HOST:PORT`, `unix:PATH`, or `fd:3` for a Unix socket that systemd opened. */
  readonly url: string;
  readonly metricsUrl: string | null;
  /** Takes other clients or certificates from now on; requests under way are not touched. */
  reload(change: { readonly clients?: readonly Client[] | undefined; readonly tls?: TlsOptions | undefined }): void;
  /** Accepts no more requests, answers those under way for up to `drainMs`, and ends. */
  close(options?: { readonly drainMs?: number }): Promise<void>;
}

/** Requests are small: one that is incomplete after this long gives its connection back to others. */
const PATIENCE = {
  headersTimeout: 2_000,
  requestTimeout: 5_000,
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 1_000,
} as const;

const MAX_CONNECTIONS = 2_048;
const DRAIN_MS = 10_000;
/** How long a server that ends waits for connections whose request has not begun, or not got as far as its headers. */
const LATECOMER_MS = 500;
/** How long a probe waits for the exchange. */
const PROBE_MS = 5_000;

/** What may be asked of signed parameters. A timestamp may not: signatures are good for now, not for later. */
const PARAMS = ['nonce', 'data', 'scope', 'state'] as const;

/** The operator's own secret. */
const OWNER: Omit<Client, 'secretHash'> = { name: 'owner', keys: null, scopes: null };

/**
 * Hands out signed `public/auth` parameters and valid access tokens to programs that present a secret.
 *
 *     POST /v1/<name>/auth-params  {nonce?, data?, scope?, state?}  ->  the parameters of `public/auth`
 *     POST /v1/<name>/token        {scope?, refused?}               ->  {accessToken, expiresAt, scope}
 *     GET  /healthz                                                 ->  {ok: true}, without a secret
 *     GET  /readyz                                                  ->  {ready, keys}, without a secret; 503 if not ready
 *     GET  /metrics                                                 ->  in Prometheus' text format
 *
 * Errors are `{"error": {"code", "message", "hint"?}}`: 400 for a bad request, 401 without a secret, 403 from a browser,
 * under an unknown `Host`, or for a key or scope that the client may not have, 404, 405, 413, 415; 502 where the exchange
 * refuses or cannot be reached.
 * @throws `ERR_LISTEN` where the address is taken; `ERR_USAGE` for an address that other machines reach without TLS
 */
export async function startAuthServer(options: AuthServerOptions): Promise<AuthServer> {
  const { keys, address, store, whenAway, onNote, metrics = noMetrics, metricsAddress, onRequest } = options;
  requireTls(address, options.tls);
  const keyServers = new Map(keys.map((key) => [key.name, new KeyServer(key, { store, whenAway, onNote, metrics })]));
  const secretHash = hashOf(options.secret);
  let clients = options.clients ?? [];
  let draining = false;
  let bound = address;
  const underWay = new Set<ServerResponse>();

  function authenticated(request: IncomingMessage): Omit<Client, 'secretHash'> {
    const hash = hashOf(bearerOf(request.headers.authorization));
    const client = isSameHash(hash, secretHash) ? OWNER : clientOf(clients, hash);
    if (client === null) throw new Refusal(401, 'ERR_UNAUTHORIZED', 'the bearer secret is missing or wrong');
    return client;
  }

  async function handle(request: IncomingMessage, response: ServerResponse, seen: { client: string | null }) {
    refuseBrowsers(request);
    if (isLocal(bound)) requireOwnHost(request, bound);
    const path = pathOf(request);
    if (isProbe(path)) return answerProbe(request, response);
    const client = authenticated(request);
    seen.client = client.name;
    if (path === '/metrics') {
      onlyGet(request);
      if (client.name !== OWNER.name) throw notHere();
      return answerText(response, metrics.contentType, await metrics.render());
    }
    const [, name = '', what] = /^\/v1\/([^/?]+)\/(auth-params|token)$/.exec(request.url ?? '') ?? [];
    const keyServer = keyServers.get(name);
    if (keyServer === undefined) throw notHere();
    if (request.method !== 'POST') throw new Refusal(405, 'ERR_USAGE', 'only POST is accepted here');
    if (client.keys !== null && !client.keys.includes(name)) {
      throw new Refusal(403, 'ERR_UNAUTHORIZED', 'this client may not use this key');
    }
    const body = hasBody(request) ? await readJson(request) : {};
    answer(response, 200, await (what === 'token' ? tokenOf : paramsOf)(keyServer, client, body));
  }

  /** Answers a probe, which needs no secret. */
  async function answerProbe(request: IncomingMessage, response: ServerResponse): Promise<void> {
    onlyGet(request);
    if (pathOf(request) === '/healthz') return answer(response, 200, { ok: true });
    const status = await readiness();
    const ready = status.ready && !draining;
    answer(response, ready ? 200 : 503, { ...status, ready });
  }

  async function readiness() {
    const all = Promise.all([...keyServers.values()].map((keyServer) => keyServer.status()));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), PROBE_MS);
    });
    const statuses = await Promise.race([all, late]).finally(() => clearTimeout(timer));
    if (statuses !== null) return { ready: statuses.every(({ ready }) => ready), keys: statuses };
    const waiting = { ready: false, lastLoginAt: null, tokenExpiresInS: null, error: 'ERR_TIMEOUT' };
    return { ready: false, keys: keys.map(({ name }) => ({ name, ...waiting })) };
  }

  function onHttp(request: IncomingMessage, response: ServerResponse): void {
    const startMs = performance.now();
    const seen: { client: string | null } = { client: null };
    let code: string | null = null;
    underWay.add(response);
    if (draining) response.setHeader('connection', 'close');
    response.on('close', () => {
      underWay.delete(response);
      const ms = Math.round((performance.now() - startMs) * 1_000) / 1_000;
      const { statusCode: status } = response;
      metrics.request({ client: seen.client ?? '', route: routeOf(request), status, ms });
      if (onRequest === undefined) return;
      const [method, path] = [request.method ?? '', pathOf(request)];
      onRequest({ time: new Date().toISOString(), client: seen.client, method, path, status, error: code, ms });
    });
    handle(request, response, seen).catch((error: unknown) => {
      const refusal = refusalOf(error);
      code = refusal.code;
      if (!response.headersSent) answer(response, refusal.status, refusal.document);
    });
  }

  const settings = { maxHeaderSize: 8_192, ...PATIENCE };
  const { tls } = options;
  const server = tls
    ? createHttpsServer({ ...settings, ...contextOf(tls) }, onHttp)
    : createHttpServer(settings, onHttp);
  server.maxConnections = MAX_CONNECTIONS;
  const listening = await listen(server, address, tls ? 'https' : 'http');
  const { url } = listening;
  bound = listening.address;
  const metricsServer = metricsAddress === undefined ? null : openServer(metrics, answerProbe);
  let metricsUrl: string | null = null;
  try {
    requireTls(bound, tls);
    if (metricsServer !== null && metricsAddress !== undefined) {
      metricsUrl = (await listen(metricsServer, metricsAddress, 'http')).url;
    }
  } catch (error) {
    server.close();
    throw error;
  }
  return {
    url,
    metricsUrl,
    reload(change) {
      if (change.clients !== undefined) clients = change.clients;
      if (change.tls !== undefined && tls !== undefined)
        (server as HttpsServer).setSecureContext(contextOf(change.tls));
    },
    async close({ drainMs = DRAIN_MS } = {}) {
      draining = true;
      // a busy client would keep its connection until it is cut in the middle of a request
      for (const response of underWay) if (!response.headersSent) response.setHeader('connection', 'close');
      const closed = Promise.all([server, metricsServer].map((one) => one && new Promise((done) => one.close(done))));
      server.closeIdleConnections();
      metricsServer?.closeAllConnections();
      const force = setTimeout(() => server.closeAllConnections(), drainMs);
      const latecomers = setInterval(() => underWay.size === 0 && server.closeAllConnections(), LATECOMER_MS);
      await closed;
      clearTimeout(force);
      clearInterval(latecomers);
      await store.close();
    },
  };
}

function requireTls(address: ListenAddress, tls: TlsOptions | undefined): void {
  if (isLocal(address) || tls !== undefined) return;
  throw usageError(
    'other machines can reach this address, and it has no TLS',
    'listen on 127.0.0.1:PORT or unix:PATH, or give --tls-cert and --tls-key',
  );
}

const contextOf = ({ cert, key, clientCa }: TlsOptions) => ({
  cert,
  key,
  minVersion: 'TLSv1.2' as const,
  ...(clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: true }),
});

function pathOf({ url = '' }: IncomingMessage): string {
  const end = url.indexOf('?');
  return end < 0 ? url : url.slice(0, end);
}

const notHere = () => new Refusal(404, 'ERR_NO_SUCH_NAME', 'there is no such key or path');

/** A label of few values: names that were made up by a client must not become labels. */
function routeOf(request: IncomingMessage): string {
  const path = pathOf(request);
  if (isProbe(path) || path === '/metrics') return path.slice(1);
  return /^\/v1\/[^/]+\/(auth-params|token)$/.exec(path)?.[1] ?? 'other';
}

const isProbe = (path: string) => path === '/healthz' || path === '/readyz';

function onlyGet(request: IncomingMessage): void {
  if (request.method === 'GET' || request.method === 'HEAD') return;
  throw new Refusal(405, 'ERR_USAGE', 'only GET is accepted here');
}

/** What needs neither a secret nor a client's certificate: probes and metrics. */
function openServer(metrics: Metrics, answerProbe: Handler) {
  const handle: Handler = async (request, response) => {
    if (isProbe(pathOf(request))) return answerProbe(request, response);
    if (pathOf(request) !== '/metrics' || request.method !== 'GET') throw notHere();
    answerText(response, metrics.contentType, await metrics.render());
  };
  return createHttpServer(PATIENCE, (request, response) => {
    handle(request, response).catch((error: unknown) => {
      const { status, document } = refusalOf(error);
      if (!response.headersSent) answer(response, status, document);
    });
  });
}

type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

type Body = Readonly<Record<string, unknown>>;
type Allowed = Pick<Client, 'scopes'>;

async function tokenOf(keyServer: KeyServer, { scopes }: Allowed, body: Body): Promise<unknown> {
  const { scope: asked, refused } = texts(body, ['scope', 'refused']);
  const scope = narrowedScope(asked, scopes);
  if (scope === null)
    throw new Refusal(403, 'ERR_UNAUTHORIZED', 'this client may not have any of the scope that it asks for');
  const { accessToken, expiresAtMs, scope: granted } = await keyServer.token(scope, refused);
  return { accessToken, expiresAt: new Date(expiresAtMs).toISOString(), scope: granted };
}

/** A signature does not cover the scope: whoever has one may send it with any scope that the key allows. */
async function paramsOf(keyServer: KeyServer, { scopes }: Allowed, body: Body): Promise<unknown> {
  if (scopes !== null) {
    throw new Refusal(
      403,
      'ERR_UNAUTHORIZED',
      'the scopes of this client are limited, which signed parameters cannot express: ask for a token',
    );
  }
  const options: AuthParamsOptions = texts(body, PARAMS);
  if (options.scope !== undefined) parseScope(options.scope);
  const { credentials } = await keyServer.login();
  return buildAuthParams(await credentials(), { ...options, timestampMs: Math.round(keyServer.key.timestampMs()) });
}
