import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { culprit, type DoctorWorld, finding, hasOpenssl, openDoctorWorld } from '../../support/doctor-world.js';

/** A private key that the keystore does not have. */
function strayKey(world: DoctorWorld): string {
  const file = join(world.folder, 'stray.pem');
  const { privateKey } = generateKeyPairSync('ed25519');
  writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  return file;
}

function copyOf(world: DoctorWorld, name: string): string {
  const file = join(world.folder, 'copy.pem');
  copyFileSync(world.path(`${name}.pem`), file);
  return file;
}

const idOf = (world: DoctorWorld, name: string) => String(world.record(name).clientId);

describe('A key file and a client id given together', () => {
  it('do not pass where the client id is that of a stored key and the file is another key', async () => {
    const world = await openDoctorWorld();
    const argv = ['--file', strayKey(world), '--client-id', idOf(world, 'bot')];
    for (const more of [[], ['--offline'], ['--as', 'admin']]) {
      const diagnosis = await world.doctor(...argv, ...more);
      expect(diagnosis).toMatchObject({ ok: false, exitCode: 1 });
      expect(culprit(diagnosis)).toMatchObject({ check: 'record-matches', name: null });
      expect(culprit(diagnosis)?.detail).toMatch(/stray\.pem is not the key of "bot"/);
    }
    const online = await world.doctor(...argv);
    expect(finding(online, 'login', idOf(world, 'bot')).ok).toBe(false);
    expect((await world.run(...fixOf(culprit(online)?.fix))).exitCode).toBe(0);
  });

  it('do not pass where the file is a stored key and the client id is unknown', async () => {
    const world = await openDoctorWorld();
    const argv = ['--file', copyOf(world, 'bot'), '--client-id', 'zzzzzzzz'];
    for (const more of [[], ['--offline'], ['--as', 'admin']]) {
      const diagnosis = await world.doctor(...argv, ...more);
      expect(diagnosis).toMatchObject({ ok: false, exitCode: 1 });
      expect(culprit(diagnosis)).toMatchObject({ check: 'client-id' });
    }
    const offline = await world.doctor(...argv, '--offline');
    expect(culprit(offline)?.detail).toContain(`on record as ${idOf(world, 'bot')}`);
    expect((await world.run(...fixOf(culprit(offline)?.fix))).exitCode).toBe(0);
  });

  it('do not pass where they are those of two stored keys', async () => {
    const world = await openDoctorWorld();
    const diagnosis = await world.doctor('--file', copyOf(world, 'bot'), '--client-id', idOf(world, 'admin'));
    expect(diagnosis).toMatchObject({ ok: false, exitCode: 1 });
    expect(culprit(diagnosis)?.check).toBe('record-matches');
  });

  it('do not pass where they are those of a record that is retired', async () => {
    const world = await openDoctorWorld();
    const [file, clientId] = [copyOf(world, 'bot'), idOf(world, 'bot')];
    expect((await world.run('api-keys', 'remove', 'bot', '--as', 'admin', '--yes')).exitCode).toBe(0);
    const diagnosis = await world.doctor('--file', file, '--client-id', clientId);
    expect(culprit(diagnosis)).toMatchObject({ check: 'login', name: clientId });
  });

  it('are not said to belong together where the file cannot be opened', async () => {
    const world = await openDoctorWorld();
    const secret = join(world.folder, 'secret');
    writeFileSync(secret, 'canary');
    const file = strayKey(world);
    expect((await world.run('import', 'stray', file, '--passphrase-file', secret)).exitCode).toBe(0);
    const diagnosis = await world.doctor('--file', world.path('stray.pem'), '--client-id', idOf(world, 'bot'));
    expect(finding(diagnosis, 'record-matches', null)).toMatchObject({ ok: null });
  });

  it('pass where they are those of one record, and where a signed login with both works', async () => {
    const world = await openDoctorWorld();
    const file = copyOf(world, 'bot');
    expect(await world.doctor('--file', file, '--client-id', idOf(world, 'bot'))).toMatchObject({ ok: true });
    const publicKey = String(world.record('bot').publicKey);
    const { client_id: second } = world.sandbox.addKey({ publicKey, maxScope: 'trade:read' });
    const diagnosis = await world.doctor('--file', file, '--client-id', second);
    expect(finding(diagnosis, 'login', second)).toMatchObject({ ok: true });
    expect(diagnosis).toMatchObject({ ok: true, exitCode: 0 });
  });
});

const fixOf = (fix: string | null | undefined) => (fix ?? '').split(' ').slice(1);

describe('What the doctor advises for a file', () => {
  it('names the stored key where the file is its own, and no import of it', async () => {
    const world = await openDoctorWorld();
    const own = await world.doctor('--file', world.path('bot.pem'));
    expect(finding(own, 'passphrase', null).fix).toBe('deribit-keys passphrase bot');
    const copy = await world.doctor('--file', copyOf(world, 'bot'));
    expect(finding(copy, 'passphrase', null).fix).toMatch(/the keystore has the key as "bot"/);
  });

  it('imports another under a name that is free', async () => {
    const world = await openDoctorWorld();
    const file = strayKey(world);
    const { fix } = finding(await world.doctor('--file', file, '--offline'), 'record', null);
    expect(fix).toBe(`deribit-keys import bot-2 ${file}`);
    expect((await world.run(...fixOf(fix))).exitCode).toBe(0);
  });

  it('checks the file and the client id again where they have no record', async () => {
    const world = await openDoctorWorld();
    const file = strayKey(world);
    const place = ['--url', world.sandbox.wsUrl];
    const refused = await world.doctor('--file', file, '--client-id', 'zzzzzzzz', ...place);
    const { fix } = finding(refused, 'login', 'zzzzzzzz');
    expect(fix).toMatch(/ doctor --file \S+stray\.pem --client-id zzzzzzzz --as <another key>$/);
    const asAdmin = await world.doctor('--file', file, '--client-id', 'zzzzzzzz', '--as', 'admin');
    expect(culprit(asAdmin)).toMatchObject({ check: 'client-id' });
    expect(culprit(asAdmin)?.fix).toContain(`deribit-keys doctor --file ${file} --as admin`);
  });

  it('registers a key that the account of the login does not have', async () => {
    const world = await openDoctorWorld();
    const file = strayKey(world);
    const { detail, fix } = finding(await world.doctor('--file', file, '--as', 'admin'), 'client-id', null);
    expect(detail).toMatch(/has no key with this fingerprint/);
    await world.applyFix(fix ?? '');
    expect(world.record('bot-2').state).toBe('registered');
  });
});

describe('A key under two names', () => {
  it('is removed under the name that is not registered, whichever comes first in the alphabet', async () => {
    const world = await openDoctorWorld();
    for (const name of ['aaa', 'zzz']) {
      expect((await world.run('import', name, copyOf(world, 'bot'))).exitCode).toBe(0);
    }
    const diagnosis = await world.doctor('bot');
    const found = diagnosis.findings.filter(({ check }) => check === 'duplicates');
    expect(found.map(({ fix }) => fix)).toEqual(['deribit-keys remove aaa', 'deribit-keys remove zzz']);
    for (const { fix } of found) await world.applyFix(fix ?? '');
    expect((await world.doctor('bot')).findings.some(({ check }) => check === 'duplicates')).toBe(false);
  });
});

describe('A public half of another key than the record has', () => {
  it('is not derived from a private key that is another key', async () => {
    const world = await openDoctorWorld();
    for (const file of ['pem', 'pub.pem']) copyFileSync(world.path(`admin.${file}`), world.path(`bot.${file}`));
    const diagnosis = await world.doctor('bot', '--offline');
    expect(finding(diagnosis, 'record-matches', 'bot').fix).toMatch(/bot\.pem back from a backup/);
    expect(finding(diagnosis, 'public-key', 'bot').fix).toMatch(/bot\.pub\.pem back from a backup/);
  });

  it.skipIf(!hasOpenssl)(
    'is derived from the private key where that is the key of the record (needs openssl)',
    async () => {
      const world = await openDoctorWorld();
      copyFileSync(world.path('admin.pub.pem'), world.path('bot.pub.pem'));
      const { fix } = finding(await world.doctor('bot', '--offline'), 'public-key', 'bot');
      execFileSync('sh', ['-c', fix ?? ''], { cwd: world.folder });
      expect((await world.doctor('bot', '--offline')).ok).toBe(true);
    },
  );
});
