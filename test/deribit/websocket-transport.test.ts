import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { Secret } from '../../src/crypto/secret.js';
import { connect } from '../../src/deribit/connect.js';
import type { Notification } from '../../src/deribit/json-rpc.js';
import { openWebSocket } from '../../src/deribit/websocket-transport.js';
import {
  type Asked,
  failure,
  httpServer,
  local,
  reply,
  said,
  shown,
  tcpServer,
  unusedPort,
  webSocketServer,
} from './servers.js';

const ok = (asked: Asked, socket: { send(text: string): void }) => socket.send(reply(asked, { result: asked.params }));

describe('a WebSocket connection', () => {
  it('asks and is answered, in whatever order the answers come', async () => {
    const waiting: Asked[] = [];
    const { endpoint } = await webSocketServer((asked, socket) => {
      waiting.push(asked);
      if (waiting.length < 50) return;
      for (const one of waiting.reverse()) ok(one, socket);
    });
    const transport = await connect(endpoint);
    expect(transport.kind).toBe('websocket');
    const numbers = Array.from({ length: 50 }, (_, n) => n);
    const answers = await Promise.all(numbers.map((n) => transport.request('public/test', { n })));
    expect(answers).toEqual(numbers.map((n) => ({ n })));
    await transport.close();
  });

  it('sends a token among the parameters, and does not change those of the caller', async () => {
    const { endpoint } = await webSocketServer(ok);
    const transport = await openWebSocket(endpoint);
    const params = Object.freeze({ id: 1 });
    expect(await transport.request('private/x', params, { accessToken: new Secret('tok') })).toEqual({
      id: 1,
      access_token: 'tok',
    });
    expect(await transport.request('private/x', params)).toEqual({ id: 1 });
    await transport.close();
  });

  it('passes over answers that are late, doubled or to nobody', async () => {
    const { endpoint } = await webSocketServer((asked, socket) => {
      socket.send(reply({ id: 9999 }, { result: 'stranger' }));
      socket.send(reply({ id: -1 }, { error: { code: 1, message: 'stranger' } }));
      ok(asked, socket);
      socket.send(reply(asked, { result: 'again' }));
    });
    const transport = await openWebSocket(endpoint);
    expect(await transport.request('public/test', { n: 1 })).toEqual({ n: 1 });
    expect(await transport.request('public/test', { n: 2 })).toEqual({ n: 2 });
    await transport.close();
  });

  it('hands out notifications until a listener is taken away, and never takes them for answers', async () => {
    const { endpoint } = await webSocketServer((asked, socket) => {
      socket.send(
        JSON.stringify({ jsonrpc: '2.0', method: 'heartbeat', params: { type: 'test_request' }, testnet: false }),
      );
      ok(asked, socket);
    });
    const transport = await openWebSocket(said(endpoint, true));
    const heard: Notification[] = [];
    const stop = transport.onNotification((notification) => heard.push(notification));
    await transport.request('public/test');
    expect(heard).toEqual([{ method: 'heartbeat', params: { type: 'test_request' } }]);
    stop();
    await transport.request('public/test');
    expect(heard).toHaveLength(1);
    await transport.close();
  });

  it('rejects with the refusal; one that names no request leaves the outcome of the only one that waits unknown', async () => {
    const { endpoint } = await webSocketServer((asked, socket) => {
      const error = { code: 11050, message: 'bad_request', data: 'invalid json' };
      if (asked.method === 'public/unnamed') socket.send(JSON.stringify({ jsonrpc: '2.0', error }));
      else if (asked.method === 'public/test') socket.send(reply(asked, { error }));
    });
    const transport = await openWebSocket(endpoint);
    expect((await failure(transport.request('public/test'), 'ERR_RPC')).rpc?.code).toBe(11050);
    const unnamed = await failure(transport.request('public/unnamed'), 'ERR_OUTCOME_UNKNOWN');
    expect(unnamed).toMatchObject({ maybeSent: true, message: expect.stringContaining('11050 bad_request') });
    expect(unnamed.rpc).toBeUndefined();
    const silent = failure(transport.request('public/silent', {}, { timeoutMs: 150 }), 'ERR_TIMEOUT');
    await failure(transport.request('public/unnamed', {}, { timeoutMs: 100 }), 'ERR_TIMEOUT');
    await silent;
    await transport.close();
  });

  it('notices the wrong exchange, in answers and in refusals', async () => {
    const { endpoint } = await webSocketServer((asked, socket) => {
      const outcome = asked.method === 'public/test' ? { result: 1 } : { error: { code: 13004, message: 'x' } };
      socket.send(reply(asked, { ...outcome, testnet: true }));
    });
    const transport = await openWebSocket(said(endpoint, false));
    await failure(transport.request('public/test'), 'ERR_WRONG_ENVIRONMENT');
    await failure(transport.request('public/auth'), 'ERR_WRONG_ENVIRONMENT');
    await transport.close();
  });

  it('gives up waiting by time-out and by signal, and leaves nothing behind', async () => {
    const { endpoint } = await webSocketServer((asked, socket) => {
      if (asked.method === 'public/test') ok(asked, socket);
    });
    const transport = await openWebSocket(endpoint);
    const late = await failure(transport.request('public/silent', {}, { timeoutMs: 40 }), 'ERR_TIMEOUT');
    expect(late).toMatchObject({ maybeSent: true, message: 'the answer to public/silent took longer than 40 ms' });
    const controller = new AbortController();
    const waiting = failure(
      transport.request('public/silent', {}, { signal: controller.signal, timeoutMs: 1e12 }),
      'ERR_INTERRUPTED',
    );
    controller.abort();
    expect((await waiting).maybeSent).toBe(true);
    const before = await failure(
      transport.request('public/test', {}, { signal: controller.signal }),
      'ERR_INTERRUPTED',
    );
    expect(before.maybeSent).toBe(false);
    expect(await transport.request('public/test', { n: 1 })).toEqual({ n: 1 });
    await transport.close();
  });

  it('takes one signal for many requests without a warning', async () => {
    const warnings: unknown[] = [];
    const onWarning = (warning: unknown) => warnings.push(warning);
    process.on('warning', onWarning);
    const { endpoint } = await webSocketServer(ok);
    const { signal } = new AbortController();
    const transport = await openWebSocket(endpoint, { signal });
    await Promise.all(Array.from({ length: 50 }, () => transport.request('public/test', {}, { signal })));
    await transport.close();
    process.off('warning', onWarning);
    expect(warnings).toEqual([]);
  });

  it('refuses a request that cannot be written without harming others', async () => {
    const { endpoint } = await webSocketServer(ok);
    const transport = await openWebSocket(endpoint);
    await failure(transport.request('nonsense'), 'ERR_USAGE');
    expect(await transport.request('public/test', { n: 1 })).toEqual({ n: 1 });
    await transport.close();
  });
});

describe('the end of a WebSocket connection', () => {
  it.each([
    ['with a code', 4000, (socket: { close(code: number): void }) => socket.close(4000)],
    ['without a code', 1005, (socket: { close(): void }) => socket.close()],
    ['by a cut', 1006, (socket: { terminate(): void }) => socket.terminate()],
  ])('%s rejects what waits, and what comes after is certainly not sent', async (_, code, end) => {
    const { endpoint } = await webSocketServer((_asked, socket) => end(socket));
    const transport = await openWebSocket(endpoint);
    const ends: unknown[] = [];
    transport.onClose((how) => ends.push(how));
    transport.onClose(() => ends.push('unwanted'))();
    const during = await failure(transport.request('public/test'), 'ERR_CONNECTION_CLOSED');
    expect(during.maybeSent).toBe(true);
    expect(during.message).toContain(String(code));
    expect(await transport.closed).toEqual({ code, byUs: false });
    expect(ends).toEqual([{ code, byUs: false }]);
    expect((await failure(transport.request('public/test'), 'ERR_CONNECTION_CLOSED')).maybeSent).toBe(false);
    await transport.close();
    await transport.close();
  });

  it('by us rejects what waits, too, and may be asked for twice', async () => {
    const { endpoint } = await webSocketServer(() => {});
    const transport = await openWebSocket(endpoint);
    const waiting = failure(transport.request('public/test'), 'ERR_CONNECTION_CLOSED');
    await Promise.all([transport.close(), transport.close()]);
    expect((await waiting).maybeSent).toBe(true);
    expect(await transport.closed).toEqual({ code: 1000, byUs: true });
  });

  it('does not wait for ever on a side that is only half there', async () => {
    const { endpoint } = await webSocketServer((_asked, socket) => socket.pause());
    const transport = await openWebSocket(endpoint);
    await failure(transport.request('public/test', {}, { timeoutMs: 30 }), 'ERR_TIMEOUT');
    await transport.close();
    expect((await transport.closed).byUs).toBe(true);
  });

  it.each([
    ['no JSON', 'certainly not JSON canary', 'is not JSON'],
    ['binary', Buffer.from('{"id":1,"result":"canary"}'), 'is binary'],
    ['JSON that is not a reply', '["canary"]', 'is not a JSON object'],
    ['too much', `{"id":1,"result":"${'canary'.repeat(20_000)}"}`, 'is larger than the allowed size'],
  ])('comes with a frame that is %s', async (_, frame, words) => {
    const { endpoint } = await webSocketServer((_asked, socket) => socket.send(frame));
    const transport = await openWebSocket(endpoint, { maxReplyBytes: 100_000 });
    const both = [transport.request('public/test'), transport.request('public/test')];
    for (const one of both) {
      const error = await failure(one, 'ERR_PROTOCOL');
      expect(error.maybeSent).toBe(true);
      expect(error.message).toContain(words);
      expect(shown(error)).not.toContain('canary');
    }
    expect((await transport.closed).byUs).toBe(false);
  });

  it('comes with bytes that are no WebSocket frame', async () => {
    const { server, endpoint } = await webSocketServer(() => {});
    server.on('connection', (socket, request) => {
      socket.on('message', () => request.socket.write(Buffer.from([0xff, 0xff, 0xff, 0xff])));
    });
    const transport = await openWebSocket(endpoint);
    await failure(transport.request('public/test'), 'ERR_PROTOCOL');
    await transport.closed;
  });

  it('does not come with a broken answer to one request; only that one fails', async () => {
    const { endpoint } = await webSocketServer((asked, socket) => {
      if (asked.method === 'public/test') ok(asked, socket);
      else socket.send(JSON.stringify({ id: asked.id }));
    });
    const transport = await openWebSocket(endpoint);
    const error = await failure(transport.request('public/broken'), 'ERR_PROTOCOL');
    expect(error.message).toBe('the answer to public/broken has neither a result nor an error');
    expect(await transport.request('public/test', { n: 1 })).toEqual({ n: 1 });
    await transport.close();
  });
});

describe('opening a WebSocket connection', () => {
  it('goes to the WebSocket form of an HTTP endpoint', async () => {
    const { endpoint } = await webSocketServer(ok);
    const transport = await openWebSocket({
      ...endpoint,
      url: endpoint.url.replace('ws:', 'http:').replace('/ws/', '/'),
    });
    expect(transport.url).toBe(endpoint.url);
    await transport.close();
  });

  it('fails where nothing listens, and where the name is unknown', async () => {
    const refused = await failure(openWebSocket(local('ws', await unusedPort())), 'ERR_NETWORK');
    expect(refused).toMatchObject({ maybeSent: false });
    expect(refused.message).toContain('refused the connection (ECONNREFUSED)');
    const unknown = { ...local('ws', 1), url: 'wss://no-such-host.invalid/ws/api/v2' };
    expect((await failure(openWebSocket(unknown), 'ERR_NETWORK')).message).toMatch(
      /cannot be resolved|cannot be reached/,
    );
  });

  it.each([
    [429, 'too many'],
    [302, 'redirect'],
    [403, 'refused'],
    [407, 'proxy'],
    [503, 'not available'],
    [200, 'refused'],
  ])('fails where the answer is the status %d', async (status, words) => {
    const { server, port } = await httpServer(() => {});
    server.on('upgrade', (_request, socket) => {
      socket.end(`HTTP/1.1 ${status} Words\r\nLocation: ws://127.0.0.1:${port}/other\r\nContent-Length: 0\r\n\r\n`);
    });
    const error = await failure(openWebSocket(local('ws', port)), 'ERR_NETWORK');
    expect(error).toMatchObject({ maybeSent: false });
    expect(error.message).toContain(words);
    expect(error.message).toContain(String(status));
  });

  it('fails where the other side is cut, or speaks something else', async () => {
    await failure(openWebSocket(local('ws', await tcpServer((socket) => socket.destroy()))), 'ERR_NETWORK');
    await failure(
      openWebSocket(local('ws', await tcpServer((socket) => socket.write('SSH-2.0-other\r\n\r\n')))),
      'ERR_NETWORK',
    );
  });

  it('ends by time-out and by signal where nobody answers', async () => {
    const endpoint = local('ws', await tcpServer(() => {}));
    expect((await failure(openWebSocket(endpoint, { timeoutMs: 40 }), 'ERR_TIMEOUT')).maybeSent).toBe(false);
    const controller = new AbortController();
    const opening = failure(openWebSocket(endpoint, { signal: controller.signal }), 'ERR_INTERRUPTED');
    setTimeout(() => controller.abort(), 20);
    expect((await opening).maybeSent).toBe(false);
    await failure(openWebSocket(endpoint, { signal: controller.signal }), 'ERR_INTERRUPTED');
  });

  it('says once when the other side is there, before the connection is open', async () => {
    const heard: string[] = [];
    const reached = (name: string) => ({ onReached: () => heard.push(name), timeoutMs: 200 });
    const { endpoint } = await webSocketServer(ok);
    const opening = openWebSocket(endpoint, reached('open'));
    opening.then(() => heard.push('opened'));
    await (await opening).close();
    expect(heard).toEqual(['open', 'opened']);
    await failure(openWebSocket(local('ws', await tcpServer(() => {})), reached('silent')), 'ERR_TIMEOUT');
    await failure(openWebSocket(local('ws', await unusedPort()), reached('nobody')), 'ERR_NETWORK');
    expect(heard).toEqual(['open', 'opened', 'silent']);
  });

  it('does not inflate: no compression is offered', async () => {
    const { server, endpoint } = await webSocketServer(ok);
    const connected = once(server, 'connection');
    const transport = await openWebSocket(endpoint);
    const [, request] = await connected;
    expect(request.headers['sec-websocket-extensions']).toBeUndefined();
    await transport.close();
  });
});
