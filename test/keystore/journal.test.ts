import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isDeribitKeysError } from '../../src/errors.js';
import {
  listJournals,
  parseJournal,
  type RotationJournal,
  readJournal,
  writeJournal,
} from '../../src/keystore/journal.js';
import { openKeystore } from '../../src/keystore/keystore.js';
import { localRecord } from '../../src/keystore/record.js';
import { successorKind } from '../../src/workflows/rotation/start.js';
import { temporaryFolder } from '../support/cli.js';

const journal: RotationJournal = {
  name: 'bot',
  stage: 'promoted',
  successor: 'bot.next-00112233',
  archive: 'bot.20260102T030405Z',
  previous: { clientId: 'AbCdEf12', keyId: 7, fingerprint: '00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff' },
  kind: { type: 'rsa', bits: 2048 },
  plan: { scope: 'trade:read', label: 'bot', features: [], ipWhitelist: ['127.0.0.1'] },
  graceMs: 1000,
  startedAt: '2026-01-02T03:04:00.000Z',
  promotedAt: '2026-01-02T03:04:05.000Z',
};

function textOf(value: RotationJournal): string {
  const step = writeJournal(value);
  if (step.do !== 'replace') throw new Error('another step');
  return step.content;
}

test('a journal is read back as it was written', async () => {
  expect(parseJournal(textOf(journal), 'file')).toEqual(journal);
  const folder = join(temporaryFolder(), 'keys');
  await mkdir(folder);
  const store = openKeystore(folder);
  expect(await listJournals(store)).toEqual([]);
  for (const name of ['bot', 'Other.key']) {
    await store.withLock(name, (locked) => locked.change([writeJournal({ ...journal, name })]));
  }
  expect(await readJournal(store, 'other.KEY')).toMatchObject({ name: 'Other.key' });
  expect((await listJournals(store)).map(({ name }) => name)).toEqual(['bot', 'Other.key']);
  expect((await store.list()).records).toEqual([]);
});

describe('a damaged journal is refused, naming what is wrong', () => {
  const fields = { schema: 1, ...journal };
  const wrong: readonly (readonly [string, Record<string, unknown>])[] = [
    ...Object.keys(fields).map((field) => [field, { ...fields, [field]: undefined }] as const),
    ['stage', { ...fields, stage: 'lost' }],
    ['archive', { ...fields, stage: 'begun', promotedAt: null }],
    ['promotedAt', { ...fields, stage: 'begun', archive: null }],
    ['successor', { ...fields, successor: '../bot' }],
    ['kind', { ...fields, kind: { type: 'rsa', bits: 1024 } }],
    ['kind', { ...fields, kind: { type: 'ed25519', bits: 2048 } }],
    ['graceMs', { ...fields, graceMs: -1 }],
    ['plan', { ...fields, plan: { ...journal.plan, features: [1] } }],
    ['previous', { ...fields, previous: { ...journal.previous, keyId: '7' } }],
  ];
  test.each(wrong)('%s', (field, value) => {
    expect(() => parseJournal(JSON.stringify(value), 'file')).toThrow(
      expect.objectContaining({ code: 'ERR_RECORD_DAMAGED', message: expect.stringContaining(`"${field}"`) }),
    );
  });

  test('a newer version', () => {
    expect(() => parseJournal(JSON.stringify({ ...fields, schema: 2 }), 'file')).toThrow(
      expect.objectContaining({ code: 'ERR_RECORD_NEWER' }),
    );
  });

  test('any other text', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.json().map((text) => `{"schema":1,"name":${text}}`),
        ),
        (text) => {
          try {
            parseJournal(text, 'file');
          } catch (error) {
            return isDeribitKeysError(error, 'ERR_RECORD_DAMAGED', 'ERR_RECORD_NEWER');
          }
          return false;
        },
      ),
    );
  });

  test('on the disk', async () => {
    const folder = join(temporaryFolder(), 'keys');
    await mkdir(folder);
    await writeFile(join(folder, '.bot.rotation.json'), '[]');
    await expect(readJournal(openKeystore(folder), 'bot')).rejects.toMatchObject({ code: 'ERR_RECORD_DAMAGED' });
  });
});

describe('the kind of key that follows', () => {
  const like = (bits: number | null) =>
    localRecord({
      name: 'bot',
      algorithm: bits === null ? 'ed25519' : 'rsa',
      bits,
      fingerprint: journal.previous.fingerprint,
      publicKey: null,
      encrypted: false,
      createdAt: journal.startedAt,
    });

  test.each([
    [null, {}, 'ed25519', null],
    [2048, {}, 'rsa', 2048],
    [2500, {}, 'rsa', 3072],
    [4096, {}, 'rsa', 4096],
    [8192, {}, 'rsa', 4096],
    [null, { type: 'rsa' }, 'rsa', 3072],
    [null, { type: 'rsa', bits: 4096 }, 'rsa', 4096],
    [2048, { bits: 3072 }, 'rsa', 3072],
    [2048, { type: 'ed25519' }, 'ed25519', null],
  ] as const)('after %s bits, with the choice %o, is %s of %s bits', (old, choice, type, bits) => {
    expect(successorKind(like(old), choice)).toMatchObject({ type, bits });
  });

  test('is a usage error where it makes no sense', () => {
    expect(() => successorKind(like(2048), { type: 'ed25519', bits: 2048 })).toThrow(
      expect.objectContaining({ code: 'ERR_USAGE' }),
    );
  });
});

test('a journal says where a successor is made, also as earlier releases wrote it', () => {
  const target = { kind: 'pkcs11', module: '/p11.so', token: 'bots' } as const;
  const text = (kind: object) => JSON.stringify({ schema: 1, ...journal, kind: { ...journal.kind, ...kind } });
  const expected = { ...journal, kind: { ...journal.kind, target } };
  expect(parseJournal(text({ target }), 'file')).toEqual(expected);
  expect(parseJournal(text({ place: target }), 'file')).toEqual(expected);
  for (const wrong of [{ target: { kind: 'pkcs11' } }, { place: { kind: 'moon' } }, { target: null }]) {
    expect(() => parseJournal(text(wrong), 'file')).toThrow(/"kind" is missing or not valid/);
  }
});
