import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { bootstrap, type Json, post, record, Socket, token } from '../client.js';

const startMs = 1_760_000_000_000;
let nowMs = startMs;
let sandbox: Sandbox;
const sockets: Socket[] = [];

async function open(): Promise<Socket> {
  const socket = await Socket.open(sandbox);
  sockets.push(socket);
  return socket;
}

beforeEach(async () => {
  nowMs = startMs;
  sandbox = await startSandbox({ now: () => nowMs, subaccounts: 2 });
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.close();
  await sandbox.close();
});

const noToken = { code: 13_009, message: 'unauthorized', data: { reason: 'invalid_token' } };

describe('tokens', () => {
  it('have the known form, expire, and are refreshed once', async () => {
    const first = record((await post(sandbox, 'public/auth', { ...bootstrap(sandbox), state: 'mine' })).result);
    expect(first).toMatchObject({ expires_in: 900, state: 'mine', enabled_features: [] });
    expect(first).not.toHaveProperty('sid');
    for (const name of ['access_token', 'refresh_token']) {
      expect(first[name]).toMatch(/^\d{13}\.[A-Za-z0-9_-]{8}\.[A-Za-z0-9_-]+$/);
    }
    const access = String(first.access_token);
    expect(access.split('.')[0]).toBe(String(startMs + 900_000));
    nowMs += 899_999;
    expect((await post(sandbox, 'private/get_subaccounts', {}, access)).error).toBeUndefined();
    nowMs += 1;
    expect((await post(sandbox, 'private/get_subaccounts', {}, access)).error).toEqual(noToken);
    const again = { grant_type: 'refresh_token', refresh_token: first.refresh_token };
    const second = record((await post(sandbox, 'public/auth', again)).result);
    expect(second.scope).toBe(first.scope);
    expect((await post(sandbox, 'private/get_subaccounts', {}, String(second.access_token))).error).toBeUndefined();
    expect((await post(sandbox, 'public/auth', again)).error).toEqual(noToken);
  });

  it.each([
    [-1, undefined],
    [0, noToken],
  ])('are refreshed up to a week after they expired, here %i ms from its end', async (ms, error) => {
    const login = record((await post(sandbox, 'public/auth', bootstrap(sandbox))).result);
    nowMs += 900_000 + 7 * 86_400_000 + ms;
    const again = { grant_type: 'refresh_token', refresh_token: login.refresh_token };
    expect((await post(sandbox, 'public/auth', again)).error).toEqual(error);
  });

  it('of a connection are worth nothing on another, and die with it', async () => {
    const [one, two] = [await open(), await open()];
    const login = record((await one.request('public/auth', bootstrap(sandbox)))?.result);
    const params = { access_token: login.access_token };
    expect((await one.request('private/get_subaccounts'))?.error).toBeUndefined();
    expect((await two.request('private/get_subaccounts', params))?.error).toEqual(noToken);
    expect((await post(sandbox, 'private/get_subaccounts', {}, String(login.access_token))).error).toEqual(noToken);
    const refresh = { grant_type: 'refresh_token', refresh_token: login.refresh_token };
    expect((await two.request('public/auth', refresh))?.error).toEqual(noToken);
    const renewed = record((await one.request('public/auth', refresh))?.result);
    expect((await one.request('private/get_subaccounts', params))?.error).toEqual(noToken);
    expect((await one.request('private/get_subaccounts'))?.error).toBeUndefined();
    sandbox.dropConnections();
    await one.closed();
    const after = await open();
    const late = { access_token: renewed.access_token };
    expect((await after.request('private/get_subaccounts', late))?.error).toEqual(noToken);
  });

  it('of a session move between connections, and a session goes on when refreshed', async () => {
    const one = await open();
    const login = record((await one.request('public/auth', bootstrap(sandbox, 'session:bot expires:60')))?.result);
    expect(login.scope).toMatch(/ expires:60 mainaccount session:bot /);
    expect(login.expires_in).toBe(60);
    one.close();
    const two = await open();
    const params = { access_token: login.access_token };
    expect((await two.request('private/get_subaccounts', params))?.error).toBeUndefined();
    const refresh = { grant_type: 'refresh_token', refresh_token: login.refresh_token };
    const renewed = record((await two.request('public/auth', refresh))?.result);
    expect(renewed.sid).toBe(login.sid);
    const same = record((await two.request('public/auth', bootstrap(sandbox, 'session:bot')))?.result);
    expect(same.sid).toBe(login.sid);
  });

  it('of a session fork into another one', async () => {
    const login = record((await post(sandbox, 'public/auth', bootstrap(sandbox, 'session:one trade:read'))).result);
    const params = { refresh_token: login.refresh_token, session_name: 'two' };
    const fork = record((await post(sandbox, 'public/fork_token', params)).result);
    expect(fork.scope).toBe('mainaccount session:two trade:read');
    expect(fork.sid).not.toBe(login.sid);
    const plain = record((await post(sandbox, 'public/auth', bootstrap(sandbox))).result);
    const refusedFork = { refresh_token: plain.refresh_token, session_name: 'two' };
    expect((await post(sandbox, 'public/fork_token', refusedFork)).error?.code).toBe(-32_602);
    const badName = { refresh_token: login.refresh_token, session_name: 'a b' };
    expect((await post(sandbox, 'public/fork_token', badName)).error?.data).toMatchObject({ param: 'session_name' });
  });

  it('are exchanged for those of a subaccount, which has keys of its own', async () => {
    const [, sub] = sandbox.accountIds;
    const login = record((await post(sandbox, 'public/auth', bootstrap(sandbox))).result);
    const exchange = { refresh_token: login.refresh_token, subject_id: sub };
    const other = record((await post(sandbox, 'public/exchange_token', exchange)).result);
    expect(other.scope).not.toContain('mainaccount');
    const access = String(other.access_token);
    expect((await post(sandbox, 'private/list_api_keys', {}, access)).result).toEqual([]);
    const { result } = await post(sandbox, 'private/create_api_key', { max_scope: 'account:read_write' }, access);
    const key = record(result);
    expect((await post(sandbox, 'private/get_subaccounts', {}, access)).result).toHaveLength(1);
    const own = { grant_type: 'client_credentials', client_id: key.client_id, client_secret: key.client_secret };
    const subLogin = record((await post(sandbox, 'public/auth', own)).result);
    const up = { refresh_token: subLogin.refresh_token, subject_id: sandbox.accountIds[0] };
    expect((await post(sandbox, 'public/exchange_token', up)).error?.data).toMatchObject({ param: 'subject_id' });
    const again = record((await post(sandbox, 'public/auth', bootstrap(sandbox))).result);
    const unknown = { refresh_token: again.refresh_token, subject_id: 7 };
    expect((await post(sandbox, 'public/exchange_token', unknown)).error?.data).toMatchObject({ param: 'subject_id' });
    const socket = await open();
    const onSocket = record((await socket.request('public/auth', bootstrap(sandbox)))?.result);
    await socket.request('public/exchange_token', { refresh_token: onSocket.refresh_token, subject_id: sub });
    expect((await socket.request('private/list_api_keys'))?.result).toHaveLength(1);
  });

  it('are spent by an exchange without a session, and the new ones do not name the main account if they are asked for a scope', async () => {
    const [main] = sandbox.accountIds;
    const swap = async (login: Json, params: Json = {}) =>
      post(sandbox, 'public/exchange_token', { refresh_token: login.refresh_token, subject_id: main, ...params });
    const first = record((await post(sandbox, 'public/auth', bootstrap(sandbox))).result);
    const second = record((await swap(first)).result);
    expect(second.scope).toContain('mainaccount');
    expect((await swap(first)).error?.code).toBe(13_009);
    const summary = { currency: 'BTC' };
    const spent = await post(sandbox, 'private/get_account_summary', summary, String(first.access_token));
    expect(spent.error?.code).toBe(13_009);
    const third = record((await swap(second, { scope: 'trade:read session:x' })).result);
    expect(third.scope).toBe('session:x trade:read');
    expect((await swap(third)).error).toBeUndefined();
    expect((await swap(third)).error).toBeUndefined();
  });

  it('end with a logout, which closes the connection and answers nothing', async () => {
    for (const [invalidate, lives] of [
      [undefined, false],
      [true, false],
      [false, true],
    ]) {
      const socket = await open();
      const login = record((await socket.request('public/auth', bootstrap(sandbox, 'session:x')))?.result);
      const params = invalidate === undefined ? {} : { invalidate_token: invalidate };
      expect(await socket.request('private/logout', params)).toBeUndefined();
      expect(await socket.closed()).toBe(1000);
      const later = await post(sandbox, 'private/get_subaccounts', {}, String(login.access_token));
      expect(later.error === undefined).toBe(lives);
    }
  });

  it('are bound to the address of an ip: word', async () => {
    const here = await token(sandbox, 'ip:127.0.0.1 account:read');
    const login = record((await post(sandbox, 'public/auth', bootstrap(sandbox, 'ip:10.1.2.3 account:read'))).result);
    const elsewhere = String(login.access_token);
    expect((await post(sandbox, 'private/get_subaccounts', {}, here)).error).toBeUndefined();
    expect((await post(sandbox, 'private/get_subaccounts', {}, elsewhere)).error).toEqual(noToken);
    const again = { grant_type: 'refresh_token', refresh_token: login.refresh_token };
    expect((await post(sandbox, 'public/auth', again)).error).toEqual(noToken);
  });

  it.each([undefined, 'nonsense', `${startMs + 1000}.abcdefgh.AAAA`])('that are %s are refused', async (access) => {
    expect((await post(sandbox, 'private/get_subaccounts', {}, access)).error).toEqual(noToken);
  });

  it('of one connection are forgotten when there are too many', async () => {
    const socket = await open();
    const first = record((await socket.request('public/auth', bootstrap(sandbox)))?.result);
    for (let i = 0; i < 16; i++) await socket.request('public/auth', bootstrap(sandbox));
    const params = { access_token: first.access_token };
    expect((await socket.request('private/get_subaccounts', params))?.error).toEqual(noToken);
  });
});
