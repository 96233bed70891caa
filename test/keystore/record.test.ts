import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isDeribitKeysError } from '../../src/errors.js';
import { asLocal, type KeyRecord, parseRecord, serialiseRecord } from '../../src/keystore/record.js';
import { cli } from '../support/cli.js';
import { codeOf, errorOf } from '../support/outcomes.js';
import { propertyRuns } from '../support/properties.js';
import { addKey, newStore, sampleRecord } from './support.js';

const AGENT = { kind: 'ssh-agent', fingerprint: 'SHA256:x', comment: null, socket: '/run/agent' } as const;
const reread = (record: KeyRecord) => parseRecord(serialiseRecord(record), 'bot.json', 'bot');
const altered = (changes: Record<string, unknown>) => () =>
  parseRecord(JSON.stringify({ schema: 1, ...sampleRecord(), ...changes }), '/keys/bot.json', 'bot');

describe('a record', () => {
  it('reads back as it was written', () => {
    const record = sampleRecord({
      algorithm: 'rsa',
      bits: 3072,
      state: 'registered',
      environment: 'test',
      clientId: 'AbCdEf12',
      keyId: 7,
      scope: 'account:read',
      registeredAt: '2026-11-23T16:00:00Z',
      url: 'ws://127.0.0.1:8080/ws/api/v2',
      features: ['block_trade_approval'],
      ipWhitelist: ['203.0.113.7'],
      subaccount: 3,
    });
    expect(reread(record)).toEqual(record);
  });

  it('reads back with each kind of signer', () => {
    const token = { kind: 'pkcs11', module: '/lib/p11.so', token: 't', label: 'l', id: null } as const;
    for (const signer of [AGENT, token]) expect(reread(sampleRecord({ signer })).signer).toEqual(signer);
  });

  it('keeps what the exchange says as it is, whatever words it uses', () => {
    const record = sampleRecord({
      keyId: -5,
      scope: 'account:read wallet2:read_write future_word',
      label: 'x'.repeat(5000),
      features: ['a feature of tomorrow', ''],
      ipWhitelist: [
        '10.0.0.0/8',
        'everywhere',
        ...Array.from({ length: 10_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`),
      ],
    });
    expect(reread(record)).toEqual(record);
  });

  it.each<[string, Partial<KeyRecord>]>([
    ['keyId', { keyId: 1.5 }],
    ['clientId', { state: 'registered', environment: 'test' }],
    ['registeredAt', { registeredAt: 'tomorrow' }],
    ['bytes', { label: 'x'.repeat(1024 * 1024) }],
  ])('that could not be read again, by its %s, is not written', async (what, changes) => {
    const error = await errorOf(() => serialiseRecord(sampleRecord(changes)));
    expect(error).toMatchObject({ code: 'ERR_STATE', message: expect.stringContaining(what) });
  });

  it('of a registered key becomes one that the exchange does not know, and stays the same key', () => {
    const local = sampleRecord({ restoredAt: '2026-11-24T00:00:00Z', signer: AGENT });
    const registered: KeyRecord = {
      ...local,
      state: 'registered',
      environment: 'test',
      url: 'ws://127.0.0.1:8080/ws/api/v2',
      clientId: 'AbCdEf12',
      keyId: 7,
      scope: 'account:read',
      label: 'bot',
      features: ['block_trade_approval'],
      ipWhitelist: ['203.0.113.7'],
      registeredAt: '2026-11-23T16:00:00Z',
      subaccount: 3,
      registrar: 'AbCdEf13',
      uncertainUntil: '2026-11-23T16:00:00Z',
      removedAt: '2026-11-23T16:00:00Z',
    };
    expect(asLocal(registered)).toEqual(local);
    expect(Object.keys(registered).sort()).toEqual(Object.keys(local).sort());
  });

  it('of an older version reads with the fields that it lacks as null', () => {
    const { publicKey, registrar, uncertainUntil, removedAt, restoredAt, ...old } = sampleRecord();
    expect(parseRecord(JSON.stringify({ schema: 1, ...old }), 'bot.json', 'bot')).toEqual(sampleRecord());
    expect([publicKey, registrar, uncertainUntil, removedAt, restoredAt]).toEqual(Array(5).fill(null));
  });

  it('passes over fields that it does not know', () => {
    expect(altered({ colour: 'blue', __proto__: { x: 1 } })()).toEqual(sampleRecord());
  });

  it.each<[string, Record<string, unknown>]>([
    ['name', { name: 'other' }],
    ['name', { name: '../bot' }],
    ['name', { name: 7 }],
    ['algorithm', { algorithm: 'dsa' }],
    ['bits', { bits: 2048 }],
    ['bits', { bits: -1 }],
    ['bits', { algorithm: 'rsa', bits: null }],
    ['fingerprint', { fingerprint: '9C:6D' }],
    ['fingerprint', { fingerprint: undefined }],
    ['encrypted', { encrypted: 'no' }],
    ['state', { state: 'Registered' }],
    ['clientId', { state: 'registered', environment: 'test' }],
    ['environment', { state: 'registered', clientId: 'AbCdEf12' }],
    ['environment', { environment: 'live' }],
    ['keyId', { keyId: 1.5 }],
    ['scope', { scope: ['account:read'] }],
    ['scope', { scope: 5000 }],
    ['createdAt', { createdAt: 'yesterday' }],
    ['createdAt', { createdAt: '2026' }],
    ['createdAt', { createdAt: '2026-13-45T99:00:00Z' }],
    ['registeredAt', { registeredAt: 5 }],
    ['url', { url: 'ws://deribit.example/ws/api/v2' }],
    ['url', { url: 'file:///etc/passwd' }],
    ['url', { url: 'wss://user:secret@example.org/' }],
    ['features', { features: 'all' }],
    ['ipWhitelist', { ipWhitelist: [7] }],
    ['subaccount', { subaccount: '3' }],
    ['signer', { signer: { kind: 'cloud' } }],
    ['signer', { signer: 'agent' }],
    ['signer', { signer: { kind: 'ssh-agent', fingerprint: 1 } }],
    ['schema', { schema: '1' }],
    ['schema', { schema: 0 }],
    ['schema', { schema: undefined }],
  ])('with a wrong %s is refused as damaged, by file and field', async (field, changes) => {
    const error = await errorOf(altered(changes));
    expect(error.code).toBe('ERR_RECORD_DAMAGED');
    expect(error.message).toContain('/keys/bot.json');
    expect(error.message).toContain(field === 'name' ? 'name' : `"${field}"`);
    expect(error.hint).toBeTruthy();
    expect(error.message).not.toContain('secret');
  });

  it.each(['', 'null', '[]', '"text"', '{"schema":1', '7'])('that is %j is refused as damaged', async (text) => {
    expect(await codeOf(() => parseRecord(text, 'bot.json', 'bot'))).toBe('ERR_RECORD_DAMAGED');
  });

  it('of a newer schema is refused by version, whatever else is in it', async () => {
    const error = await errorOf(() => parseRecord('{"schema":2,"all":"new"}', '/keys/bot.json', 'bot'));
    expect(error.code).toBe('ERR_RECORD_NEWER');
    expect(error.message).toContain('/keys/bot.json');
  });

  it('is read from any text, or refused with a reason', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        try {
          parseRecord(text, 'bot.json', 'bot');
        } catch (error) {
          expect(isDeribitKeysError(error, 'ERR_RECORD_DAMAGED', 'ERR_RECORD_NEWER')).toBe(true);
        }
      }),
    );
  });

  it('with any one field replaced by anything is read as a valid record, or refused with a reason', () => {
    const field = fc.constantFrom('schema', ...Object.keys(sampleRecord()));
    let read = 0;
    fc.assert(
      fc.property(field, fc.jsonValue(), (name, value) => {
        try {
          const record = altered({ [name]: value })();
          expect(reread(record)).toEqual(record);
          read += 1;
        } catch (error) {
          expect(isDeribitKeysError(error, 'ERR_RECORD_DAMAGED', 'ERR_RECORD_NEWER')).toBe(true);
        }
      }),
      { numRuns: propertyRuns(1000) },
    );
    expect(read).toBeGreaterThan(0);
  });

  it('with any of its bytes changed is read as a valid record, or refused with a reason', () => {
    const text = serialiseRecord(sampleRecord());
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.string({ maxLength: 3 }), (at, put) => {
        try {
          parseRecord(text.slice(0, at) + put + text.slice(at + 1), 'bot.json', 'bot');
        } catch (error) {
          expect(isDeribitKeysError(error, 'ERR_RECORD_DAMAGED', 'ERR_RECORD_NEWER')).toBe(true);
        }
      }),
      { numRuns: propertyRuns(500) },
    );
  });
});

describe('one bad record', () => {
  it.each<[string, (path: string) => void]>([
    ['cut short', (path) => writeFileSync(path, readFileSync(path, 'utf8').slice(0, 40))],
    ['empty', (path) => writeFileSync(path, '')],
    ['of a newer schema', (path) => writeFileSync(path, '{"schema":99}')],
    ['with binary noise', (path) => writeFileSync(path, Buffer.from([0, 255, 254, 10]))],
    ['larger than a record can be', (path) => writeFileSync(path, ' '.repeat(65 * 1024))],
  ])('%s leaves the other keys alone, and stays as it is', async (_what, spoil) => {
    const store = newStore();
    await addKey(store, 'bad');
    await addKey(store, 'good');
    const path = store.files('bad').record;
    spoil(path);
    const before = readFileSync(path);

    const { records, damaged } = await store.list();
    expect(records.map(({ name }) => name)).toEqual(['good']);
    expect(damaged.map(({ name }) => name)).toEqual(['bad']);
    expect(damaged[0]?.error.message).toContain(path);
    expect(await store.read('good')).toMatchObject({ name: 'good' });
    expect(['ERR_RECORD_DAMAGED', 'ERR_RECORD_NEWER', 'ERR_KEYSTORE_IO']).toContain(await codeOf(store.read('bad')));
    expect(await codeOf(addKey(store, 'bad'))).toBe('ERR_NAME_TAKEN');
    expect(readFileSync(path)).toEqual(before);
  });

  it('that is a folder or leads nowhere is told, and the others are listed', async () => {
    const store = newStore();
    await addKey(store, 'good');
    mkdirSync(join(store.folder, 'folder.json'));
    symlinkSync('nowhere', join(store.folder, 'link.json'));
    const { records, damaged } = await store.list();
    expect(records.map(({ name }) => name)).toEqual(['good']);
    expect(damaged.map(({ name }) => name)).toContain('folder');
  });

  it('files that are no records are passed over', async () => {
    const store = newStore();
    await addKey(store, 'good');
    for (const file of ['notes.txt', '.hidden.json', 'a b.json', '-x.json'])
      writeFileSync(join(store.folder, file), '{}');
    expect(await store.list()).toMatchObject({ records: [{ name: 'good' }], damaged: [] });
  });
});

describe('the list of keys', () => {
  it('goes by name, the old pairs of a key behind the key, and retired keys come last on the command line', async () => {
    const store = newStore();
    for (const name of ['bot.20261123T160300Z', 'bot', 'bots', 'a']) await addKey(store, name);
    const names = (await store.list()).records.map(({ name }) => name);
    expect(names).toEqual(['a', 'bot', 'bot.20261123T160300Z', 'bots']);
    const old = await store.read('a');
    await store.withLock('a', (locked) => locked.save({ ...old, state: 'retired' }));
    const listed = (await cli(['list', '--json', '--keys-dir', store.folder])).json<{ name: string }[]>();
    expect(listed.map(({ name }) => name)).toEqual(['bot', 'bot.20261123T160300Z', 'bots', 'a']);
  });
});

describe('a name that is not there', () => {
  it('is told with what is near it', async () => {
    const store = newStore();
    await addKey(store, 'Bot');
    const error = await errorOf(store.read('bot'));
    expect(error.code).toBe('ERR_NO_SUCH_NAME');
    expect(error.hint).toContain('"Bot"');
  });

  it('is told with the private key that lost its record', async () => {
    const store = newStore();
    await addKey(store, 'bot');
    writeFileSync(join(store.folder, 'lost.pem'), 'x');
    const error = await errorOf(store.read('lost'));
    expect(error.code).toBe('ERR_NO_SUCH_NAME');
    expect(error.hint).toContain('lost.pem');
    const taken = await errorOf(addKey(store, 'lost'));
    expect(taken.code).toBe('ERR_NAME_TAKEN');
    expect(taken.message).toContain('lost.pem');
  });

  it('makes no folder', async () => {
    const store = newStore();
    expect(await codeOf(store.read('bot'))).toBe('ERR_NO_SUCH_NAME');
    expect(await store.list()).toEqual({ records: [], damaged: [] });
    await store.tidy();
    expect(existsSync(store.folder)).toBe(false);
  });
});
