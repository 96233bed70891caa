import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { methodNotFound } from '../core/errors.js';
import type { Exchange } from '../core/exchange.js';
import { isRecord } from '../core/params.js';
import { readAuthorization } from './authorization.js';
import { gatewayPage, handleRequest, type Outcome, refuse } from './dispatch.js';
import { largestRequest, parseJson, type RequestId, requestId, tooLarge } from './envelope.js';

const basePath = '/api/v2';

/** How the adapter waits out a delay; the server clears what is left when it stops. */
export type Later = (delayMs: number, action: () => void) => void;

/** Answers one HTTP request: GET with a query string, POST of parameters or of a whole envelope. */
export async function answerHttp(
  exchange: Exchange,
  request: IncomingMessage,
  response: ServerResponse,
  later: Later,
): Promise<void> {
  const verb = request.method ?? '';
  const uri = request.url ?? '';
  const url = parseUri(uri);
  const method = url === null ? null : methodOf(url.pathname);
  if (url === null || method === null)
    return send(request, response, later, 404, refuse(exchange, methodNotFound(), 'http'));
  if (verb !== 'GET' && verb !== 'POST') {
    response.setHeader('allow', 'GET, POST');
    return send(request, response, later, 405, refuse(exchange, methodNotFound(), 'http'));
  }
  let id: RequestId = null;
  try {
    const body = await readBody(request);
    if (body === null) throw tooLarge();
    const peer = request.socket.remoteAddress ?? '';
    const loose = verb === 'GET';
    const value = loose ? { method, params: readQuery(url.searchParams) } : readPost(method, body);
    id = requestId(value);
    const credentials = readAuthorization(exchange, request.headers.authorization, { verb, uri, body }, peer);
    const origin = { transport: 'http', connection: null, peer, credentials, loose } as const;
    const outcome = handleRequest(exchange, value, origin);
    send(request, response, later, outcome.isError ? 400 : 200, outcome);
  } catch (error) {
    if (request.complete) send(request, response, later, 400, refuse(exchange, error, 'http', id));
  }
}

function parseUri(uri: string): URL | null {
  return URL.canParse(uri, 'http://localhost') ? new URL(uri, 'http://localhost') : null;
}

/** The method that a path names; empty for the base path, null for a path outside it. */
function methodOf(path: string): string | null {
  if (path === basePath || path === `${basePath}/`) return '';
  return path.startsWith(`${basePath}/`) ? path.slice(basePath.length + 1) : null;
}

/** The body's text; null where it is too large: then it is read to its end all the same, so that the answer is. */
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

/** A whole envelope, or the parameters of the method in the path, which wins over one in the envelope. */
function readPost(method: string, body: string): unknown {
  const value = body.trim() === '' ? {} : parseJson(body);
  if (method === '' || !isRecord(value)) return value;
  const isEnvelope = 'jsonrpc' in value || ('method' in value && 'params' in value);
  return isEnvelope ? { ...value, method } : { method, params: value };
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  later: Later,
  status: number,
  outcome: Outcome,
): void {
  const deliver = () => {
    const text = outcome.stray ?? outcome.text;
    if (outcome.cut) {
      request.socket.destroy();
    } else if (outcome.badGateway) {
      response.writeHead(502, { 'content-type': 'text/html' });
      response.end(gatewayPage);
    } else if (text !== null) {
      if (outcome.hangUp) response.setHeader('connection', 'close');
      response.writeHead(outcome.stray === null ? status : 400, { 'content-type': 'application/json' });
      response.end(text);
    }
  };
  if (outcome.deafMs !== null) stopReading(request.socket, outcome.deafMs, later);
  else if (outcome.delayMs > 0) later(outcome.delayMs, deliver);
  else deliver();
}

function stopReading(socket: Socket, deafMs: number, later: Later): void {
  socket.pause();
  if (Number.isFinite(deafMs)) later(deafMs, () => socket.resume());
}
