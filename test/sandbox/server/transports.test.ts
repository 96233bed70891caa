import { once } from 'node:events';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import WebSocket from 'ws';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { propertyRuns } from '../../support/properties.js';
import { bootstrap, get, post, record, Socket, token } from '../client.js';

let sandbox: Sandbox;
const sockets: Socket[] = [];

async function open(): Promise<Socket> {
  const socket = await Socket.open(sandbox);
  sockets.push(socket);
  return socket;
}

beforeEach(async () => {
  sandbox = await startSandbox();
});
afterEach(async () => {
  vi.useRealTimers();
  for (const socket of sockets.splice(0)) socket.close();
  await sandbox.close();
});

function send(path: string, init: RequestInit): Promise<Response> {
  return fetch(sandbox.httpUrl + path, { method: 'POST', ...init });
}

describe('HTTP', () => {
  it('takes an envelope, or only the parameters, on the path of the method', async () => {
    const access = await token(sandbox);
    const headers = { authorization: `Bearer ${access}` };
    const params = { currency: 'ETH' };
    const envelope = { jsonrpc: '2.0', id: 'seven', method: 'private/get_account_summary', params };
    for (const [path, body, id] of [
      ['', envelope, 'seven'],
      ['/', envelope, 'seven'],
      ['/private/get_account_summary', envelope, 'seven'],
      ['/private/get_account_summary', params, undefined],
    ] as const) {
      const response = await send(path, { headers, body: JSON.stringify(body) });
      expect(response.status).toBe(200);
      const answer = record(await response.json());
      expect(answer).toMatchObject({ jsonrpc: '2.0', result: { currency: 'ETH' }, testnet: true });
      expect(answer.id).toBe(id);
      expect(Number(answer.usOut) - Number(answer.usIn)).toBe(answer.usDiff);
    }
    const empty = await send('/public/get_time', {});
    expect(record(await empty.json()).result).toEqual(expect.any(Number));
  });

  it.each<[string, string, number, object]>([
    ['', '[]', 400, { error: { code: -32_600 } }],
    ['', '[{"jsonrpc":"2.0","id":1,"method":"public/test"}]', 400, { error: { code: -32_600 } }],
    ['', '{', 400, { error: { code: 11_050, message: 'bad_request', data: 'invalid json' } }],
    ['', '{"jsonrpc":"1.0","id":1,"method":"public/test"}', 400, { id: 1, error: { code: -32_600 } }],
    ['', '{"jsonrpc":"2.0","id":1.5,"method":"public/test"}', 400, { error: { code: -32_600 } }],
    ['', '{"jsonrpc":"2.0","id":1,"method":7}', 400, { id: 1, error: { code: -32_600 } }],
    ['', '{"jsonrpc":"2.0","id":1,"method":"public/test","params":[]}', 400, { id: 1, error: { code: -32_602 } }],
    ['', '{"jsonrpc":"2.0","id":1,"method":"toString"}', 400, { id: 1, error: { code: -32_601 } }],
    ['/public/nothing', '{}', 400, { error: { code: -32_601, message: 'Method not found' } }],
    ['/public/hello', '{"client_name":"x","client_version":"1"}', 400, { error: { code: 10_030 } }],
    ['/public/test', '7', 400, { error: { code: -32_600 } }],
  ])('answers POST %j %s with %i', async (path, body, status, expected) => {
    const response = await send(path, { body });
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject(expected);
  });

  it('takes a body of 32 kB and refuses a larger one without an id', async () => {
    const frame = (length: number) => {
      const start = '{"jsonrpc":"2.0","id":1,"method":"public/test","params":{"x":"';
      return `${start}${'x'.repeat(length - start.length - 3)}"}}`;
    };
    expect((await send('', { body: frame(32_768) })).status).toBe(200);
    const answer = record(await (await send('', { body: frame(32_769) })).json());
    expect(answer.error).toEqual({ code: -32_600, message: 'request entity too large' });
    expect(answer).not.toHaveProperty('id');
    const socket = await open();
    socket.ws.send(frame(32_769));
    const refusal = await socket.until(() => socket.answers[0]);
    expect(refusal?.error).toEqual(answer.error);
    expect((await socket.request('public/test'))?.error).toBeUndefined();
  });

  it('reads lists, numbers and booleans from a query string', async () => {
    const access = await token(sandbox);
    const headers = { authorization: `Bearer ${access}` };
    const scope = 'max_scope=account:read&name=q';
    const made = await get(
      sandbox,
      `private/create_api_key?${scope}&enabled_features[]=block_trade_approval&enabled_features[]=restricted_block_trades`,
      headers,
    );
    expect(record(made.result).enabled_features).toHaveLength(2);
    const { id } = record(made.result);
    const edit = (query: string) => get(sandbox, `private/edit_api_key?id=${id}&${scope}&${query}`, headers);
    expect((await edit('enabled=false&ip_whitelist=["::1","10.0.0.0/8"]')).result).toMatchObject({
      enabled: false,
      ip_whitelist: ['::1', '10.0.0.0/8'],
    });
    expect((await edit('enabled=true&ip_whitelist=::1')).result).toMatchObject({
      enabled: true,
      ip_whitelist: ['::1'],
    });
    expect((await edit('ip_whitelist=[')).error?.data).toMatchObject({ param: 'ip_whitelist' });
    expect((await edit('enabled=1')).error?.data).toMatchObject({ param: 'enabled' });
    expect((await edit('__proto__[]=1')).error).toBeUndefined();
  });

  it('knows no other path and no other verb', async () => {
    const origin = new URL(sandbox.httpUrl).origin;
    for (const path of ['/', '/api/v1/public/test', '/api/v2x']) expect((await fetch(origin + path)).status).toBe(404);
    const put = await fetch(`${sandbox.httpUrl}/public/test`, { method: 'PUT' });
    expect([put.status, put.headers.get('allow')]).toEqual([405, 'GET, POST']);
  });

  it('survives a request that breaks off', async () => {
    const socket = connect(Number(new URL(sandbox.httpUrl).port), '127.0.0.1');
    await once(socket, 'connect');
    socket.write('POST /api/v2 HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"js');
    socket.destroy();
    const odd = connect(Number(new URL(sandbox.httpUrl).port), '127.0.0.1');
    odd.write('GET http://[ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
    const [data] = await once(odd, 'data');
    expect(String(data)).toMatch(/^HTTP\/1.1 404/);
    expect((await post(sandbox, 'public/test')).error).toBeUndefined();
  });

  it.each([
    ['GET', [''], { version: expect.any(String) }],
    ['POST', ['{"expected_result":', '"fine"}'], { version: expect.any(String) }],
  ])('passes over the offer of another protocol, as Java makes it with a %s', async (verb, parts, result) => {
    const socket = connect(Number(new URL(sandbox.httpUrl).port), '127.0.0.1');
    socket.setEncoding('utf8');
    const head = `${verb} /api/v2/public/test HTTP/1.1\r\nhost: x\r\ncontent-length: ${parts.join('').length}\r\n`;
    const offer = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n';
    for (let request = 0; request < 2; request++) {
      const answered = once(socket, 'data');
      socket.write(head + offer);
      for (const part of parts) {
        await new Promise((resolve) => setImmediate(resolve));
        socket.write(part);
      }
      const [status, body] = String((await answered)[0]).split(/\r\n(?:.*\r\n)+\r\n[0-9a-f]+\r\n/);
      expect(status).toBe('HTTP/1.1 200 OK');
      expect(JSON.parse(String(body).replace(/\r\n0\r\n\r\n$/, ''))).toMatchObject({ result });
    }
    socket.destroy();
  });

  it('survives an upgrade that is refused and cut at once', async () => {
    const thrown: unknown[] = [];
    const note = (error: unknown) => thrown.push(error);
    process.on('uncaughtException', note);
    for (let i = 0; i < 50; i++) {
      const socket = connect(Number(new URL(sandbox.httpUrl).port), '127.0.0.1');
      await once(socket, 'connect');
      socket.write('GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
      await new Promise((resolve) => setImmediate(resolve));
      socket.resetAndDestroy();
      await once(socket, 'close');
    }
    expect((await post(sandbox, 'public/test')).error).toBeUndefined();
    process.off('uncaughtException', note);
    expect(thrown).toEqual([]);
  });
});

describe('WebSocket', () => {
  it('answers what is not JSON and stays open', async () => {
    const socket = await open();
    socket.ws.send('not json');
    const answer = await socket.until(() => socket.answers[0]);
    expect(answer).toMatchObject({ error: { code: 11_050, message: 'bad_request', data: 'invalid json' } });
    expect(answer).not.toHaveProperty('id');
    expect((await socket.request('public/hello', { client_name: 'x', client_version: '1' }))?.result).toEqual({
      version: expect.any(String),
    });
  });

  it('never falls over a frame', async () => {
    const socket = await open();
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.object().map((o) => JSON.stringify(o)),
        ),
        async (frame) => {
          const before = socket.frames.length;
          socket.ws.send(frame);
          const answer = await socket.until(() => socket.frames[before]);
          expect(JSON.parse(String(answer)).error).toMatchObject({ code: expect.any(Number) });
        },
      ),
      { numRuns: propertyRuns(200) },
    );
  });

  it('closes with 1009 on a frame beyond all measure', async () => {
    const socket = await open();
    socket.ws.send('x'.repeat(17 * 1024 * 1024));
    expect([1006, 1009]).toContain(await socket.closed());
  });

  it('is on its own path only', async () => {
    const ws = new WebSocket(sandbox.wsUrl.replace('/ws/', '/other/'));
    const [error] = await once(ws, 'error');
    expect(String(error)).toContain('404');
  });

  it('asks for life signs, and closes with 4000 where none comes', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setTimeout', 'clearTimeout'] });
    const socket = await open();
    expect((await socket.request('public/set_heartbeat', { interval: 9 }))?.error?.code).toBe(-32_602);
    expect((await socket.request('public/set_heartbeat', { interval: 10 }))?.result).toBe('ok');
    const beats = () =>
      socket.answers.filter(({ method, params }) => method === 'heartbeat' && params?.type === 'test_request');
    await vi.advanceTimersByTimeAsync(10_000);
    await socket.until(() => beats()[0]);
    expect(socket.answers.filter(({ params }) => params?.type === 'heartbeat')).toHaveLength(1);
    expect(beats()[0]).toMatchObject({ params: { type: 'test_request' } });
    await socket.request('public/test');
    await vi.advanceTimersByTimeAsync(10_000);
    await socket.until(() => beats()[1]);
    expect((await socket.request('public/disable_heartbeat'))?.result).toBe('ok');
    await vi.advanceTimersByTimeAsync(60_000);
    expect((await socket.request('public/test'))?.error).toBeUndefined();
    expect(beats()).toHaveLength(2);
    await socket.request('public/set_heartbeat', { interval: 10 });
    await vi.advanceTimersByTimeAsync(20_000);
    expect(await socket.closed()).toBe(4000);
  });

  it('takes any interval between life signs, however long', async () => {
    const socket = await open();
    expect((await socket.request('public/set_heartbeat', { interval: 10_000_000 }))?.result).toBe('ok');
    await new Promise((resolve) => setTimeout(resolve, 20));
    await socket.request('public/get_time');
    expect(socket.answers.filter(({ method }) => method === 'heartbeat')).toEqual([]);
  });

  it('cuts a silent connection where that is asked for, but not one that listens', async () => {
    await sandbox.close();
    sandbox = await startSandbox({ silentSocketMs: 40 });
    const [silent, listening] = [await open(), await open()];
    await listening.request('public/subscribe', { channels: ['deribit_price_index.btc_usd'] });
    expect(await silent.closed()).toBe(1006);
    expect((await listening.request('public/test'))?.error).toBeUndefined();
  });
});

it('starts again on the same port with its state', async () => {
  const socket = await open();
  const access = await token(sandbox);
  const connected = record((await socket.request('public/auth', bootstrap(sandbox)))?.result);
  await Promise.all([sandbox.restart(5), sandbox.restart(5)]);
  expect(await socket.closed()).toBe(1006);
  expect((await post(sandbox, 'private/get_subaccounts', {}, access)).error).toBeUndefined();
  const again = await open();
  const old = { access_token: connected.access_token };
  expect((await again.request('private/get_subaccounts', old))?.error?.code).toBe(13_009);
});

it('closes for good, twice, in the middle of a restart too', async () => {
  const restart = sandbox.restart(60_000);
  await sandbox.close();
  await sandbox.close();
  await restart;
  await expect(fetch(sandbox.httpUrl)).rejects.toThrow();
});

it('leaves no timer and no socket behind', async () => {
  const busy = await startSandbox({ silentSocketMs: 60_000 });
  const before = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const socket = await Socket.open(busy);
  await socket.request('public/set_heartbeat', { interval: 10 });
  await socket.request('public/subscribe', { channels: ['sandbox.counter.100ms'] });
  busy.setFaults(['delay:60000']);
  socket.send('public/test');
  await post(busy, 'sandbox/nothing');
  expect(process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length).toBeGreaterThan(before);
  await busy.close();
  await socket.closed();
  await vi.waitFor(() => {
    const after = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    expect(after).toBeLessThanOrEqual(before);
  });
});

it('says which port it cannot have', async () => {
  const port = Number(new URL(sandbox.httpUrl).port);
  await expect(startSandbox({ port })).rejects.toMatchObject({
    code: 'ERR_LISTEN',
    message: expect.stringContaining(String(port)),
  });
});

it('has hints that name the next step', async () => {
  const port = Number(new URL(sandbox.httpUrl).port);
  const refused = [
    startSandbox({ port }),
    startSandbox({ port: 70_000 }),
    startSandbox({ faults: ['gremlins'] }),
    startSandbox({ stateFile: fileURLToPath(import.meta.url) }),
    (async () => sandbox.addKey({ maxScope: 'nonsense' }))(),
  ];
  for (const start of refused) {
    await expect(start).rejects.toMatchObject({ hint: expect.stringMatching(/^[a-z].*[^.]$/s) });
  }
});
