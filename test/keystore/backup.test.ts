import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Decrypter, Encrypter } from 'age-encryption';
import fc from 'fast-check';
import { createTar } from 'nanotar';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { Secret } from '../../src/crypto/secret.js';
import { DeribitKeysError, isDeribitKeysError } from '../../src/errors.js';
import { readAudit } from '../../src/keystore/audit-log.js';
import { writeBackup } from '../../src/keystore/backup.js';
import { type Keystore, openKeystore } from '../../src/keystore/keystore.js';
import { restoreBackup } from '../../src/keystore/restore.js';
import { generate, retireKey, storePublicKey } from '../../src/keystore/stored-keys.js';
import { afterFile } from '../support/after-test.js';
import { cli, temporaryFolder } from '../support/cli.js';
import { codeOf, errorOf } from '../support/outcomes.js';
import { propertyRuns } from '../support/properties.js';
import { addKey, filesOf, filesOfKey, newStore } from './support.js';

vi.setConfig({ testTimeout: 120_000 });

const PASSPHRASE = new Secret('correct horse');
const RESTORED = '2026-11-23T12:00:00.000Z';
const backupPath = () => join(temporaryFolder(), 'keys.age');

function contents(store: Keystore, folder = '.'): Record<string, string> {
  const entries = readdirSync(join(store.folder, folder), { recursive: true, encoding: 'utf8' });
  const files = entries.filter((file) => /\.(pem|json)$/.test(file)).sort();
  return Object.fromEntries(files.map((file) => [file, readFileSync(join(store.folder, folder, file), 'utf8')]));
}

/** A backup with these files in it, whatever they are; its work factor is the least there is. */
async function forge(files: Readonly<Record<string, string>> | Uint8Array, passphrase = PASSPHRASE): Promise<string> {
  const encrypter = new Encrypter();
  encrypter.setPassphrase(passphrase.reveal());
  encrypter.setScryptWorkFactor(1);
  const tar =
    files instanceof Uint8Array
      ? files
      : createTar(Object.entries(files).map(([name, data]) => ({ name, data: new TextEncoder().encode(data) })));
  const path = backupPath();
  writeFileSync(path, await encrypter.encrypt(tar));
  return path;
}

/** A keystore with three keys, and its backup, made once for the tests that only read them. */
let backedUp: { readonly store: Keystore; readonly path: string };
beforeAll(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-test-'));
  afterFile(() => rmSync(folder, { recursive: true, force: true }));
  const store = openKeystore(join(folder, 'keys'));
  for (const name of ['one', 'two', 'three']) await addKey(store, name);
  const path = join(folder, 'keys.age');
  expect(await writeBackup(store, { path, passphrase: PASSPHRASE })).toBe(3);
  backedUp = { store, path };
});

describe('a backup', () => {
  it('brings everything back as it was: keys, records, what was retired', async () => {
    const store = newStore();
    await addKey(store, 'bot');
    await generate(store, 'safe', { type: 'ed25519', passphrase: new Secret('x') });
    const { key } = await addKey(store, 'old');
    await storePublicKey(store, {
      name: 'hsm',
      publicKey: key.publicKey,
      signer: {
        kind: 'pkcs11',
        module: 'm',
        token: 't',
        label: 'l',
        id: null,
      },
    });
    await store.withLock('old', async (locked) =>
      retireKey(store, { locked, record: await locked.read(), purge: false }),
    );
    const path = backupPath();
    expect(await writeBackup(store, { path, passphrase: PASSPHRASE })).toBe(3);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, 'latin1')).toMatch(/^age-encryption\.org\/v1\n/);
    expect(readFileSync(path, 'latin1')).not.toContain('PRIVATE KEY');

    const other = newStore({ now: () => new Date(RESTORED) });
    expect(await restoreBackup(other, { path, passphrase: PASSPHRASE })).toEqual(['bot', 'hsm', 'safe']);
    const [restored, before] = [contents(other), contents(store)];
    expect(Object.keys(restored)).toEqual(Object.keys(before));
    for (const file of Object.keys(before)) {
      const isRecord = file.endsWith('.json') && !file.startsWith('retired');
      if (!isRecord) expect(restored[file]).toBe(before[file]);
      else
        expect(JSON.parse(restored[file] ?? '')).toEqual({ ...JSON.parse(before[file] ?? ''), restoredAt: RESTORED });
    }
    expect((await readAudit(other.folder)).entries.map(({ action, name }) => `${action} ${name}`)).toEqual([
      'generate bot',
      'generate safe',
      'generate old',
      'add pkcs11 hsm',
      'remove from keystore old',
      'restore bot',
      'restore hsm',
      'restore safe',
    ]);
  });

  it.skipIf(
    spawnSync('age', ['--version']).error !== undefined || spawnSync('script', ['--version']).error !== undefined,
  )('is opened by age and tar, without this program (needs age and script)', async () => {
    const { store, path } = backedUp;
    const folder = temporaryFolder();
    const tar = join(folder, 'keys.tar');
    spawnSync('script', ['-qec', `age -d -o ${tar} ${path}`, '/dev/null'], { input: `${PASSPHRASE.reveal()}\n` });
    execFileSync('tar', ['-xf', tar, '-C', folder]);
    for (const file of ['one', 'two', 'three'].flatMap(filesOfKey)) {
      expect(readFileSync(join(folder, file))).toEqual(readFileSync(join(store.folder, file)));
      expect(statSync(join(folder, file)).mode & 0o777).toBe(0o600);
    }
  });

  it('is not written over a file, nor of an empty keystore', async () => {
    const store = newStore();
    const path = backupPath();
    expect(await codeOf(writeBackup(store, { path, passphrase: PASSPHRASE }))).toBe('ERR_STATE');
    await addKey(store, 'bot');
    writeFileSync(path, 'mine');
    expect(await codeOf(writeBackup(store, { path, passphrase: PASSPHRASE }))).toBe('ERR_NAME_TAKEN');
    expect(readFileSync(path, 'utf8')).toBe('mine');
  });

  it('is refused where it could not be restored: a damaged record, a missing half, a swapped key', async () => {
    const store = newStore();
    await addKey(store, 'bot');
    await addKey(store, 'other');
    const { record, privateKey, publicKey } = store.files('bot');
    const kept = [record, privateKey, publicKey].map((file) => [file, readFileSync(file)] as const);
    const path = backupPath();
    const refusedAs = async (spoil: () => void) => {
      spoil();
      const error = await errorOf(writeBackup(store, { path, passphrase: PASSPHRASE }));
      for (const [file, content] of kept) writeFileSync(file, content, { mode: 0o600 });
      return `${error.code} ${error.message}`;
    };
    expect(await refusedAs(() => writeFileSync(record, '{'))).toMatch(/ERR_RECORD_DAMAGED .*bot\.json/);
    expect(await refusedAs(() => rmSync(privateKey))).toMatch(/ERR_KEY_UNREADABLE .*bot\.pem/);
    expect(await refusedAs(() => rmSync(publicKey))).toMatch(/ERR_KEY_UNREADABLE .*bot\.pub\.pem/);
    const other = store.files('other');
    expect(await refusedAs(() => writeFileSync(privateKey, readFileSync(other.privateKey)))).toMatch(
      /bot\.pem is another key/,
    );
    expect(await refusedAs(() => writeFileSync(publicKey, readFileSync(other.publicKey)))).toMatch(
      /bot\.pub\.pem is another key/,
    );
    expect(readdirSync(join(path, '..'))).toEqual([]);
  });

  it('is removed again if the audit log cannot be written', async () => {
    const store = newStore();
    await addKey(store, 'bot');
    const path = backupPath();
    const failing: Keystore = {
      ...store,
      audit: async () => {
        throw new DeribitKeysError('ERR_KEYSTORE_IO', 'the disk is full');
      },
    };
    expect(await codeOf(writeBackup(failing, { path, passphrase: PASSPHRASE }))).toBe('ERR_KEYSTORE_IO');
    expect(readdirSync(join(path, '..'))).toEqual([]);
  });
});

describe('restoring', () => {
  /** The files of a keystore with one key. */
  async function files(name = 'bot'): Promise<Record<string, string>> {
    const store = newStore();
    await addKey(store, name);
    return contents(store);
  }

  it('is all or nothing: one name that exists keeps every key out', async () => {
    const path = await forge({ ...(await files('a')), ...(await files('b')) });
    const store = newStore();
    await addKey(store, 'B');
    const before = contents(store);
    const error = await errorOf(restoreBackup(store, { path, passphrase: PASSPHRASE }));
    expect(error.code).toBe('ERR_NAME_TAKEN');
    expect(error.message).toContain('"B"');
    expect(contents(store)).toEqual(before);
    expect(filesOf(store)).toEqual(filesOfKey('B'));
  });

  it('leaves what was retired already as it is', async () => {
    const path = await forge({ ...(await files('a')), 'retired/2026-01-01/x.pem': 'theirs' });
    const store = newStore();
    mkdirSync(join(store.folder, 'retired/2026-01-01'), { recursive: true });
    writeFileSync(join(store.folder, 'retired/2026-01-01/x.pem'), 'mine');
    await restoreBackup(store, { path, passphrase: PASSPHRASE });
    expect(readFileSync(join(store.folder, 'retired/2026-01-01/x.pem'), 'utf8')).toBe('mine');
  });

  it('refuses a wrong passphrase, a file that is no backup, and one that is not there', async () => {
    const path = await forge(await files());
    const store = newStore();
    expect(await codeOf(restoreBackup(store, { path, passphrase: new Secret('wrong') }))).toBe('ERR_PASSPHRASE_WRONG');
    writeFileSync(`${path}.text`, 'no backup');
    for (const other of [`${path}.text`, `${path}.none`, store.folder]) {
      const error = await errorOf(restoreBackup(store, { path: other, passphrase: PASSPHRASE }));
      expect(error.code).toBe('ERR_KEY_UNREADABLE');
      expect(error.message).toContain(other);
      expect(error.hint).toBe('name a file that the command backup wrote');
    }
  });

  it('does not call the passphrase wrong where it opens a file that is damaged behind its header', async () => {
    const path = await forge(await files());
    const sealed = readFileSync(path);
    writeFileSync(path, sealed.with(sealed.length - 1, (sealed.at(-1) ?? 0) ^ 1));
    const cut = await errorOf(restoreBackup(newStore(), { path, passphrase: PASSPHRASE }));
    expect(cut).toMatchObject({
      code: 'ERR_KEY_UNREADABLE',
      message: expect.stringContaining('the passphrase opens it'),
    });
    writeFileSync(path, sealed.toString('latin1').replace(/^(-> scrypt \S+) \d+$/m, '$1 30'), 'latin1');
    const costly = await errorOf(restoreBackup(newStore(), { path, passphrase: PASSPHRASE }));
    expect(costly).toMatchObject({ code: 'ERR_KEY_UNSUPPORTED', message: expect.stringContaining('work factor') });
  });

  it.each([
    '../bot.pem',
    '/etc/passwd',
    'retired/../../x.pem',
    'sub/bot.pem',
    '.bot.json',
    'bot.txt',
    'a.pem.pem',
    'retired/2026-01-01/../../../x.pem',
    '.gitignore',
  ])('refuses a backup with the file %s in it', async (file) => {
    const store = newStore();
    const path = await forge({ ...(await files()), [file]: 'x' });
    expect(await codeOf(restoreBackup(store, { path, passphrase: PASSPHRASE }))).toBe('ERR_KEY_UNREADABLE');
    expect(await store.list()).toEqual({ records: [], damaged: [] });
  });

  it('refuses what does not belong together, and restores nothing of it', async () => {
    const [bot, other] = [await files('bot'), await files('other')];
    const { 'bot.pem': _privateKey, ...publicHalf } = bot;
    const { 'bot.pub.pem': _publicKey, ...privateHalf } = bot;
    const { 'bot.json': _record, ...withoutRecord } = bot;
    const cases: [Record<string, string>, string][] = [
      [publicHalf, 'bot.pem'],
      [privateHalf, 'bot.pub.pem'],
      [{ ...other, ...withoutRecord }, 'without a record'],
      [{ ...bot, 'bot.pem': other['other.pem'] ?? '' }, 'bot.pem is another key'],
      [{ ...bot, 'bot.pub.pem': other['other.pub.pem'] ?? '' }, 'bot.pub.pem is another key'],
      [{ ...bot, ...(await files('Bot')) }, 'case'],
    ];
    for (const [content, what] of cases) {
      const store = newStore();
      const error = await errorOf(restoreBackup(store, { path: await forge(content), passphrase: PASSPHRASE }));
      expect(error.code).toBe('ERR_KEY_UNREADABLE');
      expect(error.message).toContain(what);
      expect(await store.list()).toEqual({ records: [], damaged: [] });
    }
    const newer = await forge({ ...bot, 'bot.json': '{"schema":9}' });
    expect(await codeOf(restoreBackup(newStore(), { path: newer, passphrase: PASSPHRASE }))).toBe('ERR_RECORD_NEWER');
    expect(await codeOf(restoreBackup(newStore(), { path: await forge({}), passphrase: PASSPHRASE }))).toBe(
      'ERR_STATE',
    );
    const noise = await forge(new Uint8Array(700).fill(7));
    expect(['ERR_KEY_UNREADABLE', 'ERR_STATE']).toContain(
      await codeOf(restoreBackup(newStore(), { path: noise, passphrase: PASSPHRASE })),
    );
  });

  it('takes any bytes as a backup, or refuses them with a reason', async () => {
    const whole = createTar([{ name: 'bot.json', data: new TextEncoder().encode('{}') }]);
    const noise = fc.uint8Array({ maxLength: 1200 });
    const spoiled = fc.tuple(fc.nat(whole.length - 1), fc.nat(255)).map(([at, byte]) => whole.with(at, byte));
    await fc.assert(
      fc.asyncProperty(fc.oneof(noise, spoiled), async (tar) => {
        const error = await restoreBackup(newStore(), { path: await forge(tar), passphrase: PASSPHRASE }).catch(
          (thrown: unknown) => thrown,
        );
        expect(isDeribitKeysError(error)).toBe(true);
      }),
      { numRuns: propertyRuns(60) },
    );
  });

  it('brings back a hundred keys, each with the longest name there is', async () => {
    const one = await files('x'.repeat(64));
    const many: Record<string, string> = {};
    for (let index = 0; index < 100; index += 1) {
      const name = `${index}`.padStart(64, 'k');
      for (const [file, content] of Object.entries(one)) {
        many[file.replace('x'.repeat(64), name)] = content.replaceAll('x'.repeat(64), name);
      }
    }
    const store = newStore({ lockWaitMs: 10_000 });
    expect(await restoreBackup(store, { path: await forge(many), passphrase: PASSPHRASE })).toHaveLength(100);
    expect((await store.list()).records).toHaveLength(100);
    expect(filesOf(store)).toHaveLength(300);
  });
});

describe('restoring single keys', () => {
  it('restores those that are named and nothing else', async () => {
    const { store, path } = backedUp;
    const other = newStore();
    await addKey(other, 'one');
    expect(await restoreBackup(other, { path, passphrase: PASSPHRASE, names: ['two', 'two'] })).toEqual(['two']);
    expect(filesOf(other)).toEqual([...filesOfKey('one'), ...filesOfKey('two')]);
    expect((await readAudit(other.folder)).entries.map(({ action }) => action)).toEqual(['generate', 'restore']);
    expect((await other.read('two')).fingerprint).toBe((await store.read('two')).fingerprint);
    expect(await codeOf(restoreBackup(other, { path, passphrase: PASSPHRASE, names: ['one'] }))).toBe('ERR_NAME_TAKEN');
  });

  it('refuses a name that the backup does not hold, and says which it holds', async () => {
    const { path } = backedUp;
    const other = newStore();
    const error = await errorOf(restoreBackup(other, { path, passphrase: PASSPHRASE, names: ['One', 'one'] }));
    expect(error).toMatchObject({
      code: 'ERR_NO_SUCH_NAME',
      hint: expect.stringContaining('it holds: one, three, two'),
    });
    expect(await other.list()).toEqual({ records: [], damaged: [] });
  });

  it('is a word of the command line, and an existing backup is told before its passphrase is asked for', async () => {
    const store = newStore();
    for (const name of ['one', 'two']) await addKey(store, name);
    const path = backupPath();
    const env = { DERIBIT_KEYS_BACKUP_PASSPHRASE: 'correct horse' };
    expect((await cli(['backup', path, '--keys-dir', store.folder], { env })).exitCode).toBe(0);
    const again = await cli(['backup', path, '--keys-dir', store.folder, '--json']);
    expect(again.error()).toMatchObject({ code: 'ERR_NAME_TAKEN' });
    const other = newStore();
    const restored = await cli(['restore', path, 'two', '--json', '--keys-dir', other.folder], { env });
    expect(restored.json()).toEqual({ file: path, names: ['two'] });
    const taken = await cli(['restore', path, '--json', '--keys-dir', other.folder], { env });
    expect(taken.error().hint).toMatch(/deribit-keys .*restore \S+ one\n.*--keys-dir <new folder>$/s);
    const wrong = { DERIBIT_KEYS_BACKUP_PASSPHRASE: 'wrong-horse' };
    const cheap = await forge({});
    const refused = await cli(['restore', cheap, 'one', '--json', '--keys-dir', other.folder], { env: wrong });
    expect(refused.error()).toMatchObject({
      code: 'ERR_PASSPHRASE_WRONG',
      hint: expect.stringContaining('--backup-passphrase-file'),
    });
  });

  it('goes to stdout as -, and no file of that name is made', async () => {
    const store = newStore();
    await addKey(store, 'one');
    const env = { DERIBIT_KEYS_BACKUP_PASSPHRASE: 'correct horse' };
    const json = (await cli(['backup', '-', '--json', '--keys-dir', store.folder], { env })).json<{
      content: string;
    }>();
    const path = backupPath();
    writeFileSync(path, Buffer.from(json.content, 'base64'));
    const other = newStore();
    expect((await cli(['restore', path, '--keys-dir', other.folder], { env })).stdout).toBe('one\n');
    const piped = await cli(['backup', '-', '--keys-dir', store.folder], { env });
    expect(piped.stdout).toMatch(/^age-encryption\.org\/v1\n/);
    expect(existsSync('-')).toBe(false);
  });
});

describe('the passphrase of a backup', () => {
  it('does not keep an interrupted process waiting', async () => {
    const { store, path } = backedUp;
    const abort = new AbortController();
    const restoring = codeOf(
      restoreBackup(newStore(), { path, passphrase: new Secret('another'), signal: abort.signal }),
    );
    setTimeout(() => abort.abort(), 20);
    expect(await restoring).toBe('ERR_INTERRUPTED');
    expect(
      await codeOf(writeBackup(store, { path: backupPath(), passphrase: PASSPHRASE, signal: AbortSignal.abort() })),
    ).toBe('ERR_INTERRUPTED');
  });

  it('is tried as age itself does, both ways', async () => {
    const { path } = backedUp;
    const decrypter = new Decrypter();
    decrypter.addPassphrase(PASSPHRASE.reveal());
    const tar = await decrypter.decrypt(readFileSync(path));
    expect(await restoreBackup(newStore(), { path: await forge(tar), passphrase: PASSPHRASE })).toEqual([
      'one',
      'three',
      'two',
    ]);
  });
});
