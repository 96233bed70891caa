import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { culprit, finding, type House, hasOpenssl, openHouse } from '../../support/doctor-world.js';

/** A private key that the keystore does not have. */
function strayKey(house: House): string {
  const file = join(house.folder, 'stray.pem');
  const { privateKey } = generateKeyPairSync('ed25519');
  writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  return file;
}

function copyOf(house: House, name: string): string {
  const file = join(house.folder, 'copy.pem');
  copyFileSync(house.path(`${name}.pem`), file);
  return file;
}

const idOf = (house: House, name: string) => String(house.record(name).clientId);

describe('A key file and a client id given together', () => {
  it('do not pass where the client id is that of a stored key and the file is another key', async () => {
    const house = await openHouse();
    const argv = ['--file', strayKey(house), '--client-id', idOf(house, 'bot')];
    for (const more of [[], ['--offline'], ['--as', 'admin']]) {
      const diagnosis = await house.doctor(...argv, ...more);
      expect(diagnosis).toMatchObject({ ok: false, exitCode: 1 });
      expect(culprit(diagnosis)).toMatchObject({ check: 'record-matches', name: null });
      expect(culprit(diagnosis)?.detail).toMatch(/stray\.pem is not the key of "bot"/);
    }
    const online = await house.doctor(...argv);
    expect(finding(online, 'login', idOf(house, 'bot')).ok).toBe(false);
    expect((await house.run(...fixOf(culprit(online)?.fix))).exitCode).toBe(0);
  });

  it('do not pass where the file is a stored key and the client id is unknown', async () => {
    const house = await openHouse();
    const argv = ['--file', copyOf(house, 'bot'), '--client-id', 'zzzzzzzz'];
    for (const more of [[], ['--offline'], ['--as', 'admin']]) {
      const diagnosis = await house.doctor(...argv, ...more);
      expect(diagnosis).toMatchObject({ ok: false, exitCode: 1 });
      expect(culprit(diagnosis)).toMatchObject({ check: 'client-id' });
    }
    const offline = await house.doctor(...argv, '--offline');
    expect(culprit(offline)?.detail).toContain(`on record as ${idOf(house, 'bot')}`);
    expect((await house.run(...fixOf(culprit(offline)?.fix))).exitCode).toBe(0);
  });

  it('do not pass where they are those of two stored keys', async () => {
    const house = await openHouse();
    const diagnosis = await house.doctor('--file', copyOf(house, 'bot'), '--client-id', idOf(house, 'admin'));
    expect(diagnosis).toMatchObject({ ok: false, exitCode: 1 });
    expect(culprit(diagnosis)?.check).toBe('record-matches');
  });

  it('do not pass where they are those of a record that is retired', async () => {
    const house = await openHouse();
    const [file, clientId] = [copyOf(house, 'bot'), idOf(house, 'bot')];
    expect((await house.run('api-keys', 'remove', 'bot', '--as', 'admin', '--yes')).exitCode).toBe(0);
    const diagnosis = await house.doctor('--file', file, '--client-id', clientId);
    expect(culprit(diagnosis)).toMatchObject({ check: 'login', name: clientId });
  });

  it('are not said to belong together where the file cannot be opened', async () => {
    const house = await openHouse();
    const secret = join(house.folder, 'secret');
    writeFileSync(secret, 'canary');
    const file = strayKey(house);
    expect((await house.run('import', 'stray', file, '--passphrase-file', secret)).exitCode).toBe(0);
    const diagnosis = await house.doctor('--file', house.path('stray.pem'), '--client-id', idOf(house, 'bot'));
    expect(finding(diagnosis, 'record-matches', null)).toMatchObject({ ok: null });
  });

  it('pass where they are those of one record, and where a signed login with both works', async () => {
    const house = await openHouse();
    const file = copyOf(house, 'bot');
    expect(await house.doctor('--file', file, '--client-id', idOf(house, 'bot'))).toMatchObject({ ok: true });
    const publicKey = String(house.record('bot').publicKey);
    const { client_id: second } = house.sandbox.addKey({ publicKey, maxScope: 'trade:read' });
    const diagnosis = await house.doctor('--file', file, '--client-id', second);
    expect(finding(diagnosis, 'login', second)).toMatchObject({ ok: true });
    expect(diagnosis).toMatchObject({ ok: true, exitCode: 0 });
  });
});

const fixOf = (fix: string | null | undefined) => (fix ?? '').split(' ').slice(1);

describe('What the doctor advises for a file', () => {
  it('names the stored key where the file is its own, and no import of it', async () => {
    const house = await openHouse();
    const own = await house.doctor('--file', house.path('bot.pem'));
    expect(finding(own, 'passphrase', null).fix).toBe('deribit-keys passphrase bot');
    const copy = await house.doctor('--file', copyOf(house, 'bot'));
    expect(finding(copy, 'passphrase', null).fix).toMatch(/the keystore has the key as "bot"/);
  });

  it('imports another under a name that is free', async () => {
    const house = await openHouse();
    const file = strayKey(house);
    const { fix } = finding(await house.doctor('--file', file, '--offline'), 'record', null);
    expect(fix).toBe(`deribit-keys import bot-2 ${file}`);
    expect((await house.run(...fixOf(fix))).exitCode).toBe(0);
  });

  it('checks the file and the client id again where they have no record', async () => {
    const house = await openHouse();
    const file = strayKey(house);
    const place = ['--url', house.sandbox.wsUrl];
    const refused = await house.doctor('--file', file, '--client-id', 'zzzzzzzz', ...place);
    const { fix } = finding(refused, 'login', 'zzzzzzzz');
    expect(fix).toMatch(/ doctor --file \S+stray\.pem --client-id zzzzzzzz --as <another key>$/);
    const asAdmin = await house.doctor('--file', file, '--client-id', 'zzzzzzzz', '--as', 'admin');
    expect(culprit(asAdmin)).toMatchObject({ check: 'client-id' });
    expect(culprit(asAdmin)?.fix).toContain(`deribit-keys doctor --file ${file} --as admin`);
  });

  it('registers a key that the account of the login does not have', async () => {
    const house = await openHouse();
    const file = strayKey(house);
    const { detail, fix } = finding(await house.doctor('--file', file, '--as', 'admin'), 'client-id', null);
    expect(detail).toMatch(/has no key with this fingerprint/);
    await house.mend(fix ?? '');
    expect(house.record('bot-2').state).toBe('registered');
  });
});

describe('A key under two names', () => {
  it('is removed under the name that is not registered, whichever comes first in the alphabet', async () => {
    const house = await openHouse();
    for (const name of ['aaa', 'zzz']) {
      expect((await house.run('import', name, copyOf(house, 'bot'))).exitCode).toBe(0);
    }
    const diagnosis = await house.doctor('bot');
    const found = diagnosis.findings.filter(({ check }) => check === 'duplicates');
    expect(found.map(({ fix }) => fix)).toEqual(['deribit-keys remove aaa', 'deribit-keys remove zzz']);
    for (const { fix } of found) await house.mend(fix ?? '');
    expect((await house.doctor('bot')).findings.some(({ check }) => check === 'duplicates')).toBe(false);
  });
});

describe('A public half of another key than the record has', () => {
  it('is not derived from a private key that is another key', async () => {
    const house = await openHouse();
    for (const file of ['pem', 'pub.pem']) copyFileSync(house.path(`admin.${file}`), house.path(`bot.${file}`));
    const diagnosis = await house.doctor('bot', '--offline');
    expect(finding(diagnosis, 'record-matches', 'bot').fix).toMatch(/bot\.pem back from a backup/);
    expect(finding(diagnosis, 'public-key', 'bot').fix).toMatch(/bot\.pub\.pem back from a backup/);
  });

  it.skipIf(!hasOpenssl)(
    'is derived from the private key where that is the key of the record (needs openssl)',
    async () => {
      const house = await openHouse();
      copyFileSync(house.path('admin.pub.pem'), house.path('bot.pub.pem'));
      const { fix } = finding(await house.doctor('bot', '--offline'), 'public-key', 'bot');
      execFileSync('sh', ['-c', fix ?? ''], { cwd: house.folder });
      expect((await house.doctor('bot', '--offline')).ok).toBe(true);
    },
  );
});
