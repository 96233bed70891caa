import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Credentials, isUsable, keyBySecret, knownKey } from '../core/access.js';
import { invalidCredentials, methodNotFound } from '../core/errors.js';
import type { Exchange } from '../core/exchange.js';
import { isRecord } from '../core/params.js';
import { hmacHex, isTimely, sameText } from '../core/signature.js';
import { gatewayPage, handleRequest, type Outcome, refuse, stopReading } from './dispatch.js';
import { largestRequest, parseJson, type RequestId, requestId, tooLarge } from './requests.js';

const basePath = '/api/v2';
const anyHost = 'http://localhost';

interface Exchanged {
  readonly exchange: Exchange;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** Answers one HTTP request: GET with a query string or a body, POST of parameters or of an envelope. */
export async function answerHttp(exchanged: Exchanged): Promise<void> {
  const { exchange, request, response } = exchanged;
  const { corsOrigin } = exchange.settings;
  const verb = request.method ?? '';
  const uri = request.url ?? '';
  const url = URL.canParse(uri, anyHost) ? new URL(uri, anyHost) : null;
  const method = url === null ? null : methodOf(url.pathname);
  if (corsOrigin !== null) allowOrigin(response, corsOrigin);
  if (url === null || method === null)
    return send(exchanged, refuse(exchange, methodNotFound(), { connection: null }), 404);
  if (verb === 'OPTIONS' && corsOrigin !== null) {
    response.writeHead(204).end();
    return;
  }
  if (verb !== 'GET' && verb !== 'POST') {
    response.setHeader('allow', 'GET, POST');
    return send(exchanged, refuse(exchange, methodNotFound(), { connection: null }), 405);
  }
  let id: RequestId = null;
  try {
    const body = await readBody(request);
    if (body === null) throw tooLarge();
    const peer = request.socket.remoteAddress ?? '';
    const loose = verb === 'GET' && body.trim() === '';
    const value = loose ? { method, params: readQuery(url.searchParams) } : readPost(method, body);
    id = requestId(value);
    const credentials = readAuthorization(exchange, request.headers.authorization, { verb, uri, body, peer });
    const origin = { connection: null, peer, credentials, loose };
    send(exchanged, handleRequest(exchange, value, origin));
  } catch (error) {
    if (request.complete) send(exchanged, refuse(exchange, error, { connection: null, id }));
  }
}

/** CORS (https://fetch.spec.whatwg.org/#http-cors-protocol), the preflight included. */
function allowOrigin(response: ServerResponse, origin: string): void {
  response.setHeader('access-control-allow-origin', origin);
  response.setHeader('access-control-allow-methods', 'GET, POST');
  response.setHeader('access-control-allow-headers', 'authorization, content-type');
  if (origin !== '*') response.setHeader('vary', 'origin');
}

/** The method that a path names; empty for the base path, null for a path outside it. */
function methodOf(path: string): string | null {
  if (path === basePath || path === `${basePath}/`) return '';
  return path.startsWith(`${basePath}/`) ? path.slice(basePath.length + 1) : null;
}

/** The body's text; null where it is too large: it is still read to its end, so that the client reads the answer. */
async function readBody(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length <= largestRequest) chunks.push(chunk);
  }
  return length > largestRequest ? null : Buffer.concat(chunks).toString();
}

/** `a=1&ids[]=x&ids[]=y`: a name with brackets is a list. */
function readQuery(query: URLSearchParams): Readonly<Record<string, unknown>> {
  const params = Object.create(null) as Record<string, string | string[]>;
  for (const [name, value] of query) {
    if (!name.endsWith('[]')) {
      params[name] = value;
      continue;
    }
    const list = params[name.slice(0, -2)];
    params[name.slice(0, -2)] = Array.isArray(list) ? [...list, value] : [value];
  }
  return { ...params };
}

/** An envelope, or the parameters of the method in the path, which wins over one in the envelope. */
function readPost(method: string, body: string): unknown {
  const value = body.trim() === '' ? {} : parseJson(body);
  if (method === '' || !isRecord(value)) return value;
  const isEnvelope = 'jsonrpc' in value || ('method' in value && 'params' in value);
  return isEnvelope ? { ...value, method } : { method, params: value };
}

/** @param refusedWith the status of a request outside the API, by its path or verb */
function send({ exchange, request, response }: Exchanged, outcome: Outcome, refusedWith?: number): void {
  const deliver = () => {
    const text = outcome.stray ?? outcome.text;
    if (outcome.cut) {
      request.socket.destroy();
    } else if (outcome.badGateway) {
      response.writeHead(502, { 'content-type': 'text/html' });
      response.end(gatewayPage);
    } else if (text !== null) {
      if (outcome.hangUp) response.setHeader('connection', 'close');
      response.writeHead(refusedWith ?? statusOf(exchange, outcome), { 'content-type': 'application/json' });
      response.end(text);
    }
  };
  if (outcome.deafMs !== null) stopReading(exchange, request.socket, outcome.deafMs);
  else if (outcome.delayMs > 0) exchange.control.later(outcome.delayMs, deliver);
  else deliver();
}

function statusOf({ settings }: Exchange, { errorCode, stray }: Outcome): number {
  if (stray !== null) return 400;
  return errorCode === null ? 200 : errorCode === 13_009 ? settings.unauthorizedStatus : 400;
}

/** The parts of an HTTP request that its signature covers, and who sent it. */
interface SentRequest {
  readonly verb: string;
  /** Path and query as they were sent. */
  readonly uri: string;
  readonly body: string;
  readonly peer: string;
}

/** Who an `Authorization` header names: Bearer, Basic or `deri-hmac-sha256`. @throws RpcError 13004 for a wrong secret */
function readAuthorization(exchange: Exchange, header: string | undefined, sent: SentRequest): Credentials {
  if (header === undefined) return { kind: 'none' };
  const [, scheme = '', rest = ''] = /^([A-Za-z0-9-]+)\s+(.+)$/.exec(header.trim()) ?? [];
  switch (scheme.toLowerCase()) {
    case 'bearer':
      return { kind: 'token', accessToken: rest };
    case 'basic': {
      const [, id = '', secret = ''] = /^([^:]*):(.*)$/.exec(Buffer.from(rest, 'base64').toString()) ?? [];
      return { kind: 'key', key: keyBySecret(exchange, { clientId: id, secret }, sent.peer) };
    }
    case 'deri-hmac-sha256':
      return signedRequest(exchange, rest, sent);
    default:
      return { kind: 'bad' };
  }
}

/**
 * `id=…,ts=…,sig=…,nonce=…` in any order; the signature is over `ts\nnonce\nVERB\nURI\nbody\n`. Clients send several
 * requests in one millisecond with one nonce, so only the same signature counts as a replay.
 */
function signedRequest(exchange: Exchange, text: string, { verb, uri, body, peer }: SentRequest): Credentials {
  const fields = new Map(
    text.split(',').map((field): [string, string] => {
      const at = field.indexOf('=');
      return [field.slice(0, Math.max(0, at)).trim(), field.slice(at + 1).trim()];
    }),
  );
  const { id = '', ts = '', sig = '', nonce = '' } = Object.fromEntries(fields);
  const key = knownKey(exchange, id);
  const timestampMs = /^\d{1,15}$/.test(ts) ? Number(ts) : Number.NaN;
  const nowMs = exchange.now();
  if (
    key === undefined ||
    key.publicKey !== null ||
    !isTimely(timestampMs, nowMs) ||
    !sameText(hmacHex(key.secret, `${ts}\n${nonce}\n${verb}\n${uri}\n${body}\n`), sig) ||
    !isUsable(key, peer) ||
    !exchange.replays.add({ clientId: id, timestampMs, nonce: `${nonce}\n${sig}` }, nowMs)
  ) {
    throw invalidCredentials();
  }
  return { kind: 'key', key };
}
