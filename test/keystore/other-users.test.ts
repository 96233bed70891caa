import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Keystore } from '../../src/keystore/keystore.js';
import { serialiseRecord } from '../../src/keystore/record.js';
import { temporaryFolder } from '../support/cli.js';
import { codeOf, errorOf } from '../support/outcomes.js';
import { addKey, isRoot, newStore, sampleRecord } from './support.js';

const OTHER_USER = 12_345;

/** Makes the file another user's: by its owner as root, otherwise by who we say that we are. */
function giveAway(path: string): void {
  if (isRoot) chownSync(path, OTHER_USER, OTHER_USER);
  else vi.spyOn(process, 'geteuid').mockReturnValue(OTHER_USER);
}

/** Puts a change into the keystore that deletes `victim.pem`. */
function plant(store: Keystore, steps: unknown = [{ do: 'delete', file: 'victim.pem' }]): string {
  const folder = join(store.folder, '.bot.commit');
  mkdirSync(folder, { mode: 0o700 });
  writeFileSync(join(folder, 'steps.json'), JSON.stringify(steps), { mode: 0o600 });
  return folder;
}

async function storeWithVictim(): Promise<{ store: Keystore; victim: string }> {
  const store = newStore();
  await addKey(store, 'victim');
  return { store, victim: join(store.folder, 'victim.pem') };
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a change that was prepared', () => {
  it('by this user is carried out', async () => {
    const { store, victim } = await storeWithVictim();
    plant(store);
    await store.withLock('bot', async () => {});
    expect(existsSync(victim)).toBe(false);
  });

  const spoil: readonly (readonly [string, (folder: string) => void])[] = [
    ['in a folder of another user', giveAway],
    ['in a folder that a group can write to', (folder) => chmodSync(folder, 0o770)],
    ['in a folder that all can write to', (folder) => chmodSync(folder, 0o1703)],
    ['with a list of another user', (folder) => giveAway(join(folder, 'steps.json'))],
    ['with a list that all can write to', (folder) => chmodSync(join(folder, 'steps.json'), 0o666)],
  ];
  it.each(spoil)('%s is refused, and nothing of it is done', async (_, damage) => {
    const { store, victim } = await storeWithVictim();
    const folder = plant(store);
    damage(folder);
    const error = await errorOf(store.withLock('bot', async () => {}));
    expect(error.code).toBe('ERR_PERMISSIONS');
    expect(error.message).toContain(folder);
    expect(error.hint).toContain('delete it');
    await store.tidy();
    expect(await codeOf(store.read('bot'))).toBe('ERR_PERMISSIONS');
    expect(existsSync(victim)).toBe(true);
  });

  it('behind a symbolic link, or no folder at all, is refused', async () => {
    const { store, victim } = await storeWithVictim();
    const elsewhere = newStore();
    mkdirSync(elsewhere.folder);
    symlinkSync(plant(elsewhere), join(store.folder, '.bot.commit'));
    writeFileSync(join(store.folder, '.other.commit'), '');
    for (const name of ['bot', 'other']) {
      const error = await errorOf(store.withLock(name, async () => {}));
      expect(error.code).toBe('ERR_PERMISSIONS');
      expect(error.message).toContain(`.${name}.commit`);
      expect(error.hint).toBeDefined();
    }
    expect(existsSync(victim)).toBe(true);
  });

  it('does not pass through a symbolic link, wherever it stands on the way', async () => {
    const outside = temporaryFolder();
    writeFileSync(join(outside, 'theirs'), 'kept');
    for (const step of [
      { do: 'move', from: 'victim.pem', to: 'retired/theirs' },
      { do: 'move', from: 'retired/theirs', to: 'taken' },
      { do: 'move', from: 'victim.pem', to: 'retired/deep/theirs' },
      { do: 'create', file: 'retired/new', staged: '0' },
      { do: 'replace', file: 'retired/theirs', staged: '0' },
      { do: 'append', file: 'retired/theirs', line: 'more' },
      { do: 'delete', file: 'retired/theirs' },
    ]) {
      const { store, victim } = await storeWithVictim();
      symlinkSync(outside, join(store.folder, 'retired'));
      writeFileSync(join(plant(store, [step]), '0'), 'staged');
      const error = await errorOf(store.withLock('bot', async () => {}));
      expect(error.code).toBe('ERR_PERMISSIONS');
      expect(error.message).toContain(join(store.folder, 'retired'));
      expect(existsSync(victim)).toBe(true);
      expect(readdirSync(outside)).toEqual(['theirs']);
      expect(readFileSync(join(outside, 'theirs'), 'utf8')).toBe('kept');
    }
  });
});

it('a new change that would pass through a symbolic link is not decided', async () => {
  const { store, victim } = await storeWithVictim();
  const outside = temporaryFolder();
  symlinkSync(outside, join(store.folder, 'retired'));
  const work = store.withLock('victim', (key) =>
    key.change([{ do: 'move', from: 'victim.pem', to: 'retired/victim.pem' }]),
  );
  const error = await errorOf(work);
  expect(error.code).toBe('ERR_PERMISSIONS');
  expect(error.hint).toContain('inspect where it leads');
  expect(existsSync(victim)).toBe(true);
  expect(readdirSync(outside)).toEqual([]);
  await store.read('victim');
});

it('the audit log is not written through a symbolic link, neither directly nor as a step of a change', async () => {
  const store = newStore();
  const target = join(temporaryFolder(), 'authorized_keys');
  writeFileSync(target, 'mine\n');
  mkdirSync(store.folder);
  symlinkSync(target, join(store.folder, 'audit.jsonl'));
  for (const work of [store.audit({ action: 'test' }), addKey(store, 'bot')]) {
    const error = await errorOf(work);
    expect(error.code).toBe('ERR_PERMISSIONS');
    expect(error.message).toContain('audit.jsonl is a symbolic link');
    expect(error.hint).toBeDefined();
  }
  expect(readFileSync(target, 'utf8')).toBe('mine\n');
});

it('an audit log under a path that goes in circles is an error of the file system', async () => {
  const folder = temporaryFolder();
  symlinkSync('circle', join(folder, 'circle'));
  const { appendLines } = await import('../../src/keystore/audit-log.js');
  expect(await codeOf(appendLines(join(folder, 'circle', 'audit.jsonl'), ['line']))).toBe('ERR_KEYSTORE_IO');
});

describe('a record that names code to load', () => {
  const module = '/tmp/evil.so';
  const signer = { kind: 'pkcs11', module, token: 't', label: 'l', id: null } as const;

  function storeWithRecord(record = sampleRecord({ signer })): { store: Keystore; path: string } {
    const store = newStore();
    mkdirSync(store.folder, { mode: 0o700 });
    const path = join(store.folder, 'bot.json');
    writeFileSync(path, serialiseRecord(record), { mode: 0o600 });
    return { store, path };
  }

  it('is read where it is this user’s', async () => {
    expect((await storeWithRecord().store.read('bot')).signer).toEqual(signer);
  });

  const spoil: readonly (readonly [string, (path: string) => void])[] = [
    ['is another user’s', giveAway],
    ['can be written by a group', (path) => chmodSync(path, 0o660)],
    ['can be written by all', (path) => chmodSync(path, 0o606)],
  ];
  it.each(spoil)('is refused where it %s', async (_, damage) => {
    const { store, path } = storeWithRecord();
    damage(path);
    const error = await errorOf(store.read('bot'));
    expect(error.code).toBe('ERR_PERMISSIONS');
    expect(error.message).toContain(path);
    expect(error.hint).toContain('chmod go-w');
    expect(await codeOf(store.withLock('bot', (key) => key.read()))).toBe('ERR_PERMISSIONS');
    expect((await store.list()).damaged).toMatchObject([{ name: 'bot', error: { code: 'ERR_PERMISSIONS' } }]);
  });

  it('is no concern where it names none', async () => {
    const { store, path } = storeWithRecord(sampleRecord());
    giveAway(path);
    expect((await store.read('bot')).signer).toBeNull();
  });
});
