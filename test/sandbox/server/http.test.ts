import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../../src/sandbox/index.js';
import { type Answer, bootstrap, ed25519, type Json, post, Socket, signed } from '../client.js';

async function start(options: SandboxOptions = {}): Promise<Sandbox> {
  const sandbox = await startSandbox(options);
  onTestFinished(() => sandbox.close());
  return sandbox;
}

async function open(sandbox: Sandbox): Promise<Socket> {
  const socket = await Socket.open(sandbox);
  onTestFinished(() => socket.close());
  return socket;
}

describe('what clients send', () => {
  it('may have a leading slash in the method', async () => {
    const sandbox = await start();
    const socket = await open(sandbox);
    expect((await socket.request('/public/auth', bootstrap(sandbox)))?.result).toHaveProperty('access_token');
    expect((await post(sandbox, '/public/test')).result).toHaveProperty('version');
    expect((await socket.request('//public/test'))?.error?.code).toBe(-32_601);
  });

  it('may have the timestamp of a login as a string', async () => {
    const sandbox = await start();
    const pair = ed25519();
    const { client_id: id } = sandbox.addKey({ publicKey: pair.pem });
    const params = signed(id, pair.privateKey);
    const login = await post(sandbox, 'public/auth', { ...params, timestamp: String(params.timestamp) });
    expect(login.result).toHaveProperty('access_token');
  });

  it('may be a JSON-RPC request in the body of a GET', async () => {
    const sandbox = await start();
    const getWith = (path: string, body: object) =>
      new Promise<Answer>((resolve, reject) => {
        const text = JSON.stringify(body);
        const headers = { 'content-type': 'application/json', 'content-length': text.length };
        const request = httpRequest(`${sandbox.httpUrl}${path}`, { method: 'GET', headers }, (response) => {
          let answer = '';
          response.on('data', (data) => {
            answer += String(data);
          });
          response.on('end', () => resolve(JSON.parse(answer) as Answer));
        });
        request.on('error', reject).end(text);
      });
    const envelope = { jsonrpc: '2.0', id: 7, method: 'public/auth', params: bootstrap(sandbox) };
    expect(await getWith('/public/auth', envelope)).toMatchObject({ id: 7, result: { token_type: 'bearer' } });
    expect(await getWith('', envelope)).toMatchObject({ id: 7, result: { token_type: 'bearer' } });
    expect((await getWith('/public/auth', bootstrap(sandbox))).result).toHaveProperty('access_token');
  });

  it('needs no id, unless that is asked for', async () => {
    const send = async (sandbox: Sandbox, envelope: Json) =>
      (await (await fetch(sandbox.httpUrl, { method: 'POST', body: JSON.stringify(envelope) })).json()) as Answer;
    const noId = { jsonrpc: '2.0', method: 'public/test', params: {} };
    expect((await send(await start(), noId)).result).toHaveProperty('version');
    const strict = await start({ strictIds: true });
    expect((await send(strict, noId)).error).toEqual({ code: -32_600, message: 'Invalid Request' });
    expect((await send(strict, { ...noId, id: 'x' })).result).toHaveProperty('version');
    expect(await (await fetch(`${strict.httpUrl}/public/test`)).json()).toHaveProperty('result');
    const socket = await open(strict);
    socket.ws.send(JSON.stringify({ method: 'public/test' }));
    expect((await socket.until(() => socket.answers[0]))?.error?.code).toBe(-32_600);
  });
});

describe('a refused token', () => {
  it.each([
    [undefined, 400],
    [401, 401],
  ] as const)('is answered with HTTP %s as %i, other errors with 400', async (unauthorizedStatus, expected) => {
    const sandbox = await start(unauthorizedStatus === undefined ? {} : { unauthorizedStatus });
    const refused = await fetch(`${sandbox.httpUrl}/private/get_subaccounts`);
    expect([refused.status, await refused.json()]).toEqual([
      expected,
      expect.objectContaining({ error: { code: 13_009, message: 'unauthorized', data: { reason: 'invalid_token' } } }),
    ]);
    expect((await fetch(`${sandbox.httpUrl}/public/nothing`)).status).toBe(400);
  });
});

describe('pages in a browser', () => {
  it('may read answers where their origin was named', async () => {
    const origin = 'http://localhost:5173';
    const sandbox = await start({ corsOrigin: origin });
    const preflight = await fetch(`${sandbox.httpUrl}/public/auth`, { method: 'OPTIONS', headers: { origin } });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-headers')).toContain('authorization');
    for (const path of ['public/test', 'private/get_subaccounts', 'public/nothing']) {
      const { headers } = await fetch(`${sandbox.httpUrl}/${path}`, { headers: { origin } });
      expect(headers.get('access-control-allow-origin')).toBe(origin);
    }
    await expect(startSandbox({ corsOrigin: 'localhost' })).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });

  it('may read nothing by default', async () => {
    const { headers } = await fetch(`${(await start()).httpUrl}/public/test`);
    expect(headers.get('access-control-allow-origin')).toBeNull();
    expect((await fetch(`${(await start()).httpUrl}/public/test`, { method: 'OPTIONS' })).status).toBe(405);
  });
});

describe('an offer of another protocol than WebSocket', () => {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'public/test', params: {} });
  const offer = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n';
  const head = `POST /api/v2 HTTP/1.1\r\nHost: a\r\n${offer}Content-Length: ${body.length}\r\n\r\n`;
  const chunkedHead = `POST /api/v2 HTTP/1.1\r\nHost: a\r\n${offer}Transfer-Encoding: chunked\r\n\r\n`;
  const chunked = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;

  it.each([
    ['with its body', [head + body], 1],
    ['before its body', [head, body], 1],
    ['with half of its body', [head + body.slice(0, 9), body.slice(9)], 1],
    ['before a chunked body', [chunkedHead, chunked], 1],
    ['twice on one connection', [head + body, head + body], 2],
  ])('in a POST that comes %s is passed over', async (_what, parts, count) => {
    const sandbox = await start();
    const socket = connect(Number(new URL(sandbox.httpUrl).port), '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    let text = '';
    const answered = new Promise<void>((resolve, reject) => {
      socket.on('data', (data) => {
        text += String(data);
        if (text.split('"version"').length > count) resolve();
      });
      socket.on('close', () => reject(new Error(`closed after ${text}`)));
    });
    for (const part of parts) {
      socket.write(part);
      await post(sandbox, 'public/test');
    }
    await answered;
    expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(count);
  });

  it('does no harm where the connection is reset in the middle', async () => {
    const sandbox = await start();
    const socket = connect(Number(new URL(sandbox.httpUrl).port), '127.0.0.1');
    socket.write(head + body.slice(0, 9));
    await post(sandbox, 'public/test');
    socket.resetAndDestroy();
    expect((await post(sandbox, 'public/test')).result).toHaveProperty('version');
  });
});
