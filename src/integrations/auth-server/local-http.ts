import { once } from 'node:events';
import { lstat, rm } from 'node:fs/promises';
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Server } from 'node:net';
import { basename, dirname, resolve } from 'node:path';
import { DeribitKeysError, type ErrorCode, isDeribitKeysError, usageError } from '../../errors.js';
import { errnoOf } from '../../keystore/file-errors.js';
import { requireWritableFolder } from '../../keystore/files.js';
import { takeLock } from '../../keystore/lock.js';
import { parseJsonObject } from '../../util/checks.js';
import { defined } from '../../util/defined.js';

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

const OWN_HOSTS: ReadonlySet<string> = new Set(['127.0.0.1', 'localhost', '[::1]']);

/** Refuses a request under another name than this machine's: a name may have been made to point here (DNS rebinding). */
export function requireOwnHost({ headers, socket }: IncomingMessage, address: ListenAddress): void {
  if (address.kind !== 'tcp') return;
  const [, name, port] = /^(.*):(\d{1,5})$/.exec((headers.host ?? '').toLowerCase()) ?? [];
  const isOwn = name !== undefined && (OWN_HOSTS.has(name) || name === address.host);
  if (!isOwn || port !== String(socket.localPort)) {
    throw new Refusal(403, 'ERR_UNAUTHORIZED', 'the Host header names another host than this one');
  }
}

/** Whether a body follows the headers (RFC 9112, section 6.3). */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
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
    throw new Refusal(415, 'ERR_USAGE', 'the body is not declared as application/json');
  }
  const value = parseJsonObject(text);
  if (typeof value === 'string') throw new Refusal(400, 'ERR_USAGE', `the body ${value}`);
  return value;
}

/** Longer texts are refused. */
const LONGEST_TEXT = 1_024;

/**
 * The fields of a body, each a short text.
 * @throws `ERR_USAGE` for a field that is not in `known`; a `Refusal` for one that is not a short text
 */
export function texts<const Name extends string>(
  body: Readonly<Record<string, unknown>>,
  known: readonly Name[],
): { readonly [K in Name]?: string } {
  const unknown = Object.keys(body).find((name) => !known.some((one) => one === name));
  if (unknown !== undefined) {
    throw usageError('the body has an unknown field', `the fields are: ${known.join(', ')}`);
  }
  for (const [name, value] of Object.entries(body)) {
    if (typeof value !== 'string' || value.length > LONGEST_TEXT) {
      throw new Refusal(400, 'ERR_USAGE', `"${name}" is not a text of at most ${LONGEST_TEXT} characters`);
    }
  }
  return body as { readonly [K in Name]?: string };
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

const MORE_HEADERS: { readonly [status: number]: OutgoingHttpHeaders } = {
  401: { 'www-authenticate': 'Bearer' },
  405: { allow: 'POST' },
};

/** The headers of an answer that nobody may keep. */
const headersOf = (contentType: string, body: string): OutgoingHttpHeaders => ({
  'content-type': contentType,
  'content-length': Buffer.byteLength(body),
  'cache-control': 'no-store',
});

/** Sends JSON. After an error the connection ends: of a body that was too large, the rest is not read. */
export function answer(response: ServerResponse, status: number, value: unknown): void {
  const body = `${JSON.stringify(value)}\n`;
  const headers = headersOf('application/json', body);
  if (status === 200 || status === 503) response.writeHead(status, headers);
  else response.writeHead(status, { ...headers, ...(MORE_HEADERS[status] ?? {}), connection: 'close' });
  response.end(body);
}

/** Sends a text of another type. */
export function answerText(response: ServerResponse, contentType: string, body: string): void {
  response.writeHead(200, headersOf(contentType, body)).end(body);
}

/** Where the server listens: a TCP port (0: any free one), a Unix socket, or a socket that systemd opened for it. */
export type ListenAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'fd'; readonly fd: number };

/** Longest path of a Unix socket on every platform, in bytes (sockaddr_un of macOS). */
const LONGEST_SOCKET_PATH = 103;
/** The first descriptor that systemd passes (sd_listen_fds(3)). */
const FIRST_PASSED_FD = 3;

const LOOPBACK = /^(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|localhost|::1)$/;

/** Whether only this machine can connect to the address; what systemd opened is known once it listens. */
export function isLocal(address: ListenAddress): boolean {
  return address.kind !== 'tcp' || LOOPBACK.test(address.host);
}

/**
 * Reads `HOST:PORT`, `[IPv6]:PORT` or `unix:PATH`.
 * @throws `ERR_USAGE` for anything else
 */
export function parseListen(text: string): ListenAddress {
  const path = /^unix:(.+)$/s.exec(text)?.[1];
  if (path !== undefined) {
    const absolute = resolve(path);
    if (Buffer.byteLength(absolute) > LONGEST_SOCKET_PATH) {
      throw usageError(`the path of the socket has more than ${LONGEST_SOCKET_PATH} bytes`, 'choose a shorter one');
    }
    return { kind: 'unix', path: absolute };
  }
  const [, host = '', digits = ''] = /^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (host === '' || port > 65_535) {
    throw usageError('the address to listen on is not valid', 'give 127.0.0.1:PORT (0 for any free port) or unix:PATH');
  }
  return { kind: 'tcp', host: host.replace(/[[\]]/g, ''), port };
}

/** The socket that systemd passed to this process (LISTEN_PID, LISTEN_FDS), or null. */
export function passedSocket(
  env: Readonly<Record<string, string | undefined>>,
  pid = process.pid,
): ListenAddress | null {
  const isForUs = Number(env.LISTEN_PID) === pid && Number(env.LISTEN_FDS) >= 1;
  return isForUs ? { kind: 'fd', fd: FIRST_PASSED_FD } : null;
}

/** Where a server listens. */
interface Listening {
  /** `http(s)://HOST:PORT`, `unix:PATH`, or `fd:3` for a Unix socket that systemd opened. */
  readonly url: string;
  /** The address, with the port that was free; that of a socket that systemd opened is its real one. */
  readonly address: ListenAddress;
}

/**
 * Starts to listen.
 * @throws `ERR_LISTEN` where the port or the path is taken or cannot be listened on
 */
export async function listen(server: Server, address: ListenAddress, scheme: 'http' | 'https'): Promise<Listening> {
  if (address.kind === 'fd') {
    await started(server, () => server.listen({ fd: address.fd }), `the socket of systemd (descriptor ${address.fd})`);
    const bound = server.address();
    // of a Unix socket that was opened elsewhere, Node.js does not know the path
    return bound === null || typeof bound === 'string'
      ? { url: `fd:${address.fd}`, address }
      : tcpAt(bound.address, bound.port, scheme);
  }
  if (address.kind === 'unix') {
    const { path } = address;
    await requireWritableFolder(path);
    // of several servers that find a dead socket, one replaces it at a time
    const lock = await takeLock(dirname(path), basename(path), { waitMs: 10_000, what: `the socket ${path}` });
    try {
      await removeDeadSocket(path);
      await started(server, () => listenPrivately(server, path), `the socket ${path}`);
    } finally {
      await lock.release();
    }
    return { url: `unix:${path}`, address };
  }
  const { host, port } = address;
  await started(server, () => server.listen(port, host), `port ${port} of ${host}`);
  return tcpAt(host, (server.address() as AddressInfo).port, scheme);
}

function tcpAt(host: string, port: number, scheme: string): Listening {
  const url = `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
  return { url, address: { kind: 'tcp', host, port } };
}

/** The socket is created during the call of `listen`: nobody else can open it, even for a moment. */
function listenPrivately(server: Server, path: string): void {
  const before = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(before);
  }
}

async function started(server: Server, start: () => void, what: string): Promise<void> {
  const listening = once(server, 'listening');
  start();
  await listening.catch((cause: unknown) => {
    const code = errnoOf(cause) === '' ? '' : ` (${errnoOf(cause)})`;
    const hint = 'choose another one, or stop what uses it';
    throw new DeribitKeysError('ERR_LISTEN', `cannot listen on ${what}${code}`, { cause, hint });
  });
}

/** Removes a socket that a dead process left; one that somebody listens on stays, and so does any other file. */
async function removeDeadSocket(path: string): Promise<void> {
  const stats = await lstat(path).catch(() => null);
  if (stats?.isSocket() !== true) return;
  const probe = connect(path);
  const isDead = await once(probe, 'connect').then(
    () => false,
    (error: unknown) => errnoOf(error) === 'ECONNREFUSED',
  );
  probe.destroy();
  if (isDead) await rm(path, { force: true });
}
