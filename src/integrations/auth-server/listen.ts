import { lstat, rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { resolve } from 'node:path';
import { DeribitKeysError } from '../../errors.js';

/** Where a local server listens: a port of loopback (0: any free one), or a Unix socket. */
export type ListenAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

/** Longest path of a Unix socket on every platform, in bytes (sockaddr_un of macOS). */
const LONGEST_SOCKET_PATH = 103;

/** Reads `127.0.0.1:PORT`, `localhost:PORT`, `[::1]:PORT` or `unix:PATH`. Throws `ERR_USAGE` for anything else. */
export function parseListen(text: string): ListenAddress {
  const path = /^unix:(.+)$/s.exec(text)?.[1];
  if (path !== undefined) {
    const whole = resolve(path);
    if (Buffer.byteLength(whole) > LONGEST_SOCKET_PATH) {
      throw usage(`the path of the socket has more than ${LONGEST_SOCKET_PATH} bytes`, 'choose a shorter one');
    }
    return { kind: 'unix', path: whole };
  }
  const [, host = '', digits = ''] = /^(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|localhost|\[::1\]):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (host === '' || port > 65_535) {
    throw usage(
      'the address to listen on is not one of this machine alone',
      'give 127.0.0.1:PORT (0 for any free port) or unix:PATH',
    );
  }
  return { kind: 'tcp', host: host.replace(/[[\]]/g, ''), port };
}

/** Starts to listen; gives the URL. Throws `ERR_LISTEN` where the port or the path is taken or cannot be listened on. */
export async function listen(server: Server, address: ListenAddress): Promise<string> {
  if (address.kind === 'unix') {
    await removeDeadSocket(address.path);
    await started(server, () => listenPrivately(server, address.path), `the socket ${address.path}`);
    return `unix:${address.path}`;
  }
  const { host, port } = address;
  await started(server, () => server.listen(port, host), `port ${port} of ${host}`);
  const { port: given } = server.address() as AddressInfo;
  return `http://${host.includes(':') ? `[${host}]` : host}:${given}`;
}

/** The socket is made when `listen` is called: nobody else can open it even for a moment. */
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

/** A socket that a dead process has left is in the way; one that somebody listens on stays, and so does any other file. */
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
