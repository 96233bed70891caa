import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { bootstrap, ed25519, get, type Json, post, record, rsa, signed, token } from '../client.js';

const startMs = 1_760_000_000_000;
let nowMs = startMs;
let sandbox: Sandbox;

beforeEach(async () => {
  nowMs = startMs;
  sandbox = await startSandbox({ now: () => nowMs, subaccounts: 2 });
});
afterEach(async () => {
  await sandbox.close();
});

function sign(clientId: string, key: Parameters<typeof signed>[1], options: Parameters<typeof signed>[2] = {}): Json {
  return signed(clientId, key, { timestamp: nowMs, ...options });
}

const refused = { code: 13_004, message: 'invalid_credentials' };

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
