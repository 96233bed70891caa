import { createHash, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { faultNames, type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { ed25519, type Json, type KeyPair, post, record, signed, token } from '../client.js';

const nowMs = 1_780_000_000_000;
const secretOfSymmetric = /^[A-Za-z0-9_-]{43}$/;

let sandbox: Sandbox;
let access: string;
let pair: KeyPair;
let clientId: string;
let keyId: number;
beforeEach(async () => {
  sandbox = await startSandbox({ now: () => nowMs });
  access = await token(sandbox);
  pair = ed25519();
  ({ client_id: clientId, id: keyId } = sandbox.addKey({ publicKey: pair.pem }));
});
afterEach(() => sandbox.close());

async function codeOf(params: Json): Promise<number | 'ok'> {
  return (await post(sandbox, 'public/auth', params)).error?.code ?? 'ok';
}

const login = (options: Parameters<typeof signed>[2] = {}) =>
  codeOf(signed(clientId, pair.privateKey, { timestamp: nowMs, ...options }));

async function call(method: string, params: Json = {}): Promise<unknown> {
  const answer = await post(sandbox, method, params, access);
  return answer.error?.code ?? answer.result;
}

describe('a login', () => {
  const encoded = (encoding: BufferEncoding, nonce: string) => {
    const signature = sign(null, Buffer.from(`${nowMs}\n${nonce}\n`), pair.privateKey).toString(encoding);
    return codeOf({ grant_type: 'client_signature', client_id: clientId, timestamp: nowMs, nonce, signature });
  };

  it.each([
    [null, ['ok', 13_004, 13_004]],
    ['base64url', ['ok', 13_004, 13_004]],
    ['base64', [13_004, 'ok', 13_004]],
    ['hex', [13_004, 13_004, 'ok']],
    ['any', ['ok', 'ok', 'ok']],
  ])('takes the signature encoding of %s', async (encoding, expected) => {
    if (encoding !== null) sandbox.setFaults([`signature-encoding:${encoding}`]);
    expect([await encoded('base64url', 'a'), await encoded('base64', 'b'), await encoded('hex', 'c')]).toEqual(
      expected,
    );
  });

  it('can refuse a nonce that comes again with another timestamp', async () => {
    expect([await login({ nonce: 'abcd' }), await login({ nonce: 'abcd', timestamp: nowMs - 1 })]).toEqual([
      'ok',
      'ok',
    ]);
    sandbox.setFaults(['nonce-once']);
    expect(await login({ nonce: 'abcd', timestamp: nowMs - 2 })).toBe(13_004);
    expect(await login({ nonce: 'other' })).toBe('ok');
  });

  it('can take an exact replay', async () => {
    const request = signed(clientId, pair.privateKey, { timestamp: nowMs });
    expect([await codeOf(request), await codeOf(request)]).toEqual(['ok', 13_004]);
    sandbox.setFaults(['replay-accepted']);
    expect(await codeOf(request)).toBe('ok');
  });

  it('can tolerate more or less of the future', async () => {
    expect([await login({ timestamp: nowMs + 59_000 }), await login({ timestamp: nowMs + 61_000 })]).toEqual([
      'ok',
      13_004,
    ]);
    sandbox.setFaults(['future-tolerance:5000']);
    expect([await login({ timestamp: nowMs + 4_000 }), await login({ timestamp: nowMs + 6_000 })]).toEqual([
      'ok',
      13_004,
    ]);
    sandbox.setFaults(['future-tolerance:600000']);
    expect(await login({ timestamp: nowMs + 599_000 })).toBe('ok');
  });

  it('can take a stale timestamp', async () => {
    expect(await login({ timestamp: nowMs - 61_000 })).toBe(13_004);
    sandbox.setFaults(['stale-accepted']);
    expect(await login({ timestamp: nowMs - 3_600_000 })).toBe('ok');
  });

  it.each([13_009, 10_000])('can answer a wrong signature with %i, and everything else with 13004', async (code) => {
    sandbox.setFaults([`signature-error:${code}`]);
    const other = ed25519();
    expect(await codeOf(signed(clientId, other.privateKey, { timestamp: nowMs }))).toBe(code);
    expect(await codeOf(signed('no_such_id', pair.privateKey, { timestamp: nowMs }))).toBe(13_004);
    expect(await login()).toBe('ok');
  });
});

describe('a key', () => {
  const another = (params: Json = {}) => call('private/create_api_key', { max_scope: 'trade:read', ...params });

  it('can be refused where its public key is registered already', async () => {
    expect(await another({ public_key: pair.pem })).toMatchObject({ enabled: true });
    sandbox.setFaults(['duplicate-key-refused']);
    expect(await another({ public_key: pair.pem })).toBe(-32_602);
    expect(await another({ public_key: ed25519().pem })).toMatchObject({ enabled: true });
  });

  it('that is asymmetric can be reset: to nothing new, or to a symmetric one', async () => {
    expect(await call('private/reset_api_key', { id: keyId })).toBe(-32_602);
    sandbox.setFaults(['reset-asymmetric']);
    const same = record(await call('private/reset_api_key', { id: keyId }));
    expect(same).toMatchObject({ public_key: expect.any(String), client_id: clientId });
    expect(await login()).toBe('ok');
    sandbox.setFaults(['reset-asymmetric:symmetric']);
    const symmetric = record(await call('private/reset_api_key', { id: keyId }));
    expect(symmetric.client_secret).toMatch(secretOfSymmetric);
    expect(symmetric).not.toHaveProperty('public_key');
    expect(await login()).toBe(13_004);
  });

  it('can have a name of more than 16 characters', async () => {
    const name = 'n'.repeat(17);
    expect(await another({ name })).toBe(-32_602);
    sandbox.setFaults(['long-names']);
    expect(await another({ name })).toMatchObject({ name });
    expect(await another({ name: 'a b' })).toBe(-32_602);
  });

  it('can be refused where max_scope is a list', async () => {
    expect(await another({ max_scope: ['trade:read'] })).toMatchObject({ max_scope: 'trade:read' });
    sandbox.setFaults(['scope-array-refused']);
    expect(await another({ max_scope: ['trade:read'] })).toBe(-32_602);
    expect(await another()).toMatchObject({ max_scope: 'trade:read' });
  });

  it('can have another digest as its fingerprint, the same in every answer', async () => {
    sandbox.setFaults(['fingerprint-digest']);
    const { client_secret: fingerprint, id } = record(await another({ public_key: pair.pem }));
    const der = Buffer.from(pair.pem.replace(/-----.*-----|\s/g, ''), 'base64');
    expect(String(fingerprint).replaceAll(':', '')).toBe(createHash('sha256').update(der).digest('hex'));
    const list = (await call('private/list_api_keys')) as readonly Json[];
    expect(list.find((key) => key.id === id)?.client_secret).toBe(fingerprint);
    sandbox.setFaults(['fingerprint-digest:pem']);
    expect(record(await another({ public_key: pair.pem })).client_secret).not.toBe(fingerprint);
  });
});

describe('hiding', () => {
  const fields = {
    'hide-secret': ['client_secret'],
    'hide-public-key': ['public_key'],
    'hide-key': ['client_secret', 'public_key'],
  };
  const looks = { absent: undefined, empty: '', masked: '***' };
  const ways = Object.entries(fields).flatMap(([fault, names]) =>
    Object.entries(looks).map(([way, look]) => [fault, way, names, look] as const),
  );

  it.each(ways)('%s:%s shows it so in every answer with a key', async (fault, way, names, look) => {
    sandbox.setFaults([`${fault}:${way}`]);
    const made = record(await call('private/create_api_key', { max_scope: 'trade:read', public_key: ed25519().pem }));
    const list = (await call('private/list_api_keys')) as readonly Json[];
    for (const key of [made, list.find(({ id }) => id === made.id) ?? {}]) {
      for (const name of ['client_secret', 'public_key']) {
        if (names.includes(name)) expect(key[name]).toBe(look);
        else expect(key[name]).toMatch(/^[0-9a-f:]{47}$|BEGIN PUBLIC KEY/);
        expect(name in key).toBe(look !== undefined || !names.includes(name));
      }
    }
  });

  it.each(ways)('%s:%s-others spares the key that the caller is logged in with', async (fault, way, names, look) => {
    sandbox.setFaults([`${fault}@private/list_api_keys:${way}-others`]);
    const list = (await call('private/list_api_keys')) as readonly Json[];
    const own = list.find(({ client_id: id }) => id === sandbox.clientId);
    const other = list.find(({ id }) => id === keyId);
    expect(own?.client_secret).toBe(sandbox.clientSecret);
    for (const name of names) expect(other?.[name]).toBe(look);
  });

  it('of enabled leaves it away', async () => {
    sandbox.setFaults(['hide-enabled']);
    for (const key of (await call('private/list_api_keys')) as readonly Json[])
      expect(key).not.toHaveProperty('enabled');
  });
});

it.each([
  ['upper', /^[0-9A-F]{2}(:[0-9A-F]{2}){15}$/],
  ['bare', /^[0-9a-f]{32}$/],
  ['spaced', /^ [0-9a-f]{2}( [0-9a-f]{2}){15}\n$/],
])('a fingerprint can be written %s', async (form, pattern) => {
  sandbox.setFaults([`fingerprint-form:${form}`]);
  const fingerprint = sandbox.keys().find(({ id }) => id === keyId)?.client_secret ?? '';
  const list = (await call('private/list_api_keys')) as readonly Json[];
  const shown = String(list.find(({ id }) => id === keyId)?.client_secret);
  expect(shown).toMatch(pattern);
  expect(shown.replace(/[\s:]/g, '').toLowerCase()).toBe(fingerprint.replaceAll(':', ''));
});

it('every fault stands in the README', () => {
  const readme = readFileSync(new URL('../../../src/sandbox/README.md', import.meta.url), 'utf8');
  expect(faultNames.filter((name) => !new RegExp(`\`${name}[\`:[]`).test(readme))).toEqual([]);
});
