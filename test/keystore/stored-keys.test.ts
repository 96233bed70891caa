import { spawnSync } from 'node:child_process';
import { readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { generateKeyPair } from '../../src/crypto/generate.js';
import { Secret } from '../../src/crypto/secret.js';
import { readAudit } from '../../src/keystore/audit-log.js';
import type { Keystore } from '../../src/keystore/keystore.js';
import { openPrivateKey } from '../../src/keystore/open-key.js';
import {
  changePassphrase,
  generate,
  readPublicKey,
  requirePrivateFile,
  retireKey,
  storeKey,
  storePublicKey,
} from '../../src/keystore/stored-keys.js';
import { temporaryFolder } from '../support/cli.js';
import { codeOf, errorOf } from '../support/outcomes.js';
import { addKey, filesOf, filesOfKey, newStore } from './support.js';

const given = (text: string) => async () => new Secret(text);
const change = (store: Keystore, name: string, next: Secret | null, passphrase?: () => Promise<Secret>) =>
  changePassphrase(store, { name, next, open: (record) => openPrivateKey(store, record, { passphrase }) });
const AGENT = { kind: 'ssh-agent', fingerprint: 'SHA256:x', comment: null, socket: null } as const;

describe('a stored key', () => {
  it('is three files that openssl reads', async () => {
    const store = newStore();
    const { record } = await addKey(store, 'bot');
    expect(filesOf(store)).toEqual(filesOfKey('bot'));
    const { privateKey, publicKey } = store.files('bot');
    const derived = spawnSync('openssl', ['pkey', '-in', privateKey, '-pubout'], { encoding: 'utf8' });
    expect(derived.stdout).toBe(readFileSync(publicKey, 'utf8'));
    expect(await store.read('bot')).toEqual(record);
    expect(record).toMatchObject({ state: 'local', encrypted: false, clientId: null, bits: null });
  });

  it('opens, and is the one that was stored', async () => {
    const store = newStore();
    const { key, record } = await addKey(store, 'bot');
    expect((await openPrivateKey(store, record)).publicKey.equals(key.publicKey)).toBe(true);
    expect((await readPublicKey(store, record)).equals(key.publicKey)).toBe(true);
  });

  it('under a passphrase opens only with it, here and in openssl', async () => {
    const store = newStore();
    const passphrase = new Secret('correct horse');
    const record = await generate(store, 'bot', { type: 'ed25519', passphrase });
    expect(record.encrypted).toBe(true);
    const { privateKey, publicKey } = store.files('bot');
    expect(readFileSync(privateKey, 'utf8')).toContain('BEGIN ENCRYPTED PRIVATE KEY');
    const derived = spawnSync('openssl', ['pkey', '-in', privateKey, '-pubout', '-passin', 'stdin'], {
      encoding: 'utf8',
      input: 'correct horse\n',
    });
    expect(derived.stdout).toBe(readFileSync(publicKey, 'utf8'));
    expect((await openPrivateKey(store, record, { passphrase: given('correct horse') })).algorithm).toBe('ed25519');
    expect(await codeOf(openPrivateKey(store, record))).toBe('ERR_PASSPHRASE_REQUIRED');
    const wrong = await errorOf(openPrivateKey(store, record, { passphrase: given('battery') }));
    expect(wrong.code).toBe('ERR_PASSPHRASE_WRONG');
    expect(wrong.message).toContain('"bot"');
  });

  it('is refused where its file was swapped for another key', async () => {
    const store = newStore();
    const { record } = await addKey(store, 'bot');
    await addKey(store, 'other');
    writeFileSync(store.files('bot').privateKey, readFileSync(store.files('other').privateKey));
    const error = await errorOf(openPrivateKey(store, record));
    expect(error.code).toBe('ERR_KEY_MISMATCH');
    expect(error.message).toContain('bot.pem');
    writeFileSync(store.files('bot').publicKey, readFileSync(store.files('other').publicKey));
    expect(await codeOf(readPublicKey(store, record))).toBe('ERR_KEY_MISMATCH');
    // both halves of another key: the record knows its own
    expect(await codeOf(openPrivateKey(store, record))).toBe('ERR_KEY_MISMATCH');
  });

  it('of a record that does not hold the public half is proved by the file beside it, or by the fingerprint', async () => {
    const store = newStore();
    const older = { ...(await addKey(store, 'bot')).record, publicKey: null };
    expect((await openPrivateKey(store, older)).algorithm).toBe('ed25519');
    rmSync(store.files('bot').publicKey);
    expect((await openPrivateKey(store, older)).algorithm).toBe('ed25519');
    await addKey(store, 'other');
    writeFileSync(store.files('bot').privateKey, readFileSync(store.files('other').privateKey));
    expect(await codeOf(openPrivateKey(store, older))).toBe('ERR_KEY_MISMATCH');
  });

  it('is told by its file where a half of it is missing or is no key', async () => {
    const store = newStore();
    const { record } = await addKey(store, 'bot');
    writeFileSync(store.files('bot').privateKey, '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n');
    expect((await codeOf(openPrivateKey(store, record))).startsWith('ERR_KEY_')).toBe(true);
    writeFileSync(store.files('bot').privateKey, 'nothing');
    expect((await codeOf(openPrivateKey(store, record))).startsWith('ERR_KEY_')).toBe(true);
    rmSync(store.files('bot').privateKey);
    expect((await errorOf(openPrivateKey(store, record))).message).toContain('bot.pem');
    rmSync(store.files('bot').publicKey);
    expect((await errorOf(readPublicKey(store, record))).message).toContain('bot.pub.pem');
  });

  it('is told by its file and how it is put right, whatever else is in it', async () => {
    const store = newStore();
    const { record } = await addKey(store, 'bot');
    const { privateKey, publicKey } = store.files('bot');
    const pem = readFileSync(privateKey, 'utf8');
    for (const content of ['', readFileSync(publicKey, 'utf8'), pem + pem, pem.slice(0, 60), 'no key']) {
      writeFileSync(privateKey, content);
      const { message, hint } = await errorOf(openPrivateKey(store, record));
      expect(message.startsWith(`${privateKey}: `)).toBe(true);
      expect(hint).toBe('a file was swapped or restored by hand: put the one that belongs there back');
    }
  });

  it('opens without its public file, proved by the record', async () => {
    const store = newStore();
    const { record } = await addKey(store, 'bot');
    rmSync(store.files('bot').publicKey);
    expect((await openPrivateKey(store, record)).algorithm).toBe('ed25519');
  });

  it('replaced by hand with the same key in another form opens all the same', async () => {
    const store = newStore();
    const record = await generate(store, 'rsa', { type: 'rsa', bits: 2048 });
    const { privateKey } = store.files('rsa');
    spawnSync('openssl', ['rsa', '-traditional', '-in', privateKey, '-out', privateKey], { stdio: 'ignore' });
    expect(readFileSync(privateKey, 'utf8')).toContain('BEGIN RSA PRIVATE KEY');
    expect((await openPrivateKey(store, record)).bits).toBe(2048);
  });

  it('is stored once: of two at the same time one wins, and the other says so', async () => {
    const store = newStore({ lockWaitMs: 10_000 });
    const outcomes = await Promise.allSettled([addKey(store, 'bot'), addKey(store, 'bot'), addKey(store, 'Bot')]);
    const won = outcomes.filter((outcome) => outcome.status === 'fulfilled');
    expect(won).toHaveLength(1);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'ERR_NAME_TAKEN' });
    }
    const record = won[0]?.value.record;
    if (record === undefined) throw new Error('nobody won');
    expect((await openPrivateKey(store, record)).algorithm).toBe('ed25519');
    expect(filesOf(store)).toHaveLength(3);
  });

  it('that lives elsewhere has no private file, and says so', async () => {
    const store = newStore();
    const key = await generateKeyPair({ type: 'ed25519' });
    const record = await storePublicKey(store, { name: 'hsm', publicKey: key.publicKey, signer: AGENT });
    expect(filesOf(store)).toEqual(['hsm.json', 'hsm.pub.pem']);
    expect((await readPublicKey(store, record)).equals(key.publicKey)).toBe(true);
    expect(await codeOf(() => requirePrivateFile(record))).toBe('ERR_STATE');
    expect(await codeOf(change(store, 'hsm', new Secret('x')))).toBe('ERR_STATE');
    expect(await codeOf(storePublicKey(store, { name: 'hsm', publicKey: key.publicKey, signer: AGENT }))).toBe(
      'ERR_NAME_TAKEN',
    );
  });
});

describe('a passphrase', () => {
  it('is set, changed and removed', async () => {
    const store = newStore();
    const { key } = await addKey(store, 'bot');
    const one = await change(store, 'bot', new Secret('one'));
    expect(one.encrypted).toBe(true);
    const two = await change(store, 'bot', new Secret('two'), given('one'));
    expect(await codeOf(openPrivateKey(store, two, { passphrase: given('one') }))).toBe('ERR_PASSPHRASE_WRONG');
    const none = await change(store, 'bot', null, given('two'));
    expect(none.encrypted).toBe(false);
    expect((await openPrivateKey(store, none)).publicKey.equals(key.publicKey)).toBe(true);
    const { entries } = await readAudit(store.folder);
    expect(entries.map(({ action }) => action)).toEqual(['generate', 'encrypt', 'encrypt', 'decrypt']);
    expect(filesOf(store)).toEqual(filesOfKey('bot'));
  });

  it('is not changed with a key that is not the one of the record', async () => {
    const store = newStore();
    await addKey(store, 'bot');
    const other = await generateKeyPair({ type: 'ed25519' });
    const changed = changePassphrase(store, { name: 'bot', next: new Secret('one'), open: async () => other });
    expect(await codeOf(changed)).toBe('ERR_KEY_MISMATCH');
    expect(readFileSync(store.files('bot').privateKey, 'utf8')).toContain('BEGIN PRIVATE KEY');
  });

  it('that is wrong changes nothing', async () => {
    const store = newStore();
    await generate(store, 'bot', { type: 'ed25519', passphrase: new Secret('one') });
    const before = readFileSync(store.files('bot').privateKey, 'utf8');
    expect(await codeOf(change(store, 'bot', null, given('two')))).toBe('ERR_PASSPHRASE_WRONG');
    expect(readFileSync(store.files('bot').privateKey, 'utf8')).toBe(before);
    expect((await store.read('bot')).encrypted).toBe(true);
  });

  it('that is empty is refused, and the key stays as it was', async () => {
    const store = newStore();
    await addKey(store, 'bot');
    await codeOf(change(store, 'bot', new Secret('')));
    expect(readFileSync(store.files('bot').privateKey, 'utf8')).toContain('BEGIN PRIVATE KEY');
    await codeOf(
      generateKeyPair({ type: 'ed25519' }).then((key) =>
        storeKey(store, { name: 'new', key, passphrase: new Secret(''), action: 'import' }),
      ),
    );
    expect(filesOf(store)).toEqual(filesOfKey('bot'));
  });

  it('is not set on a symbolic link, behind which the key would stay as it is', async () => {
    const store = newStore();
    await addKey(store, 'bot');
    const { privateKey } = store.files('bot');
    const target = join(temporaryFolder(), 'bot.pem');
    writeFileSync(target, readFileSync(privateKey), { mode: 0o600 });
    rmSync(privateKey);
    symlinkSync(target, privateKey);
    const error = await errorOf(change(store, 'bot', new Secret('one')));
    expect(error.code).toBe('ERR_STATE');
    expect(error.message).toContain('symbolic link');
  });
});

describe('a key that leaves the keystore', () => {
  const retire = (store: ReturnType<typeof newStore>, name: string, purge: boolean) =>
    store.withLock(name, async (locked) => retireKey(store, { locked, record: await locked.read(), purge }));

  it('moves to a folder of the day with all its files, and can be restored from there', async () => {
    const store = newStore({ now: () => new Date('2026-11-23T23:59:59Z') });
    const { key } = await addKey(store, 'bot');
    const { folder, linkedFile } = await retire(store, 'bot', false);
    expect([folder, linkedFile]).toEqual([join(store.folder, 'retired/2026-11-23'), null]);
    expect(filesOf(store)).toEqual(['retired']);
    expect(JSON.parse(readFileSync(join(store.folder, 'retired/2026-11-23/bot.json'), 'utf8')).state).toBe('retired');
    const again = await addKey(store, 'bot');
    expect((await retire(store, 'bot', false)).folder).toBe(join(store.folder, 'retired/2026-11-23.2'));
    expect(again.key.publicKey.equals(key.publicKey)).toBe(false);
    expect(readFileSync(join(store.folder, 'retired/2026-11-23/bot.pub.pem'))).not.toEqual(
      readFileSync(join(store.folder, 'retired/2026-11-23.2/bot.pub.pem')),
    );
  });

  it('is gone when it is purged', async () => {
    const store = newStore();
    await addKey(store, 'bot');
    expect(await retire(store, 'bot', true)).toEqual({ folder: null, linkedFile: null });
    expect(filesOf(store)).toEqual([]);
    expect((await readAudit(store.folder)).entries.at(-1)).toMatchObject({ action: 'purge', name: 'bot' });
  });

  it.each([true, false])('and is a symbolic link leaves the file behind it as it is (purged: %s)', async (purge) => {
    const store = newStore();
    await addKey(store, 'bot');
    const { privateKey } = store.files('bot');
    const mounted = join(store.folder, 'mounted');
    renameSync(privateKey, mounted);
    symlinkSync('mounted', privateKey);
    const pem = readFileSync(mounted, 'utf8');
    expect((await retire(store, 'bot', purge)).linkedFile).toBe(mounted);
    expect(readFileSync(mounted, 'utf8')).toBe(pem);
    expect(filesOf(store)).toEqual(purge ? ['mounted'] : ['mounted', 'retired']);
  });

  it('keeps its record where that, too, is a symbolic link', async () => {
    const store = newStore();
    await addKey(store, 'bot');
    for (const file of Object.values(store.files('bot'))) {
      const elsewhere = join(temporaryFolder(), 'file');
      writeFileSync(elsewhere, readFileSync(file), { mode: 0o600 });
      rmSync(file);
      symlinkSync(elsewhere, file);
    }
    const { folder } = await retire(store, 'bot', false);
    expect(JSON.parse(readFileSync(join(folder ?? '', 'bot.json'), 'utf8'))).toMatchObject({ state: 'retired' });
  });

  it('may lack a half', async () => {
    const store = newStore();
    const { record } = await addKey(store, 'bot');
    rmSync(store.files('bot').privateKey);
    await retire(store, 'bot', false);
    expect(filesOf(store)).toEqual(['retired']);
    const gone = store.withLock('bot', (locked) => retireKey(store, { locked, record, purge: false }));
    expect(await codeOf(gone)).toBe('ERR_NO_SUCH_NAME');
  });
});
