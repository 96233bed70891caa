import { once } from 'node:events';
import { connect, type Socket as NetSocket } from 'node:net';
import { afterEach, expect, it, onTestFinished } from 'vitest';
import WebSocket from 'ws';
import { Credits } from '../../../src/sandbox/core/exchange.js';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../../src/sandbox/index.js';
import { bootstrap, post, Socket, token } from '../client.js';

let sandbox: Sandbox | null = null;
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  await sandbox?.close();
  sandbox = null;
});

async function start(options: SandboxOptions): Promise<Sandbox> {
  sandbox = await startSandbox(options);
  return sandbox;
}

async function open(at: Sandbox): Promise<Socket> {
  const socket = await Socket.open(at);
  sockets.push(socket);
  return socket;
}

it('spends 500 of 50,000 credits a call, and gets them back with time', async () => {
  let nowMs = 1_760_000_000_000;
  const at = await start({ now: () => nowMs, limits: { credits: true } });
  const socket = await open(at);
  for (let i = 0; i < 100; i++) expect((await socket.request('public/test'))?.error).toBeUndefined();
  expect((await socket.request('public/test'))?.error).toEqual({ code: 10_028, message: 'too_many_requests' });
  nowMs += 50;
  expect((await socket.request('public/test'))?.error).toBeUndefined();
  expect((await socket.request('public/test'))?.error?.code).toBe(10_028);
  expect((await post(at, 'public/test')).error).toBeUndefined();
});

it('may hang up on who has no credits left, over HTTP too', async () => {
  const at = await start({ limits: { credits: { pool: 1000, refillPerS: 0, terminate: true } } });
  const socket = await open(at);
  await socket.request('public/auth', bootstrap(at));
  await socket.request('private/get_subaccounts');
  await socket.request('private/get_subaccounts');
  expect((await socket.request('private/get_subaccounts'))?.error?.code).toBe(10_028);
  expect(await socket.closed()).toBe(1008);
  await post(at, 'public/test');
  await post(at, 'public/test');
  const response = await fetch(`${at.httpUrl}/public/test`);
  expect([response.status, response.headers.get('connection')]).toEqual([400, 'close']);
});

it('keeps no more than ten thousand pools', () => {
  const credits = new Credits({ cost: 1, pool: 1, refillPerS: 0, terminate: false });
  credits.pay('first', 0);
  for (let i = 0; i < 10_000; i++) credits.pay(String(i), 0);
  expect(() => credits.pay('first', 0)).not.toThrow();
  expect(() => credits.pay('9999', 0)).toThrow();
});

it('takes sixteen sessions of one key: another login ends the oldest without a word', async () => {
  const at = await start({ limits: { sessionsPerKey: true } });
  const tokens: string[] = [];
  for (let i = 0; i < 15; i++) tokens.push(await token(at, `session:s${i}`));
  const alive = async (access: string | undefined) =>
    (await post(at, 'private/get_account_summary', { currency: 'BTC' }, access)).error?.code ?? 'alive';
  const socket = await open(at);
  expect((await socket.request('public/auth', bootstrap(at)))?.error).toBeUndefined();
  expect((await socket.request('public/auth', bootstrap(at)))?.error).toBeUndefined();
  expect(await alive(tokens[0])).toBe('alive');
  await token(at, 'session:s3');
  await token(at);
  expect(await alive(tokens[0])).toBe('alive');
  await token(at, 'session:s15');
  expect([await alive(tokens[0]), await alive(tokens[1])]).toEqual([13_009, 'alive']);
  for (let i = 16; i < 31; i++) await token(at, `session:s${i}`);
  expect((await socket.request('private/get_account_summary', { currency: 'BTC' }))?.error?.code).toBe(13_009);
  expect((await socket.request('public/test'))?.error).toBeUndefined();
  socket.close();
});

it('takes a number of connections, and answers 429 to more', async () => {
  const at = await start({ limits: { connectionsPerIp: 2 } });
  const first = await open(at);
  await open(at);
  expect((await fetch(`${at.httpUrl}/public/test`)).status).toBe(429);
  const third = new WebSocket(at.wsUrl);
  const [error] = await once(third, 'error');
  expect(String(error)).toContain('429');
  first.close();
  await first.closed();
  let status = 429;
  while (status === 429) status = (await fetch(`${at.httpUrl}/public/test`)).status;
  expect(status).toBe(200);
});

/** What the sandbox answers to a bare request from `localAddress`; null while it says nothing. */
function connectFrom(at: Sandbox, localAddress: string): { readonly socket: NetSocket; status(): Promise<string> } {
  const socket = connect({ port: Number(new URL(at.httpUrl).port), host: '127.0.0.1', localAddress });
  onTestFinished(() => void socket.destroy());
  return {
    socket,
    async status() {
      socket.write('GET /api/v2/public/test HTTP/1.1\r\nhost: sandbox\r\n\r\n');
      const [data] = await once(socket, 'data');
      return String(data).slice(9, 12);
    },
  };
}

it('counts the connections of each address, and only those that it serves', async () => {
  const at = await start({ limits: { connectionsPerIp: 1 } });
  const first = connectFrom(at, '127.0.0.1');
  expect(await first.status()).toBe('200');
  expect(await connectFrom(at, '127.0.0.2').status()).toBe('200');
  const refused = connectFrom(at, '127.0.0.1');
  await once(refused.socket, 'connect');
  expect(await connectFrom(at, '127.0.0.1').status()).toBe('429');
  first.socket.destroy();
  let status = '429';
  while (status === '429') status = await connectFrom(at, '127.0.0.1').status();
  expect([status, refused.socket.readyState]).toEqual(['200', 'open']);
});

it.each<[string, SandboxOptions]>([
  ['silentSocketMs', { silentSocketMs: 2 ** 31 }],
  ['credits.cost', { limits: { credits: { cost: Number.NaN } } }],
  ['credits.pool', { limits: { credits: { pool: -1 } } }],
  ['credits.refillPerS', { limits: { credits: { refillPerS: Number.POSITIVE_INFINITY } } }],
  ['port', { port: 70_000 }],
  ['keyLimit', { keyLimit: 0 }],
  ['tfaSecret', { tfaSecret: 'not base32!' }],
  ['tfaSecret', { tfaSecret: '' }],
  ['secondFactor', { secondFactor: 'tfa' }],
  ['clientId', { clientId: 'short' }],
  ['clientSecret', { clientSecret: '' }],
  ['sessionsPerKey', { limits: { sessionsPerKey: 0 } }],
  ['expiresInS', { expiresInS: 0.5 }],
])('refuses a senseless %s', async (name, options) => {
  await expect(startSandbox(options)).rejects.toMatchObject({
    code: 'ERR_USAGE',
    message: expect.stringContaining(name),
  });
});
