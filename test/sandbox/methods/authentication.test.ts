import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { bootstrap, ed25519, get, type Json, post, record, rsa, Socket, signed, token } from '../client.js';

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

function sign(clientId: string, key: Parameters<typeof signed>[1], options: Parameters<typeof signed>[2] = {}): Json {
  return signed(clientId, key, { timestamp: nowMs, ...options });
}

const refused = { code: 13_004, message: 'invalid_credentials' };
const noToken = { code: 13_009, message: 'unauthorized', data: { reason: 'invalid_token' } };

describe('client_signature', () => {
  it('takes the documented HMAC', async () => {
    await sandbox.close();
    sandbox = await startSandbox({
      clientId: 'AMANDA_1',
      clientSecret: 'AMANDASECRECT',
      now: () => 1_576_074_319_000,
    });
    const login = await post(sandbox, 'public/auth', {
      grant_type: 'client_signature',
      client_id: 'AMANDA_1',
      timestamp: 1_576_074_319_000,
      nonce: '1iqt2wls',
      data: '',
      signature: '56590594f97921b09b18f166befe0d1319b198bbcdad7ca73382de2f88fe9aa1',
    });
    expect(record(login.result).token_type).toBe('bearer');
  });

  it('refuses every other encoding of a good signature', async () => {
    const pair = ed25519();
    const { client_id: id } = sandbox.addKey({ publicKey: pair.pem });
    const good = sign(id, pair.privateKey);
    const bytes = Buffer.from(String(good.signature), 'base64url');
    for (const signature of [
      bytes.toString('hex'),
      bytes.toString('base64'),
      `${String(good.signature)}==`,
      `${String(good.signature)}A`,
      ` ${String(good.signature)}`,
      '',
      'A',
    ]) {
      expect((await post(sandbox, 'public/auth', { ...good, signature })).error).toEqual(refused);
    }
    expect((await post(sandbox, 'public/auth', good)).error).toBeUndefined();
  });

  it('refuses a replay, but not a nonce that comes again with another timestamp', async () => {
    const pair = rsa();
    const { client_id: id } = sandbox.addKey({ publicKey: pair.pem });
    const first = sign(id, pair.privateKey, { nonce: 'abcd' });
    expect((await post(sandbox, 'public/auth', first)).error).toBeUndefined();
    expect((await post(sandbox, 'public/auth', first)).error).toEqual(refused);
    const second = sign(id, pair.privateKey, { nonce: 'abcd', timestamp: nowMs + 1 });
    expect((await post(sandbox, 'public/auth', second)).error).toBeUndefined();
    const long = sign(id, pair.privateKey, { nonce: 'n'.repeat(1000) });
    expect((await post(sandbox, 'public/auth', long)).error).toBeUndefined();
    expect((await post(sandbox, 'public/auth', long)).error).toEqual(refused);
  });

  it.each([
    [-60_000, true],
    [-60_001, false],
    [60_000, true],
    [60_001, false],
  ])('with a timestamp %i ms off is taken: %s', async (offset, taken) => {
    const pair = ed25519();
    const { client_id: id } = sandbox.addKey({ publicKey: pair.pem });
    const answer = await post(sandbox, 'public/auth', sign(id, pair.privateKey, { timestamp: nowMs + offset }));
    expect(answer.error === undefined).toBe(taken);
  });

  it('refuses a replay whose lines are shared out otherwise between nonce and data', async () => {
    const { clientId, clientSecret } = sandbox;
    const once = sign(clientId, clientSecret, { nonce: 'n', data: 'x\ny' });
    expect((await post(sandbox, 'public/auth', once)).error).toBeUndefined();
    expect((await post(sandbox, 'public/auth', { ...once, nonce: 'n\nx', data: 'y' })).error?.code).toBe(13_004);
  });

  it('refuses an unknown client id, another key, another message, a disabled key and another address', async () => {
    const pair = ed25519();
    const key = sandbox.addKey({ publicKey: pair.pem });
    const good = sign(key.client_id, pair.privateKey);
    const attempts = [
      sign('nobody12', pair.privateKey),
      sign(key.client_id, ed25519().privateKey),
      sign(key.client_id, 'a secret'),
      { ...good, data: 'x' },
      { ...good, nonce: 'x' },
      { ...good, timestamp: nowMs + 1 },
      { ...bootstrap(sandbox), client_id: key.client_id, client_secret: key.client_secret },
      { ...bootstrap(sandbox), client_secret: 'wrong' },
    ];
    for (const attempt of attempts) expect((await post(sandbox, 'public/auth', attempt)).error).toEqual(refused);
    const access = await token(sandbox);
    const edit = { id: key.id, max_scope: key.max_scope };
    await post(sandbox, 'private/edit_api_key', { ...edit, ip_whitelist: ['10.0.0.0/8', '::1'] }, access);
    expect((await post(sandbox, 'public/auth', good)).error).toEqual(refused);
    await post(sandbox, 'private/edit_api_key', { ...edit, ip_whitelist: ['127.0.0.0/8'], enabled: false }, access);
    expect((await post(sandbox, 'public/auth', good)).error).toEqual(refused);
    await post(sandbox, 'private/enable_api_key', { id: key.id }, access);
    expect((await post(sandbox, 'public/auth', good)).error).toBeUndefined();
  });

  it.each([
    ['timestamp', { timestamp: 'now' }, 'must be a number'],
    ['timestamp', { timestamp: 1.5 }, 'must be an integer'],
    ['timestamp', { timestamp: null }, 'value required'],
    ['signature', { signature: 1 }, 'must be a string'],
    ['client_id', { client_id: undefined }, 'value required'],
    ['grant_type', { grant_type: 'password' }, 'unknown grant type'],
    ['grant_type', { grant_type: undefined }, 'value required'],
  ])('names %s as the wrong parameter', async (param, change, reason) => {
    const answer = await post(sandbox, 'public/auth', { ...sign('nobody12', 'secret'), ...change });
    expect(answer.error).toEqual({ code: -32_602, message: 'Invalid params', data: { reason, param } });
  });

  it('logs in by GET', async () => {
    const pair = ed25519();
    const { client_id: id } = sandbox.addKey({ publicKey: pair.pem });
    const query = new URLSearchParams(
      Object.entries(sign(id, pair.privateKey)).map(([name, value]): [string, string] => [name, String(value)]),
    );
    expect((await get(sandbox, `public/auth?${query}`)).error).toBeUndefined();
  });
});

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

describe('scope', () => {
  it.each([
    ['account:read', 'account:read connection mainaccount'],
    ['wallet:read_write trade:none', 'connection mainaccount'],
    ['trade:read_write nonsense account:read_write', 'account:read connection mainaccount trade:read_write'],
    ['', 'account:read connection mainaccount trade:read_write'],
    ['connection', 'account:read connection mainaccount trade:read_write'],
  ])('%j is narrowed to %j', async (asked, granted) => {
    const pair = ed25519();
    const { client_id: id } = sandbox.addKey({ publicKey: pair.pem, maxScope: 'trade:read_write account:read' });
    const { result } = await post(sandbox, 'public/auth', { ...sign(id, pair.privateKey), scope: asked });
    expect(record(result).scope).toBe(granted);
  });

  it('is enforced for each method', async () => {
    const forbidden = { code: 13_021, message: 'forbidden' };
    const reader = await token(sandbox, 'account:read trade:read');
    const order = { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'market' };
    expect((await post(sandbox, 'private/buy', order, reader)).error).toEqual(forbidden);
    expect((await post(sandbox, 'private/create_api_key', { max_scope: 'x' }, reader)).error).toEqual(forbidden);
    expect((await post(sandbox, 'private/list_api_keys', {}, reader)).error).toBeUndefined();
    const trader = await token(sandbox, 'trade:read_write');
    expect((await post(sandbox, 'private/list_api_keys', {}, trader)).error).toEqual(forbidden);
    expect((await post(sandbox, 'private/buy', order, trader)).error).toBeUndefined();
  });
});
