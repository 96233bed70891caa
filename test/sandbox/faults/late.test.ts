import { once } from 'node:events';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { bootstrap, ed25519, post, record, Socket, token } from '../client.js';

let sandbox: Sandbox;
let socket: Socket;
beforeEach(async () => {
  sandbox = await startSandbox({ faultApi: true, tfaSecret: 'JBSWY3DPEHPK3PXP', secondFactor: 'tfa' });
  socket = await Socket.open(sandbox);
  await socket.request('public/auth', bootstrap(sandbox));
});
afterEach(async () => {
  socket.close();
  await sandbox.close();
});

const order = { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'market' };
const taken = (count: number) => vi.waitFor(() => expect(sandbox.orders()).toHaveLength(count));
const outcomes = (method: string) =>
  sandbox.calls.filter((call) => call.method === method).map(({ outcome }) => outcome);

it('carries out a request after its connection was cut, with the login that it came with', async () => {
  sandbox.setFaults(['late-cut@private/buy:40x1']);
  expect(await socket.request('private/buy', order)).toBeUndefined();
  expect(socket.closeCode).toBe(1006);
  await taken(1);
  expect(outcomes('private/buy')).toEqual(['late-cut:ok']);
  await expect(post(sandbox, 'private/buy', order, await token(sandbox))).resolves.toHaveProperty('result');
});

it('carries out a request after HTTP 502, over WebSocket after a close', async () => {
  sandbox.setFaults(['late-502@private/buy:40']);
  const response = await fetch(`${sandbox.httpUrl}/private/buy?instrument_name=BTC-PERPETUAL&amount=10&type=market`, {
    headers: { authorization: `Bearer ${await token(sandbox)}` },
  });
  expect([response.status, await response.text()]).toEqual([502, expect.stringContaining('<html>')]);
  await taken(1);
  socket.send('private/buy', order);
  expect(await socket.closed()).toBe(1011);
  await taken(2);
});

it('carries out a request that is never answered', async () => {
  sandbox.setFaults(['late-silent@private/buy:40x1']);
  const id = socket.send('private/buy', order);
  await taken(1);
  await socket.request('public/test');
  expect(socket.answers.filter((answer) => answer.id === id)).toEqual([]);
  expect(outcomes('private/buy')).toEqual(['late-silent:ok']);
});

it('does not count a second factor that is still to be given, nor a request that is refused', async () => {
  const access = await token(sandbox, 'account:read');
  sandbox.setFaults(['late-cut@private/create_api_key:1x1']);
  const params = { max_scope: 'account:read', public_key: ed25519().pem };
  const challenged = await socket.request('private/create_api_key', params);
  expect(record(challenged?.result).challenge).toEqual(expect.any(String));
  expect((await post(sandbox, 'private/create_api_key', params, access)).error?.code).toBe(13_021);
  expect(sandbox.keys()).toHaveLength(1);
});

it('sends an error that names no request, before the answer or instead of it', async () => {
  sandbox.setFaults(['stray-error@private/buy:10028x1']);
  const answered = await socket.request('private/buy', order);
  expect(answered?.result).toHaveProperty('order');
  expect(socket.answers.at(-2)).toMatchObject({ id: null, error: { code: 10_028, message: 'too_many_requests' } });
  sandbox.setFaults(['stray-error@private/buy:-32700x1', 'drop-answer@private/buyx1']);
  const id = socket.send('private/buy', order);
  await socket.request('public/test');
  expect(socket.answers.at(-2)).toMatchObject({ id: null, error: { code: -32_700 } });
  expect(socket.answers.filter((answer) => answer.id === id)).toEqual([]);
  expect(sandbox.orders()).toHaveLength(2);
  sandbox.setFaults(['stray-error@public/test:10028x1']);
  expect(await post(sandbox, 'public/test')).toMatchObject({ id: null, error: { code: 10_028 } });
});

it('sends any frame on every connection at any moment', async () => {
  const frame = '{"id":null,"error":{"code":-32700,"message":"Parse error"}}';
  const other = await Socket.open(sandbox);
  expect((await post(sandbox, 'sandbox/broadcast', { frame })).result).toBe('ok');
  for (const each of [socket, other])
    expect(await each.until(() => each.frames.find((text) => text === frame))).toBe(frame);
  sandbox.broadcast('not JSON');
  expect(await other.until(() => other.frames.find((text) => text === 'not JSON'))).toBe('not JSON');
  other.close();
});

it('stops reading: what is sent after it piles up at the client', async () => {
  sandbox.setFaults(['stop-reading@private/buyx1']);
  socket.send('private/buy', order);
  const payload = 'x'.repeat(1024 * 1024);
  for (let sent = 0; sent < 64; sent++) socket.ws.send(payload);
  await vi.waitFor(() => expect(outcomes('private/buy')).toEqual(['stop-reading']));
  expect(socket.ws.bufferedAmount).toBeGreaterThan(8 * 1024 * 1024);
  expect(sandbox.orders()).toEqual([]);
  sandbox.dropConnections();
  expect(await socket.closed()).toBe(1006);
});

it('stops reading for a while, and handles then what was sent meanwhile', async () => {
  sandbox.setFaults(['stop-reading@public/get_time:30x1']);
  const deaf = socket.send('public/get_time');
  const heard = socket.send('public/test');
  await socket.until(() => socket.answers.find((answer) => answer.id === heard));
  expect(socket.answers.filter((answer) => answer.id === deaf)).toEqual([]);
});

it('has a latency for each method', async () => {
  sandbox.setFaults(['delay@private/buy:80', 'delay@public/test:40']);
  const ids = [socket.send('private/buy', order), socket.send('public/test'), socket.send('public/get_time')];
  await socket.until(() => socket.answers.find((answer) => answer.id === ids[0]));
  expect(socket.answers.slice(-3).map(({ id }) => id)).toEqual([...ids].reverse());
});

it('forgets late requests when it stops', async () => {
  sandbox.setFaults(['late-silent@private/buy:600000x1']);
  socket.send('private/buy', order);
  await socket.request('public/test');
  const closed = once(socket.ws, 'close');
  await sandbox.close();
  await closed;
  expect(sandbox.orders()).toEqual([]);
});
