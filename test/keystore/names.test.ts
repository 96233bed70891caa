import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isKeyName, requireKeyName } from '../../src/keystore/names.js';
import { codeOf, errorOf } from '../support/outcomes.js';
import { addKey, filesOf, filesOfKey, newStore } from './support.js';

it.each(['a', '_', '7', 'bot', 'Bot_2.old-1', 'pem', 'a.pem.x', 'bot.json', 'x'.repeat(64)])(
  'takes the name %j',
  (name) => {
    expect(requireKeyName(name)).toBe(name);
  },
);

it.each([
  '',
  '.',
  '..',
  '.bot',
  '-bot',
  'a/b',
  'a\\b',
  '../bot',
  'bot.pem',
  'bot.PEM',
  'bot.pub',
  'bot.Pub',
  'a b',
  'böt',
  'bot\n',
  'bot\0',
  '-',
  'x'.repeat(65),
])('refuses the name %j as wrong usage', async (name) => {
  expect(isKeyName(name)).toBe(false);
  expect(await codeOf(() => requireKeyName(name))).toBe('ERR_USAGE');
});

it('shows a name that can be shown, and only the length of one that cannot', async () => {
  expect((await errorOf(() => requireKeyName('a b'))).message).toContain('"a b"');
  const error = await errorOf(() => requireKeyName('\u001b[31m'));
  expect(error.message).not.toContain('\u001b');
  expect(error.message).toContain('5 characters');
});

it('takes no name that leads out of the keystore or hides a file', () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[-\w. /\\\0é]{0,6}(\.pem|\.pub)?$/), (name) => {
      if (!isKeyName(name)) return;
      expect(name).toMatch(/^[\w.-]+$/);
      expect(name).not.toMatch(/^[.-]|\.(pub|pem)$/i);
    }),
  );
});

it('keeps names apart that look like another key’s files', async () => {
  const store = newStore();
  await addKey(store, 'bot');
  await addKey(store, 'bot.json');
  expect(filesOf(store)).toEqual([...filesOfKey('bot'), ...filesOfKey('bot.json')].sort());
  expect((await store.list()).records.map(({ name }) => name)).toEqual(['bot', 'bot.json']);
});

it('refuses a name that differs from another only by case, and says which one', async () => {
  const store = newStore();
  await addKey(store, 'Bot');
  const error = await errorOf(addKey(store, 'bOT'));
  expect(error.code).toBe('ERR_NAME_TAKEN');
  expect(error.message).toContain('"Bot"');
  expect(error.hint).toContain('case');
});
