import type { IncomingMessage, ServerResponse } from 'node:http';
import { DeribitKeysError, type ErrorCode, isDeribitKeysError } from '../../errors.js';
import { defined } from '../../util/defined.js';
import type { ListenAddress } from './listen.js';

/** Far more than any request here needs. */
const LARGEST_BODY = 8_192;
/** What browsers send along, and programs do not (Node's fetch sends `sec-fetch-mode`). */
const OF_BROWSERS = ['origin', 'sec-fetch-site'] as const;

/** A request that is refused before anything is done for it. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: ErrorCode;

  constructor(status: number, code: ErrorCode, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Refuses what comes from a web page, which a browser's headers show. */
export function refuseBrowsers({ headers }: IncomingMessage): void {
  if (OF_BROWSERS.some((name) => headers[name] !== undefined)) {
    throw new Refusal(403, 'ERR_UNAUTHORIZED', 'browsers are not served here');
  }
}

/** Refuses a request under another name than this machine's: a name may have been made to point here (DNS rebinding). */
export function requireOwnHost({ headers, socket }: IncomingMessage, address: ListenAddress): void {
  if (address.kind !== 'tcp') return;
  const port = socket.localPort;
  const own = [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`, `${address.host}:${port}`];
  if (!own.includes((headers.host ?? '').toLowerCase())) {
    throw new Refusal(403, 'ERR_UNAUTHORIZED', 'the Host header names another host than this one');
  }
}

/** Not every runtime ends a request that stops half-way. */
const BODY_MS = 5_000;

/** The body as a JSON object; an empty one counts as `{}`. */
export async function readJson(request: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  const chunks: Buffer[] = [];
  let length = 0;
  const timer = setTimeout(() => request.destroy(), BODY_MS);
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > LARGEST_BODY) throw new Refusal(413, 'ERR_USAGE', `the body has more than ${LARGEST_BODY} bytes`);
      chunks.push(chunk);
    }
  } finally {
    clearTimeout(timer);
  }
  const text = Buffer.concat(chunks).toString('utf8').trim();
  if (text === '') return {};
  if (!/^application\/json\s*(;|$)/i.test(request.headers['content-type'] ?? '')) {
    throw new Refusal(415, 'ERR_USAGE', 'the body is not said to be application/json');
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Refusal(400, 'ERR_USAGE', 'the body is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Refusal(400, 'ERR_USAGE', 'the body is not a JSON object');
  }
  return value as Readonly<Record<string, unknown>>;
}

/** The status, the code and the document for an error. */
export function refusalOf(error: unknown): {
  readonly status: number;
  readonly code: ErrorCode;
  readonly document: unknown;
} {
  if (error instanceof Refusal) return { status: error.status, code: error.code, document: documentOf(error) };
  if (!isDeribitKeysError(error)) {
    const internal = new DeribitKeysError('ERR_INTERNAL', 'something went wrong inside the server');
    return { status: 500, code: internal.code, document: documentOf(internal) };
  }
  return { status: error.code === 'ERR_USAGE' ? 400 : 502, code: error.code, document: documentOf(error) };
}

function documentOf({ code, message, hint }: { code: ErrorCode; message: string; hint?: string | undefined }): unknown {
  return { error: defined({ code, message, hint }) };
}

/** Sends JSON that nobody may keep. After an error the connection ends: of a body that was too large, the rest is not read. */
export function answer(response: ServerResponse, status: number, value: unknown): void {
  const body = `${JSON.stringify(value)}\n`;
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    ...(status === 405 ? { allow: 'POST' } : {}),
    ...(status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
    ...(status === 200 || status === 503 ? {} : { connection: 'close' }),
  });
  response.end(body);
}

/** Sends a text of another type. */
export function answerText(response: ServerResponse, contentType: string, body: string): void {
  response.writeHead(200, {
    'content-type': contentType,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
  });
  response.end(body);
}
