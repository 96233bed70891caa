import type { IncomingHttpHeaders } from 'node:http';
import { describe, expect, it } from 'vitest';
import { Secret } from '../../src/crypto/secret.js';
import { connect } from '../../src/deribit/connect.js';
import { openHttp } from '../../src/deribit/http-transport.js';
import { until } from '../support/outcomes.js';
import { failure, httpServer, local, reply, said, shown, tcpServer, unusedPort, webSocketServer } from './servers.js';

describe('the HTTP transport', () => {
  it('posts the envelope to the method’s own path', async () => {
    const seen: { url: string | undefined; method: string | undefined; body: unknown; headers: IncomingHttpHeaders }[] =
      [];
    const { endpoint } = await httpServer((body, { url, method, headers }, response) => {
      const asked = JSON.parse(body);
      seen.push({ url, method, body: asked, headers });
      response.end(reply(asked, { result: asked.params }));
    });
    const transport = await connect(endpoint);
    expect(transport.kind).toBe('http');
    expect(await transport.request('public/test', { a: 1 })).toEqual({ a: 1 });
    expect(await transport.request('private/x', {}, { accessToken: new Secret('tok.en-1') })).toEqual({});
    expect(seen[0]).toMatchObject({
      url: '/api/v2/public/test',
      method: 'POST',
      body: { jsonrpc: '2.0', id: 1, method: 'public/test', params: { a: 1 } },
      headers: { 'content-type': 'application/json' },
    });
    expect(seen[0]?.headers.authorization).toBeUndefined();
    expect(seen[1]).toMatchObject({ url: '/api/v2/private/x', headers: { authorization: 'Bearer tok.en-1' } });
    expect(seen[1]?.body).not.toHaveProperty('params.access_token');
    await transport.close();
  });

  it('goes to the HTTP form of a WebSocket endpoint, with or without a slash at the end', () => {
    expect(openHttp(local('ws', 9)).url).toBe('http://127.0.0.1:9/api/v2');
    expect(openHttp({ ...local('http', 9), url: 'http://127.0.0.1:9/api/v2/' }).url).toBe('http://127.0.0.1:9/api/v2');
  });

  it.each([200, 400, 401, 429, 500])('takes the JSON-RPC body whatever the status: %d', async (status) => {
    const { endpoint } = await httpServer((body, _request, response) => {
      response
        .writeHead(status)
        .end(reply(JSON.parse(body), { error: { code: 13004, message: 'invalid_credentials' } }));
    });
    const error = await failure(openHttp(endpoint).request('public/auth'), 'ERR_UNAUTHORIZED');
    expect(error.rpc).toEqual({ code: 13004, message: 'invalid_credentials' });
  });

  it('takes an answer without an id, but none to another request', async () => {
    const { endpoint } = await httpServer((body, _request, response) => {
      const { method, id } = JSON.parse(body);
      response.end(method === 'public/test' ? '\ufeff{"result":5}' : reply({ id: id + 1 }, { result: 'canary' }));
    });
    const transport = openHttp(endpoint);
    expect(await transport.request('public/test')).toBe(5);
    const error = await failure(transport.request('public/other'), 'ERR_PROTOCOL');
    expect(error.message).toBe('the answer to public/other belongs to another request');
    expect(shown(error)).not.toContain('canary');
  });

  it.each([
    [200, '<html>canary</html>', 'ERR_PROTOCOL', true],
    [200, '', 'ERR_PROTOCOL', true],
    [200, '{"message":"canary"}', 'ERR_PROTOCOL', true],
    [200, '{"method":"heartbeat"}', 'ERR_PROTOCOL', true],
    [429, 'canary', 'ERR_NETWORK', false],
    [403, '{"message":"canary"}', 'ERR_NETWORK', true],
    [502, '<html>canary</html>', 'ERR_NETWORK', true],
    [302, '', 'ERR_NETWORK', true],
    [307, 'canary', 'ERR_NETWORK', true],
  ] as const)('makes of status %d with the body %j the error %s', async (status, body, code, maybeSent) => {
    let requests = 0;
    const { endpoint } = await httpServer((_body, _request, response) => {
      requests += 1;
      response.writeHead(status, { location: '/elsewhere' }).end(body);
    });
    const error = await failure(openHttp(endpoint).request('public/test'), code);
    expect(error.maybeSent).toBe(maybeSent);
    expect(error.hint).toMatch(/\w/);
    expect(shown(error)).not.toContain('canary');
    expect(requests).toBe(1);
  });

  it('notices the wrong exchange, in answers and in refusals', async () => {
    const { endpoint } = await httpServer((body, _request, response) => {
      const asked = JSON.parse(body);
      const outcome = asked.method === 'public/test' ? { result: 1 } : { error: { code: 1, message: 'x' } };
      response.end(reply(asked, { ...outcome, testnet: false }));
    });
    const transport = openHttp(said(endpoint, true));
    await failure(transport.request('public/test'), 'ERR_WRONG_ENVIRONMENT');
    await failure(transport.request('public/auth'), 'ERR_WRONG_ENVIRONMENT');
  });

  it('stops reading an answer that is too large, however slowly it comes', async () => {
    let gone = false;
    const { endpoint } = await httpServer((_body, _request, response) => {
      response.on('close', () => {
        gone = true;
      });
      const more = () => {
        if (gone) return;
        response.write('x'.repeat(10_000));
        setTimeout(more, 1);
      };
      more();
    });
    const error = await failure(openHttp(endpoint, { maxReplyBytes: 50_000 }).request('public/test'), 'ERR_PROTOCOL');
    expect(error).toMatchObject({ maybeSent: true, message: expect.stringContaining('larger') });
    await expect.poll(() => gone).toBe(true);
  });

  it('gives up waiting by time-out and by signal, before and within the body', async () => {
    let onAsked = () => {};
    const { endpoint } = await httpServer((body, _request, response) => {
      const asked = JSON.parse(body);
      onAsked();
      if (asked.method === 'public/half') response.write('{"result":');
      if (asked.method === 'public/test') response.end(reply(asked, { result: 1 }));
    });
    const transport = openHttp(endpoint, { timeoutMs: 60_000 });
    await transport.request('public/test');
    for (const method of ['public/silent', 'public/half']) {
      expect((await failure(transport.request(method, {}, { timeoutMs: 300 }), 'ERR_TIMEOUT')).maybeSent).toBe(true);
      const controller = new AbortController();
      onAsked = () => controller.abort();
      const { signal } = controller;
      expect((await failure(transport.request(method, {}, { signal }), 'ERR_INTERRUPTED')).maybeSent).toBe(true);
      expect((await failure(transport.request(method, {}, { signal }), 'ERR_INTERRUPTED')).maybeSent).toBe(false);
    }
  });

  it('rejects what waits when it is closed, and what comes after', async () => {
    let asked = false;
    const { endpoint } = await httpServer(() => {
      asked = true;
    });
    const transport = openHttp(endpoint);
    const waiting = failure(transport.request('public/test'), 'ERR_CONNECTION_CLOSED');
    await until(() => asked);
    await transport.close();
    await transport.close();
    expect((await waiting).maybeSent).toBe(true);
    expect((await failure(transport.request('public/test'), 'ERR_CONNECTION_CLOSED')).maybeSent).toBe(false);
  });

  it('knows that nothing was sent where nothing listens or the name is unknown', async () => {
    const refused = await failure(openHttp(local('http', await unusedPort())).request('public/test'), 'ERR_NETWORK');
    expect(refused).toMatchObject({ maybeSent: false, message: expect.stringContaining('ECONNREFUSED') });
    const unknown = openHttp({ ...local('http', 1), url: 'https://no-such-host.invalid/api/v2' });
    expect((await failure(unknown.request('public/test'), 'ERR_NETWORK')).maybeSent).toBe(false);
  });

  it('does not know it where the connection is cut', async () => {
    const cut = await tcpServer((socket) => socket.once('data', () => socket.destroy()));
    const error = await failure(openHttp(local('http', cut)).request('public/test'), 'ERR_NETWORK');
    expect(error.maybeSent).toBe(true);
    const noise = await tcpServer((socket) => socket.once('data', () => socket.end('SSH-2.0-other\r\n\r\n')));
    expect((await failure(openHttp(local('http', noise)).request('public/test'), 'ERR_NETWORK')).maybeSent).toBe(true);
    const { endpoint } = await httpServer((_body, _request, response) => {
      response.write('{"result"');
      setTimeout(() => response.destroy(), 10);
    });
    expect((await failure(openHttp(endpoint).request('public/test'), 'ERR_NETWORK')).maybeSent).toBe(true);
  });

  it('refuses a token that no header can carry, without showing it', async () => {
    const transport = openHttp(local('http', await unusedPort()));
    const error = await failure(
      transport.request('private/x', {}, { accessToken: new Secret('canary\r\nx: y') }),
      'ERR_USAGE',
    );
    expect(shown(error)).not.toContain('canary');
    expect(error.maybeSent).toBe(false);
  });

  it('uses another client where one is given', async () => {
    const client = (body: string | null) => ({
      post: async () => ({ status: 200, body }),
      close: async () => {},
    });
    const options = { proxy: 'http://127.0.0.1:1' };
    const ask = (body: string | null) =>
      openHttp(local('http', 1), { ...options, client: client(body) }).request('public/test');
    expect(await ask('{"result":7}')).toBe(7);
    await failure(ask(''), 'ERR_PROTOCOL');
    await failure(ask(null), 'ERR_PROTOCOL');
  });
});

it.each(['ws', 'http'] as const)('a secret that the exchange echoes does not come back over %s', async (scheme) => {
  const echo = (asked: { id: number }) =>
    reply(asked, { error: { code: 13009, message: 'no canary-token', data: ['canary-token'] } });
  const { endpoint } =
    scheme === 'ws'
      ? await webSocketServer((asked, socket) => socket.send(echo(asked)))
      : await httpServer((body, _request, response) => response.end(echo(JSON.parse(body))));
  const transport = await connect(endpoint);
  const error = await failure(
    transport.request('private/x', {}, { accessToken: new Secret('canary-token') }),
    'ERR_UNAUTHORIZED',
  );
  expect(shown(error)).not.toContain('canary-token');
  await transport.close();
});
