import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createProxy } from 'node:http';
import { type AddressInfo, connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { connect } from '../../src/deribit/connect.js';
import { proxyFor } from '../../src/deribit/connect-options.js';
import { type Endpoint, resolveEndpoint } from '../../src/deribit/endpoints.js';
import { openHttp } from '../../src/deribit/http-transport.js';
import { openWebSocket } from '../../src/deribit/websocket-transport.js';
import { failure, local, shown, tcpServer, unusedPort } from './servers.js';
import { hasOpenssl, selfSigned, tlsExchange } from './tls.js';

/** A proxy that tunnels, and tells what it was asked for. */
async function proxy(login?: string) {
  const tunnels: string[] = [];
  const server = createProxy();
  server.on('connect', (request, socket, head) => {
    tunnels.push(request.url ?? '');
    const wanted = login === undefined ? undefined : `Basic ${Buffer.from(login).toString('base64')}`;
    if (request.headers['proxy-authorization'] !== wanted) {
      socket.end('HTTP/1.1 407 Login\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    const [host = '', port = ''] = (request.url ?? '').split(':');
    const onward = connectTcp(Number(port), host, () => {
      socket.write('HTTP/1.1 200 Go\r\n\r\n');
      onward.write(head);
      onward.pipe(socket).pipe(onward);
    });
    onward.on('error', () => socket.destroy());
    socket.on('error', () => onward.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { tunnels, at: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

const secure = (scheme: 'wss' | 'https', port: number): Endpoint =>
  resolveEndpoint({ url: `${scheme}://127.0.0.1:${port}` });

/** One question over the transport that the URL asks for. */
async function ask(endpoint: Endpoint, options: Parameters<typeof connect>[1]): Promise<unknown> {
  const transport = await connect(endpoint, options);
  try {
    return await transport.request('public/test');
  } finally {
    await transport.close();
  }
}

describe.each(['wss', 'https'] as const)('over %s', (scheme) => {
  it.skipIf(!hasOpenssl)(
    'a private authority is trusted where it is given, and only there (needs openssl)',
    async () => {
      const pair = selfSigned('IP:127.0.0.1');
      const endpoint = secure(scheme, await tlsExchange(pair));
      expect(await ask(endpoint, { ca: pair.cert })).toBe('over TLS');
      const error = await failure(ask(endpoint, {}), 'ERR_NETWORK');
      expect(error).toMatchObject({ maybeSent: false, message: expect.stringContaining('certificate') });
      await failure(ask(endpoint, { ca: selfSigned('IP:127.0.0.1').cert }), 'ERR_NETWORK');
    },
  );

  it.skipIf(!hasOpenssl)('it is trusted beside those of NODE_EXTRA_CA_CERTS (needs openssl)', async () => {
    const [pair, other] = [selfSigned('IP:127.0.0.1'), selfSigned('IP:127.0.0.1')];
    const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-tls-'));
    onTestFinished(() => {
      vi.unstubAllEnvs();
      rmSync(folder, { recursive: true });
    });
    const file = join(folder, 'extra.pem');
    writeFileSync(file, `# a comment\n${pair.cert}`);
    const endpoint = secure(scheme, await tlsExchange(pair));
    await failure(ask(endpoint, { ca: other.cert }), 'ERR_NETWORK');
    vi.stubEnv('NODE_EXTRA_CA_CERTS', file);
    expect(await ask(endpoint, { ca: other.cert })).toBe('over TLS');
    vi.stubEnv('NODE_EXTRA_CA_CERTS', join(folder, 'missing.pem'));
    await failure(ask(endpoint, { ca: other.cert }), 'ERR_NETWORK');
  });

  it.skipIf(!hasOpenssl)('a certificate for another name is refused (needs openssl)', async () => {
    const pair = selfSigned('DNS:other.example');
    const error = await failure(ask(secure(scheme, await tlsExchange(pair)), { ca: pair.cert }), 'ERR_NETWORK');
    expect(error).toMatchObject({ maybeSent: false, message: expect.stringContaining('ALTNAME') });
  });

  it.skipIf(!hasOpenssl)('a proxy is gone through, with its login (needs openssl)', async () => {
    const pair = selfSigned('DNS:localhost');
    const port = await tlsExchange(pair);
    const endpoint = resolveEndpoint({ url: `${scheme}://localhost:${port}` });
    const { tunnels, at } = await proxy('user:canary-pass');
    const options = { ca: pair.cert, proxy: `http://user:canary-pass@${at}` };
    expect(await ask(endpoint, options)).toBe('over TLS');
    expect(tunnels).toEqual([`localhost:${port}`]);
    const wrong = { ca: pair.cert, proxy: `http://user:canary-other@${at}` };
    const error = await failure(ask(endpoint, wrong), 'ERR_NETWORK');
    expect(error.message).toContain(
      `through the proxy ${at}) is behind a proxy that requires a login (HTTP status 407)`,
    );
    expect(error.maybeSent).toBe(false);
    expect(shown(error)).not.toContain('canary');
  });

  it('a proxy that is not there is named, without its login', async () => {
    const port = await unusedPort();
    const error = await failure(
      ask(secure(scheme, 8443), { proxy: `http://user:canary@127.0.0.1:${port}` }),
      'ERR_NETWORK',
    );
    expect(error).toMatchObject({
      maybeSent: false,
      message: expect.stringContaining(`through the proxy 127.0.0.1:${port}`),
    });
    expect(shown(error)).not.toContain('canary');
  });

  it.each(['canary', '-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n-----END CERTIFICATE-----\n', ''])(
    'a text that is not a certificate is refused: %j',
    async (ca) => {
      const error = await failure(ask(secure(scheme, 1), { ca }), 'ERR_USAGE');
      expect(shown(error)).not.toContain('canary');
    },
  );
});

it('a transport whose authority was refused can be closed all the same, and stays closed', async () => {
  const transport = openHttp(secure('https', 1), { ca: 'none' });
  await failure(transport.request('public/test'), 'ERR_USAGE');
  await transport.close();
  await failure(transport.request('public/test'), 'ERR_CONNECTION_CLOSED');
});

it('a signal that fires while what a proxy needs is loaded ends the opening', async () => {
  const port = await tcpServer(() => {});
  const abort = new AbortController();
  const opening = openWebSocket(secure('wss', 8443), { proxy: `http://127.0.0.1:${port}`, signal: abort.signal });
  abort.abort();
  expect(await failure(opening, 'ERR_INTERRUPTED')).toMatchObject({ maybeSent: false });
});

describe('the proxy of an environment', () => {
  const env = { HTTPS_PROXY: 'http://upper:1', NO_PROXY: 'other.example, .sub.example:8443 *.star.example' };

  it.each([
    ['wss://www.deribit.com/ws/api/v2', 'http://upper:1'],
    ['https://www.deribit.com/api/v2', 'http://upper:1'],
    ['wss://other.example/', null],
    ['wss://deep.other.example/', null],
    ['wss://another.example/', 'http://upper:1'],
    ['wss://a.sub.example:8443/', null],
    ['wss://a.sub.example/', 'http://upper:1'],
    ['wss://a.star.example/', null],
    ['ws://127.0.0.1:9/', null],
    ['wss://localhost:9/', null],
  ])('for %s is %s', (url, expected) => {
    expect(proxyFor(url, { env })).toBe(expected);
  });

  it('may be written in lower case, without a scheme, or be switched off', () => {
    const url = 'https://www.deribit.com/';
    expect(proxyFor(url, { env: { ...env, https_proxy: 'lower:2' } })).toBe('http://lower:2');
    expect(proxyFor(url, { env: { ...env, no_proxy: '*' } })).toBeNull();
    expect(proxyFor(url, { env: { HTTPS_PROXY: '' } })).toBeNull();
    expect(proxyFor(url, { env, proxy: null })).toBeNull();
    expect(proxyFor(url, { env, proxy: 'https://mine:3' })).toBe('https://mine:3');
    expect(proxyFor(url, {})).toBeNull();
  });

  it('is refused without being shown where it is no HTTP proxy', async () => {
    for (const value of ['socks5://user:canary@host:1', 'http://canary:not-a-port', 'http://']) {
      const error = await failure(() => proxyFor('https://www.deribit.com/', { proxy: value }), 'ERR_USAGE');
      expect(shown(error)).not.toContain('canary');
    }
    await failure(openWebSocket(resolveEndpoint(), { proxy: 'socks5://host:1' }), 'ERR_USAGE');
    await failure(() => openHttp(local('http', 1), { proxy: 'socks5://host:1' }), 'ERR_USAGE');
  });
});
