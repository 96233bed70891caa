import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer as createProxy } from 'node:http';
import { type AddressInfo, connect, type Server } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { expect, test } from 'vitest';
import { afterTest } from '../support/after-test.js';
import { temporaryFolder } from '../support/cli.js';
import { canRun } from '../support/program.js';
import { next, type World, world } from './support.js';

const hasOpenssl = await canRun('openssl', 'version');
const HOST = 'exchange.example';

async function started(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  afterTest(async () => server.close());
  return (server.address() as AddressInfo).port;
}

/** TLS for a name that no name service knows, under an authority that nobody trusts, before the sandbox. */
async function tlsFront(w: World): Promise<{ readonly port: number; readonly ca: string }> {
  const folder = temporaryFolder();
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const names = ['-subj', '/CN=test', '-addext', `subjectAltName=DNS:${HOST}`];
  execFileSync('openssl', [...request, ...names, '-keyout', key, '-out', cert], { stdio: 'pipe' });
  const ca = readFileSync(cert, 'utf8');
  const server = createTlsServer({ key: readFileSync(key, 'utf8'), cert: ca }, (socket) => {
    const inner = connect(Number(new URL(w.sandbox.httpUrl).port), '127.0.0.1');
    socket.pipe(inner).pipe(socket);
    socket.on('error', () => inner.destroy());
    inner.on('error', () => socket.destroy());
    inner.on('close', () => socket.destroy());
  });
  return { port: await started(server), ca };
}

/** A proxy that knows where the name leads. */
async function proxyTo(port: number): Promise<{ readonly url: string; readonly asked: string[] }> {
  const asked: string[] = [];
  const proxy = createProxy();
  proxy.on('connect', (request, socket) => {
    asked.push(request.url ?? '');
    const inner = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      inner.pipe(socket).pipe(inner);
    });
    socket.on('error', () => inner.destroy());
    inner.on('error', () => socket.destroy());
    inner.on('close', () => socket.destroy());
  });
  return { url: `http://127.0.0.1:${await started(proxy)}`, asked };
}

test.skipIf(!hasOpenssl).each(['wss', 'https'] as const)(
  'a session over %s goes through the proxy of HTTPS_PROXY, trusts a private authority, and survives a cut',
  async (scheme) => {
    const w = await world();
    const { port, ca } = await tlsFront(w);
    const proxy = await proxyTo(port);
    const url = `${scheme}://${HOST}${scheme === 'wss' ? '/ws' : ''}/api/v2`;
    const session = await w.open({ url, ca, env: { HTTPS_PROXY: proxy.url } });
    expect(await session.request('private/get_account_summary', { currency: 'BTC' })).toMatchObject({
      currency: 'BTC',
    });
    if (scheme === 'wss') {
      const back = next(session, 'reconnect');
      w.sandbox.dropConnections();
      await back;
    }
    expect(await session.request('private/get_open_orders')).toEqual([]);
    expect(new Set(proxy.asked)).toEqual(new Set([`${HOST}:443`]));
    await session.close();
  },
);
