import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { type Answer, bootstrap, ed25519, type Json, post, record, rsa, token } from '../client.js';

let sandbox: Sandbox;
let access: string;
beforeEach(async () => {
  sandbox = await startSandbox();
  access = await token(sandbox);
});
afterEach(() => sandbox.close());

function ask(method: string, params: Json = {}, as = access): Promise<Answer> {
  return post(sandbox, `private/${method}`, params, as);
}

async function make(params: Json = {}): Promise<Json> {
  return record((await ask('create_api_key', { max_scope: 'account:read', ...params })).result);
}

const openssl = spawnSync('openssl', ['version']).status === 0;

describe('a public key', () => {
  it.skipIf(!openssl)('has the MD5 that openssl computes over its DER (needs openssl)', async () => {
    for (const { pem } of [ed25519(), rsa()]) {
      const der = spawnSync('openssl', ['pkey', '-pubin', '-outform', 'DER'], { input: pem }).stdout;
      const digest = spawnSync('openssl', ['dgst', '-md5', '-c'], { input: der }).stdout.toString();
      expect((await make({ public_key: pem })).client_secret).toBe(digest.trim().split(' ').pop());
    }
  });

  it('may have spaces or CRLF for newlines', async () => {
    const { pem } = ed25519();
    const { client_secret: fingerprint } = await make({ public_key: pem });
    for (const text of [pem.trim().replaceAll('\n', ' '), pem.replaceAll('\n', '\r\n')]) {
      expect((await make({ public_key: text })).client_secret).toBe(fingerprint);
    }
  });

  it('of another kind, or damaged, is refused by name', async () => {
    const { generateKeyPairSync } = await import('node:crypto');
    const spki = { format: 'pem', type: 'spki' } as const;
    const { pem, privateKey } = ed25519();
    const wrong = [
      '',
      'x',
      pem.slice(0, 60),
      pem.replaceAll('PUBLIC KEY', 'RSA PUBLIC KEY'),
      pem.replace('MCow', 'MCox'),
      pem.replace('=', 'A='),
      pem.replace(/[A-Za-z0-9+/]=/, (end) => `${withBitsSet(end.charAt(0))}=`),
      privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
      rsa(1024).pem,
      generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export(spki).toString(),
      generateKeyPairSync('ed448').publicKey.export(spki).toString(),
      generateKeyPairSync('x25519').publicKey.export(spki).toString(),
      generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey.export(spki).toString(),
    ];
    for (const text of wrong) {
      const answer = await ask('create_api_key', { max_scope: 'account:read', public_key: text });
      expect(answer.error).toMatchObject({ code: -32_602, data: { param: 'public_key' } });
    }
    expect(sandbox.keys()).toHaveLength(1);
  });
});

describe('parameters', () => {
  it.each<[string, string, Json]>([
    ['create_api_key', 'max_scope', {}],
    ['create_api_key', 'max_scope', { max_scope: '' }],
    ['create_api_key', 'max_scope', { max_scope: 'everything' }],
    ['create_api_key', 'max_scope', { max_scope: 'account:write' }],
    ['create_api_key', 'max_scope', { max_scope: 'account:read:x' }],
    ['create_api_key', 'max_scope', { max_scope: 'account:read account:none' }],
    ['create_api_key', 'max_scope', { max_scope: 7 }],
    ['create_api_key', 'max_scope', { max_scope: ['account:read', 7] }],
    ['create_api_key', 'name', { max_scope: 'account:read', name: 'seventeen_letters' }],
    ['create_api_key', 'name', { max_scope: 'account:read', name: 'a-b' }],
    ['create_api_key', 'enabled_features', { max_scope: 'account:read', enabled_features: ['magic'] }],
    ['create_api_key', 'enabled_features', { max_scope: 'account:read', enabled_features: 'block_trade_approval' }],
    ['edit_api_key', 'id', { max_scope: 'account:read' }],
    ['edit_api_key', 'id', { max_scope: 'account:read', id: 99 }],
    ['edit_api_key', 'id', { max_scope: 'account:read', id: '1' }],
    ['edit_api_key', 'max_scope', { id: 1 }],
    ['edit_api_key', 'enabled', { id: 1, max_scope: 'account:read', enabled: 'true' }],
    ['edit_api_key', 'ip_whitelist', { id: 1, max_scope: 'account:read', ip_whitelist: ['here'] }],
    ['edit_api_key', 'ip_whitelist', { id: 1, max_scope: 'account:read', ip_whitelist: ['10.0.0.0/33'] }],
    ['edit_api_key', 'ip_whitelist', { id: 1, max_scope: 'account:read', ip_whitelist: ['10.0.0.0/8/8'] }],
    ['edit_api_key', 'ip_whitelist', { id: 1, max_scope: 'account:read', ip_whitelist: ['fe80::1%eth0'] }],
    ['change_api_key_name', 'name', { id: 1 }],
    ['remove_api_key', 'id', {}],
  ])('%s names a wrong %s (%j)', async (method, param, params) => {
    const before = sandbox.keys();
    expect((await ask(method, params)).error).toMatchObject({ code: -32_602, data: { param } });
    expect(sandbox.keys()).toEqual(before);
  });

  it('max_scope may be a list, and comes back sorted', async () => {
    expect(await make({ max_scope: ['wallet:none', 'account:read'] })).toMatchObject({
      max_scope: 'account:read wallet:none',
    });
  });
});

describe('the life of a key', () => {
  it('goes through every method', async () => {
    const { pem } = ed25519();
    const key = await make({ name: 'one', public_key: pem, enabled_features: ['block_trade_approval'] });
    const { id } = key;
    expect(key).toMatchObject({
      enabled: true,
      default: false,
      ip_whitelist: [],
      enabled_features: ['block_trade_approval'],
    });
    expect((await ask('change_api_key_name', { id, name: 'two' })).result).toMatchObject({ id, name: 'two' });
    const scoped = await ask('change_scope_in_api_key', { id, max_scope: 'trade:read' });
    expect(scoped.result).toMatchObject({ max_scope: 'trade:read' });
    expect((await ask('disable_api_key', { id })).result).toMatchObject({ enabled: false });
    expect((await ask('enable_api_key', { id })).result).toMatchObject({ enabled: true });
    const change = {
      id,
      max_scope: 'trade:read',
      name: 'x',
      enabled: false,
      ip_whitelist: ['::1'],
      enabled_features: [],
    };
    const edited = await ask('edit_api_key', change);
    expect(edited.result).toMatchObject({ ...change, client_secret: key.client_secret });
    expect((await ask('reset_api_key', { id })).error).toMatchObject({ code: -32_602 });
    expect((await ask('list_api_keys')).result).toEqual([sandbox.keys()[0], edited.result].map(withoutAccount));
    expect((await ask('remove_api_key', { id })).result).toBe('ok');
    expect((await ask('remove_api_key', { id })).error).toMatchObject({ data: { param: 'id' } });
    expect((await make()).id).toBe(Number(id) + 1);
  });

  it('ends its tokens when it is disabled, removed or reset', async () => {
    for (const method of ['disable_api_key', 'remove_api_key', 'reset_api_key']) {
      const key = await make();
      const login = { ...bootstrap(sandbox), client_id: key.client_id, client_secret: key.client_secret };
      const { result } = await post(sandbox, 'public/auth', login);
      const own = String(record(result).access_token);
      expect((await ask('get_subaccounts', {}, own)).error).toBeUndefined();
      const changed = await ask(method, { id: key.id });
      expect(changed.error).toBeUndefined();
      expect((await ask('get_subaccounts', {}, own)).error).toMatchObject({ code: 13_009 });
      const again = { grant_type: 'refresh_token', refresh_token: record(result).refresh_token };
      expect((await post(sandbox, 'public/auth', again)).error).toMatchObject({ code: 13_009 });
      expect((await post(sandbox, 'public/auth', login)).error).toMatchObject({ code: 13_004 });
    }
  });

  it('takes a narrower scope from live tokens at once', async () => {
    const key = await make({ max_scope: 'account:read' });
    const login = { ...bootstrap(sandbox), client_id: key.client_id, client_secret: key.client_secret };
    const own = String(record((await post(sandbox, 'public/auth', login)).result).access_token);
    await ask('change_scope_in_api_key', { id: key.id, max_scope: 'trade:read' });
    expect((await ask('get_subaccounts', {}, own)).error).toMatchObject({ code: 13_021 });
  });

  it('lets a live token of a narrowed key make, change or remove no key beyond it', async () => {
    const access = await token(sandbox);
    const narrowed = sandbox.addKey({ maxScope: 'account:read_write trade:read_write' });
    const login = {
      grant_type: 'client_credentials',
      client_id: narrowed.client_id,
      client_secret: narrowed.client_secret,
    };
    const live = String(record((await post(sandbox, 'public/auth', login)).result).access_token);
    const { id } = sandbox.addKey({ maxScope: 'trade:read' });
    const change = { id: narrowed.id, max_scope: 'account:read_write' };
    expect((await post(sandbox, 'private/change_scope_in_api_key', change, access)).error).toBeUndefined();
    for (const [method, params] of [
      ['private/create_api_key', { max_scope: 'trade:read' }],
      ['private/change_scope_in_api_key', { id: narrowed.id, max_scope: 'trade:read' }],
      ['private/remove_api_key', { id }],
    ] as const) {
      expect((await post(sandbox, method, params, live)).error?.code).toBe(13_403);
    }
    const within = { max_scope: 'account:read' };
    expect((await post(sandbox, 'private/create_api_key', within, live)).error).toBeUndefined();
  });

  it('locks out a live token by a whitelist of other addresses', async () => {
    const key = await make();
    const login = { ...bootstrap(sandbox), client_id: key.client_id, client_secret: key.client_secret };
    const own = String(record((await post(sandbox, 'public/auth', login)).result).access_token);
    await ask('edit_api_key', { id: key.id, max_scope: 'account:read', ip_whitelist: ['10.0.0.1'] });
    expect((await ask('get_subaccounts', {}, own)).error).toMatchObject({ code: 13_009 });
  });
});

/** The last digit of base64 before one `=` with a bit set that stands for nothing (RFC 4648 §3.5). */
function withBitsSet(digit: string): string {
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  return digits.charAt(digits.indexOf(digit) | 1);
}

function withoutAccount(key: unknown): Json {
  const { accountId: _accountId, ...rest } = record(key);
  return rest;
}

it('holds eight keys and no ninth', async () => {
  for (let i = 0; i < 7; i++) await make();
  expect((await ask('create_api_key', { max_scope: 'account:read' })).error).toMatchObject({ code: -32_602 });
  expect(sandbox.keys()).toHaveLength(8);
  expect(new Set(sandbox.keys().map(({ client_id: id }) => id)).size).toBe(8);
});

it('lets nobody manage or make a key that may do more than its caller', async () => {
  const exceeded = { code: 13_403, message: 'scope_exceeded' };
  const manager = await token(sandbox, 'account:read_write');
  for (const method of ['enable', 'disable', 'remove', 'reset']) {
    expect((await ask(`${method}_api_key`, { id: 1 }, manager)).error).toEqual(exceeded);
  }
  expect((await ask('create_api_key', { max_scope: 'trade:read' }, manager)).error).toEqual(exceeded);
  const key = await make();
  const wider = { id: key.id, max_scope: 'trade:read' };
  expect((await ask('change_scope_in_api_key', wider, manager)).error).toEqual(exceeded);
  expect((await ask('edit_api_key', wider, manager)).error).toEqual(exceeded);
  expect((await ask('remove_api_key', { id: key.id }, manager)).result).toBe('ok');
});

it("hides other keys' secrets from a reader", async () => {
  const key = await make();
  const login = { ...bootstrap(sandbox), client_id: key.client_id, client_secret: key.client_secret };
  const reader = String(record((await post(sandbox, 'public/auth', login)).result).access_token);
  const { result } = await ask('list_api_keys', {}, reader);
  expect(result).toMatchObject([
    { id: 1, client_secret: '********' },
    { id: key.id, client_secret: key.client_secret },
  ]);
});

describe('addKey, the web page', () => {
  it('makes keys without a login, in any account', async () => {
    const [, sub] = sandbox.accountIds;
    expect(sandbox.addKey({ maxScope: 'trade:read', name: 'web', accountId: Number(sub) })).toMatchObject({
      name: 'web',
      max_scope: 'trade:read',
      accountId: sub,
    });
  });

  it.each([{ publicKey: 'x' }, { maxScope: 'x' }, { accountId: 1 }])('refuses %j', (request) => {
    expect(() => sandbox.addKey(request)).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
  });
});
