import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { serialisePrivateKey } from '../../src/crypto/formats/index.js';
import { generateKeyPair } from '../../src/crypto/generate.js';
import { encodePrivateKeyPem } from '../../src/crypto/pem.js';
import { Secret } from '../../src/crypto/secret.js';
import { localSigner, verifySignature } from '../../src/crypto/signer.js';
import { formatDuration, parseDuration } from '../../src/util/text.js';
import { authenticate } from '../../src/workflows/account/account.js';
import { endpointFields, endpointOfRecord, selectEndpoint } from '../../src/workflows/context.js';
import { loadSigner } from '../../src/workflows/library.js';
import { sampleRecord } from '../keystore/support.js';
import { temporaryFolder } from '../support/cli.js';
import { codeOf, errorOf } from '../support/outcomes.js';
import { openWorld } from '../support/world.js';

const registeredOn = (environment: 'test' | 'prod', url: string | null = null, name = 'bot') =>
  sampleRecord({ name, state: 'registered', clientId: 'AbCdEf12', environment, url });

describe('where a command goes', () => {
  it.each([
    [{}, [], 'wss://test.deribit.com/ws/api/v2'],
    [{ environment: 'prod' }, [], 'wss://www.deribit.com/ws/api/v2'],
    [{}, [registeredOn('prod')], 'wss://www.deribit.com/ws/api/v2'],
    [{}, [sampleRecord(), registeredOn('prod')], 'wss://www.deribit.com/ws/api/v2'],
    [{ environment: 'prod' }, [registeredOn('prod')], 'wss://www.deribit.com/ws/api/v2'],
    [{ url: 'https://www.deribit.com/api/v2' }, [registeredOn('prod')], 'https://www.deribit.com/api/v2'],
    [{}, [registeredOn('test', 'ws://127.0.0.1:9/ws/api/v2')], 'ws://127.0.0.1:9/ws/api/v2'],
    [
      { url: 'http://127.0.0.1:9/api/v2' },
      [registeredOn('test', 'ws://127.0.0.1:9/ws/api/v2')],
      'http://127.0.0.1:9/api/v2',
    ],
  ] as const)('%j with %j', (choice, records, url) => {
    expect(selectEndpoint(choice, ...records).url).toBe(url);
  });

  it.each([
    [{ environment: 'test' }, [registeredOn('prod')]],
    [{ url: 'wss://test.deribit.com/ws/api/v2' }, [registeredOn('prod')]],
    [{ url: 'ws://127.0.0.1:8/ws/api/v2' }, [registeredOn('test', 'ws://127.0.0.1:9/ws/api/v2')]],
    [{ environment: 'test' }, [registeredOn('test', 'ws://127.0.0.1:9/ws/api/v2')]],
    [{ environment: 'prod', url: 'ws://127.0.0.1:9/ws/api/v2' }, [registeredOn('test', 'ws://127.0.0.1:9/ws/api/v2')]],
    [{}, [registeredOn('prod'), registeredOn('test', null, 'other')]],
  ] as const)('%j contradicts %j', async (choice, records) => {
    const error = await errorOf(() => selectEndpoint(choice, ...records));
    expect(error.code).toBe('ERR_USAGE');
    expect(error.hint).toBeTruthy();
  });

  it('is remembered as it was said', () => {
    for (const choice of [{ environment: 'prod' }, { url: 'ws://127.0.0.1:9/ws/api/v2' }] as const) {
      const endpoint = selectEndpoint(choice);
      expect(endpointOfRecord(sampleRecord(endpointFields(endpoint)))).toEqual(endpoint);
    }
    expect(endpointOfRecord(sampleRecord())).toBe(null);
  });
});

describe('authenticating', () => {
  it('is a real login, whose token outlives the connection where it is asked to', async () => {
    const world = await openWorld('ws');
    await world.register();
    const record = await world.store.read('bot');
    const { login } = await authenticate(world.context, record, {
      endpoint: world.endpoint,
      scope: 'account:read',
      outlives: true,
    });
    expect(login.scope).toContain('account:read');
    expect(login.scope).not.toContain('trade:read');
    const { openHttp } = await import('../../src/deribit/http-transport.js');
    const http = openHttp(world.endpoint);
    const { accessToken } = login;
    expect(await http.request('private/get_account_summary', { currency: 'BTC' }, { accessToken })).toHaveProperty(
      'equity',
    );
    await http.close();
    expect(await authenticate(world.context, record, { endpoint: world.endpoint })).toMatchObject({
      clientId: record.clientId,
    });
  });

  it('with a key that is not registered says what to do', async () => {
    const world = await openWorld('ws');
    const error = await errorOf(
      authenticate(world.context, await world.store.read('bot'), { endpoint: world.endpoint }),
    );
    expect(error).toMatchObject({ code: 'ERR_STATE' });
    expect(error.hint).toContain('register bot');
    expect(world.asked()).toEqual([]);
  });
});

describe('loading a signer for a bot', () => {
  const message = new TextEncoder().encode('1\n2\n');
  const pem = async () => {
    const key = await generateKeyPair({ type: 'ed25519' });
    return { key, pem: encodePrivateKeyPem(key) };
  };

  it.each<[string, (text: string) => string]>([
    ['with real newlines', (text) => text],
    ['with literal \\n', (text) => text.replaceAll('\n', '\\n')],
    ['as base64', (text) => Buffer.from(text).toString('base64')],
    ['in CRLF', (text) => text.replaceAll('\n', '\r\n')],
    ['with its newlines turned to spaces', (text) => text.trim().replaceAll('\n', ' ')],
  ])('takes a PEM out of the environment %s', async (_how, mangle) => {
    const { key, pem: text } = await pem();
    const environment = { DERIBIT_PRIVATE_KEY: mangle(text), MY_KEY: mangle(text) };
    for (const env of [true, 'MY_KEY'] as const) {
      const signer = await loadSigner({ env, environment });
      expect(await verifySignature(key.publicKey, message, await signer.sign(message))).toBe(true);
    }
  });

  it('takes a text, or a file', async () => {
    const { key, pem: text } = await pem();
    const file = join(temporaryFolder(), 'key.pem');
    writeFileSync(file, text, { mode: 0o600 });
    for (const source of [{ pem: text }, { file }]) {
      expect((await loadSigner(source)).publicKey.equals(key.publicKey)).toBe(true);
    }
  });

  it('asks for a passphrase where it needs one, and only there', async () => {
    const { key, pem: plain } = await pem();
    const sealed = String(await serialisePrivateKey(key, { format: 'pkcs8', passphrase: new Secret('x') }));
    let asked = 0;
    const passphrase = async () => {
      asked += 1;
      return 'x';
    };
    await loadSigner({ pem: plain, passphrase });
    expect(asked).toBe(0);
    await loadSigner({ pem: sealed, passphrase });
    expect(asked).toBe(1);
    expect((await loadSigner({ pem: sealed, passphrase: 'x' })).publicKey.equals(key.publicKey)).toBe(true);
    expect(await codeOf(loadSigner({ pem: sealed }))).toBe('ERR_PASSPHRASE_REQUIRED');
    expect(await codeOf(loadSigner({ pem: sealed, passphrase: 'y' }))).toBe('ERR_PASSPHRASE_WRONG');
  });

  it('refuses what is missing, contradictory or no private key', async () => {
    expect(await codeOf(loadSigner({}))).toBe('ERR_USAGE');
    expect(await codeOf(loadSigner({ pem: 'x', env: true }))).toBe('ERR_USAGE');
    expect((await errorOf(loadSigner({ env: true, environment: {} }))).message).toContain('DERIBIT_PRIVATE_KEY');
    expect(await codeOf(loadSigner({ env: 'EMPTY', environment: { EMPTY: '' } }))).toBe('ERR_KEY_UNREADABLE');
    expect(await codeOf(loadSigner({ file: join(temporaryFolder(), 'none') }))).toBe('ERR_KEY_UNREADABLE');
    expect(await codeOf(loadSigner({ pem: 'noise' }))).toBe('ERR_KEY_UNREADABLE');
  });
});

it('a signer shows nothing of the key', async () => {
  const key = await generateKeyPair({ type: 'ed25519' });
  const { inspect } = await import('node:util');
  const seed = Buffer.from(key.exposePkcs8().slice(-32)).toString('base64').slice(0, 16);
  for (const shown of [inspect(localSigner(key), { depth: 9, showHidden: true }), JSON.stringify(localSigner(key))]) {
    expect(shown).not.toContain(seed);
  }
});

describe('durations', () => {
  it.each([
    ['30s', 30_000, '30 seconds'],
    ['1m', 60_000, '1 minute'],
    ['12h', 43_200_000, '12 hours'],
    ['90d', 7_776_000_000, '90 days'],
    ['2w', 1_209_600_000, '14 days'],
    ['0d', 0, '0 seconds'],
  ])('%s is %i ms, told as %s', (text, ms, words) => {
    expect(parseDuration(text)).toBe(ms);
    expect(formatDuration(ms)).toBe(words);
  });

  it.each(['', '5', 'd', '-1d', '1.5h', '1 d', '1D', '12345678d', '1y'])('%j is none', async (text) => {
    expect(await codeOf(() => parseDuration(text))).toBe('ERR_USAGE');
  });
});
