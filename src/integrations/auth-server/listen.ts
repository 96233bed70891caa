import { lstat, rm } from 'node:fs/promises';
import type { Server } from 'node:net';
import { type AddressInfo, connect } from 'node:net';
import { basename, dirname, resolve } from 'node:path';
import { DeribitKeysError } from '../../errors.js';
import { takeLock } from '../../keystore/lock.js';

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
      throw usage(`the path of the socket has more than ${LONGEST_SOCKET_PATH} bytes`, 'choose a shorter one');
    }
    return { kind: 'unix', path: absolute };
  }
  const [, host = '', digits = ''] = /^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (host === '' || port > 65_535) {
    throw usage('the address to listen on cannot be read', 'give 127.0.0.1:PORT (0 for any free port) or unix:PATH');
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
export interface Listening {
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

function started(server: Server, start: () => void, what: string): Promise<void> {
  return new Promise((fulfil, reject) => {
    const onError = (cause: Error) => {
      const code = 'code' in cause ? ` (${String(cause.code)})` : '';
      const hint = 'choose another one, or stop what uses it';
      reject(new DeribitKeysError('ERR_LISTEN', `cannot listen on ${what}${code}`, { cause, hint }));
    };
    server.once('error', onError);
    server.once('listening', () => {
      server.off('error', onError);
      fulfil();
    });
    start();
  });
}

/** Removes a socket that a dead process left; one that somebody listens on stays, and so does any other file. */
async function removeDeadSocket(path: string): Promise<void> {
  const stats = await lstat(path).catch(() => null);
  if (stats?.isSocket() !== true) return;
  const isDead = await new Promise<boolean>((fulfil) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      fulfil(false);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => fulfil(error.code === 'ECONNREFUSED'));
  });
  if (isDead) await rm(path, { force: true });
}

function usage(sentence: string, hint: string): DeribitKeysError {
  return new DeribitKeysError('ERR_USAGE', sentence, { hint });
}
