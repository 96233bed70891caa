import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli, temporaryFolder } from '../../support/cli.js';
import { culprit, type Diagnosis, finding, hasOpenssl, openDoctorWorld } from '../../support/doctor-world.js';

const REGISTERED = [
  ...['record', 'file', 'permissions', 'format', 'passphrase', 'strength', 'record-matches', 'public-key'],
  ...['registration', 'environment', 'client-id', 'enabled', 'exchange-key', 'scope', 'whitelist', 'login', 'age'],
];

describe('On a healthy set-up', () => {
  for (const http of [false, true]) {
    it(`nothing is wrong and nothing is skipped with a login, over ${http ? 'HTTP' : 'WebSocket'}`, async () => {
      const world = await openDoctorWorld({ http });
      const diagnosis = await world.doctor('--as', 'admin');
      expect(diagnosis).toMatchObject({ ok: true, exitCode: 0 });
      expect(diagnosis.findings.filter(({ ok }) => ok !== true)).toEqual([]);
      const remarks = diagnosis.findings.filter(({ fix }) => fix !== null);
      expect(remarks.map(({ check }) => check)).toEqual(['passphrase', 'passphrase']);
      for (const name of ['admin', 'bot']) {
        for (const check of REGISTERED) expect(finding(diagnosis, check, name).ok).toBe(true);
      }
      for (const check of [
        'keystore',
        'folder-permissions',
        'leftovers',
        'stray-files',
        'reachable',
        'clock',
        'account',
      ]) {
        expect(finding(diagnosis, check, null).ok).toBe(true);
      }
      expect(finding(diagnosis, 'key-limit', null).detail).toBe('room for 5 more of the 8 that Deribit documents');
      expect(finding(diagnosis, 'clock', null).detail).toMatch(
        /^the clock here is \d+ ms (ahead of|behind) the exchange/,
      );
    });
  }

  it('a login of the key itself proves what no account needs to be asked for', async () => {
    const world = await openDoctorWorld();
    const diagnosis = await world.doctor('bot');
    expect(diagnosis).toMatchObject({ ok: true, exitCode: 0 });
    expect(diagnosis.findings.filter(({ ok }) => ok === null).map(({ check }) => check)).toEqual(['account']);
    expect(finding(diagnosis, 'exchange-key', 'bot').detail).toContain('verified a signature');
  });

  it('the checks stand in their order', async () => {
    const world = await openDoctorWorld();
    const { findings } = await world.doctor('--as', 'admin', 'bot');
    const order = findings.map(({ check, name }) => (name === null ? `(${check})` : check));
    expect(order).toEqual([
      ...['(keystore)', '(folder-permissions)', '(leftovers)', ...REGISTERED.slice(0, 10)],
      ...['(reachable)', '(clock)', '(account)', '(key-limit)', ...REGISTERED.slice(10)],
    ]);
  });

  it('a login that may only read is not taken for one that shows another key', async () => {
    const world = await openDoctorWorld();
    const made = await world.run('generate', 'reader');
    expect(made.exitCode).toBe(0);
    const login = ['--as', 'admin', '--url', world.sandbox.wsUrl];
    expect((await world.run('register', 'reader', '--scope', 'account:read', ...login)).exitCode).toBe(0);
    expect(await world.doctor('--as', 'reader')).toMatchObject({ ok: true });
    const verified = await world.run('verify', '--as', 'reader', '--json');
    expect(verified.exitCode).toBe(0);
  });

  it('an encrypted key without a passphrase is skipped, with one it is proved', async () => {
    const world = await openDoctorWorld();
    const secret = join(world.folder, 'secret');
    writeFileSync(secret, 'correct horse');
    expect((await world.run('passphrase', 'bot', '--new-passphrase-file', secret)).exitCode).toBe(0);
    const without = await world.doctor('bot');
    expect(without).toMatchObject({ ok: true, exitCode: 0 });
    for (const check of [
      'passphrase',
      'strength',
      'record-matches',
      'client-id',
      'enabled',
      'scope',
      'whitelist',
      'login',
    ]) {
      expect(finding(without, check, 'bot').ok).toBeNull();
    }
    const given = await world.doctor('bot', '--passphrase-file', secret);
    expect(given.findings.filter(({ name, ok }) => name === 'bot' && ok !== true)).toEqual([]);
    expect(finding(given, 'passphrase', 'bot')).toMatchObject({ detail: 'the passphrase opens it', fix: null });
  });

  it('a second factor without a code is skipped', async () => {
    const world = await openDoctorWorld({ tfaSecret: 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ' });
    const diagnosis = await world.doctor('--as', 'admin');
    expect(diagnosis).toMatchObject({ ok: true, exitCode: 0 });
    expect(finding(diagnosis, 'account', null)).toMatchObject({
      ok: null,
      detail: expect.stringContaining('second factor'),
    });
    expect(finding(diagnosis, 'login', 'bot').ok).toBe(true);
  });

  it('a second factor costs one code, however many keys there are', async () => {
    const world = await openDoctorWorld({ tfaSecret: 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ' });
    const { stdout } = await world.asRoot('doctor', '--json', '--url', world.sandbox.wsUrl);
    const diagnosis = JSON.parse(stdout) as Diagnosis;
    expect(diagnosis.findings.filter(({ ok }) => ok !== true)).toEqual([]);
    const lists = world.sandbox.calls.filter(({ method }) => method === 'private/list_api_keys');
    expect(lists.filter(({ outcome }) => outcome === 'ok')).toHaveLength(1);
  });

  it('a rotation in its grace is no fault', async () => {
    const world = await openDoctorWorld();
    expect((await world.run('rotate', 'bot', '--as', 'admin', '--grace', '1h')).exitCode).toBe(0);
    const diagnosis = await world.doctor('--as', 'admin');
    expect(diagnosis.findings.filter(({ ok }) => ok === false)).toEqual([]);
    expect(finding(diagnosis, 'rotation', 'bot').detail).toMatch(/stays enabled until 20/);
  });

  it('what an interrupted command left is cleared up, as by every command', async () => {
    const world = await openDoctorWorld();
    writeFileSync(world.path('.bot.json.0123456789ab.tmp'), 'half', { mode: 0o600 });
    expect(await world.doctor('--offline')).toMatchObject({ ok: true });
    expect(() => readFileSync(world.path('.bot.json.0123456789ab.tmp'))).toThrow(/ENOENT/);
  });

  it('a folder that others can look into is worth a remark', async () => {
    const world = await openDoctorWorld();
    chmodSync(world.keys, 0o755);
    const diagnosis = await world.doctor('--offline');
    expect(diagnosis.ok).toBe(true);
    expect(finding(diagnosis, 'folder-permissions', null)).toMatchObject({ ok: true, fix: `chmod 700 ${world.keys}` });
  });

  it('a clock that is three seconds off is worth a remark', async () => {
    const world = await openDoctorWorld();
    world.sandbox.setFaults(['clock:-3500']);
    const diagnosis = await world.doctor('bot');
    expect(diagnosis.ok).toBe(true);
    expect(finding(diagnosis, 'clock', null)).toMatchObject({
      ok: true,
      fix: expect.stringMatching(/timedatectl|sntp|w32tm/),
    });
  });
});

describe('The doctor', () => {
  it('asks nobody with --offline', async () => {
    const world = await openDoctorWorld();
    const calls = world.sandbox.calls.length;
    expect(await world.doctor('--offline', '--as', 'admin')).toMatchObject({ ok: true });
    expect(world.sandbox.calls.length).toBe(calls);
  });

  it('has nothing to say against a keystore that is not there yet', async () => {
    const keys = join(temporaryFolder(), 'none');
    const result = await cli(['doctor', '--offline', '--json'], { env: { DERIBIT_KEYS_DIR: keys } });
    expect(result.exitCode).toBe(0);
    expect(finding(result.json<Diagnosis>(), 'keystore', null)).toMatchObject({
      ok: null,
      fix: 'deribit-keys generate bot',
    });
  });

  it('names a file in the place of the keystore', async () => {
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    const result = await cli(['--keys-dir', file, 'doctor', '--offline', '--json']);
    expect(result.exitCode).toBe(1);
    expect(finding(result.json<Diagnosis>(), 'keystore', null)).toMatchObject({
      ok: false,
      fix: expect.stringContaining('--keys-dir'),
    });
  });

  it('tells people the culprit and the command that fixes it', async () => {
    const world = await openDoctorWorld();
    chmodSync(world.path('bot.pem'), 0o644);
    const { stdout, exitCode, stderr } = await world.run('doctor', 'bot', '--as', 'admin');
    expect(exitCode).toBe(1);
    expect(stderr).toBe('');
    expect(stdout).toContain(
      `✗ bot permissions: the private key ${world.path('bot.pem')} can be read or written by others`,
    );
    expect(stdout).toContain(`    fix: chmod 600 ${world.path('bot.pem')}`);
    expect(stdout.trimEnd().split('\n').at(-1)).toMatch(/^the culprit: bot permissions: /);
    const well = await world.run('doctor', 'admin', '--as', 'admin');
    expect(well.stdout).toMatch(/! admin passphrase: .*\n {4}you could: deribit-keys passphrase admin\n/);
    expect(well.stdout.trimEnd()).toMatch(/nothing wrong was found$/);
  });

  it('is not confused by quotes and spaces in the way to the keystore', async () => {
    const keys = join(temporaryFolder(), "o'brien's keys");
    expect((await cli(['--keys-dir', keys, 'generate', 'bot'])).exitCode).toBe(0);
    chmodSync(join(keys, 'bot.pem'), 0o644);
    const result = await cli(['--keys-dir', keys, 'doctor', 'bot', '--offline', '--json']);
    const { fix } = finding(result.json<Diagnosis>(), 'permissions', 'bot');
    execFileSync('sh', ['-c', fix ?? 'false']);
    expect((await cli(['--keys-dir', keys, 'doctor', 'bot', '--offline'])).exitCode).toBe(0);
  });

  it('looks at keys of two exchanges, each where it belongs', async () => {
    const [one, two] = [await openDoctorWorld(), await openDoctorWorld()];
    expect((await one.run('generate', 'far')).exitCode).toBe(0);
    const publicKey = readFileSync(one.path('far.pub.pem'), 'utf8');
    const { client_id } = two.sandbox.addKey({ publicKey, maxScope: 'account:read' });
    expect((await one.run('link', 'far', '--client-id', client_id, '--url', two.sandbox.httpUrl)).exitCode).toBe(0);
    const diagnosis = await one.doctor('--as', 'admin');
    expect(diagnosis.ok).toBe(true);
    expect(diagnosis.findings.filter(({ check }) => check === 'reachable')).toHaveLength(2);
    const byRoot = await one.asRoot('doctor', '--json', '--url', one.sandbox.wsUrl);
    const wrong = byRoot.json<Diagnosis>().findings.filter(({ ok }) => ok === false);
    // the user's --url leads one of the two astray
    expect(wrong.map(({ check, name }) => `${check} ${name}`)).toEqual(['environment far']);
  });

  it('looks at a key of a subaccount in its subaccount', async () => {
    const world = await openDoctorWorld();
    const subaccount = world.sandbox.accountIds[1] ?? 0;
    expect((await world.run('generate', 'sub')).exitCode).toBe(0);
    const publicKey = readFileSync(world.path('sub.pub.pem'), 'utf8');
    const { client_id } = world.sandbox.addKey({ publicKey, maxScope: 'trade:read', accountId: subaccount });
    const linked = await world.run(
      'link',
      'sub',
      '--client-id',
      client_id,
      '--url',
      world.sandbox.wsUrl,
      '--subaccount',
      String(subaccount),
    );
    expect(linked.exitCode).toBe(0);
    const diagnosis = await world.doctor('--as', 'admin');
    expect(diagnosis.findings.filter(({ ok }) => ok !== true)).toEqual([]);
    expect(finding(diagnosis, 'client-id', 'sub').ok).toBe(true);
    const asked = await world.doctor('--as', 'admin', '--subaccount', String(subaccount));
    expect(asked.findings.filter(({ ok }) => ok === false)).toEqual([]);
    expect(finding(asked, 'account', null).detail).toContain(`of the subaccount ${subaccount}`);
    const other = await world.doctor('bot', '--as', 'admin', '--subaccount', '999');
    expect(culprit(other)).toMatchObject({ check: 'account', name: null });
  });

  it('shows no secret', async () => {
    const world = await openDoctorWorld();
    const secret = join(world.folder, 'secret');
    writeFileSync(secret, 'canary-passphrase');
    await world.run('passphrase', 'bot', '--new-passphrase-file', secret);
    writeFileSync(join(world.folder, 'wrong'), 'canary-wrong');
    const result = await world.asRoot('doctor', '--verbose', '--passphrase-file', join(world.folder, 'wrong'));
    expect(result.exitCode).toBe(1);
    for (const canary of ['canary', world.sandbox.clientSecret]) {
      expect(result.stdout + result.stderr).not.toContain(canary);
    }
  });
});

describe('A starting point that is a file', () => {
  it('leads to the key of the keystore that is the same', async () => {
    const world = await openDoctorWorld();
    const diagnosis = await world.doctor('--file', world.path('bot.pem'));
    expect(diagnosis.ok).toBe(true);
    expect(finding(diagnosis, 'record', null).detail).toContain('the key "bot" of the keystore');
    expect(finding(diagnosis, 'login', 'bot').ok).toBe(true);
    expect(diagnosis.findings.some(({ name }) => name === 'admin')).toBe(false);
    const half = await world.doctor('--file', world.path('bot.pub.pem'));
    expect(finding(half, 'record', null).detail).toContain('the key "bot" of the keystore');
  });

  it.skipIf(!hasOpenssl)(
    'that the keystore does not have is looked for on the exchange, by its public half (needs openssl)',
    async () => {
      const world = await openDoctorWorld();
      const file = join(world.folder, 'own.pem');
      execFileSync('openssl', ['genpkey', '-algorithm', 'ED25519', '-out', file]);
      chmodSync(file, 0o600);
      const publicKey = String(execFileSync('openssl', ['pkey', '-in', file, '-pubout']));
      const absent = await world.doctor('--file', file, '--as', 'admin');
      expect(absent.ok).toBe(true);
      expect(finding(absent, 'record', null)).toMatchObject({ ok: null, fix: `deribit-keys import bot-2 ${file}` });
      expect(finding(absent, 'client-id', null).ok).toBeNull();
      const { client_id } = world.sandbox.addKey({ publicKey, maxScope: 'trade:read' });
      const found = await world.doctor('--file', file, '--as', 'admin');
      expect(found.ok).toBe(true);
      expect(finding(found, 'login', client_id).ok).toBe(true);
    },
  );

  it.skipIf(!hasOpenssl)('with a client id is tried as a login (needs openssl)', async () => {
    const world = await openDoctorWorld();
    const file = join(world.folder, 'own.pem');
    execFileSync('openssl', ['genpkey', '-algorithm', 'ED25519', '-out', file]);
    chmodSync(file, 0o600);
    const clientId = String(world.record('bot').clientId);
    const place = ['--url', world.sandbox.httpUrl, '--keys-dir', join(world.folder, 'empty')];
    const wrong = await world.doctor('--file', file, '--client-id', clientId, ...place);
    expect(culprit(wrong)).toMatchObject({ check: 'login', name: clientId });
    const right = await world.doctor('--file', world.path('bot.pem'), '--client-id', clientId, ...place);
    expect(right.ok).toBe(true);
    expect(finding(right, 'login', clientId).ok).toBe(true);
  });

  it.skipIf(!hasOpenssl).each([
    ['is missing', () => {}, 'file', /there is no private key file/],
    ['is no key', (file: string) => writeFileSync(file, 'hello', { mode: 0o600 }), 'format', /ls -l/],
    ['others can read', (file: string) => make(file, 0o640), 'permissions', / chmod 600 \S+$/],
    [
      'is too weak',
      (file: string) => make(file, 0o600, '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024'),
      'strength',
      /generate/,
    ],
    [
      'is of another curve',
      (file: string) => make(file, 0o600, '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'),
      'strength',
      /generate/,
    ],
  ])('and %s is the culprit (needs openssl)', async (_what, plant, check, fix) => {
    const folder = temporaryFolder();
    const file = join(folder, 'own.pem');
    plant(file);
    const result = await cli(['--keys-dir', join(folder, 'keys'), 'doctor', '--offline', '--json', '--file', file]);
    expect(result.exitCode).toBe(1);
    const found = culprit(result.json<Diagnosis>());
    expect(found).toMatchObject({ check, name: null });
    expect(`${found?.detail} ${found?.fix}`).toMatch(fix);
  });

  it.skipIf(!hasOpenssl)('and is encrypted wants its passphrase (needs openssl)', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'own.pem');
    make(file, 0o600, '-algorithm', 'ED25519', '-aes256', '-pass', 'pass:right');
    const doctor = async (passphrase?: string) => {
      const env = passphrase === undefined ? {} : { DERIBIT_KEYS_INPUT_PASSPHRASE: passphrase };
      const argv = ['--keys-dir', join(folder, 'keys'), 'doctor', '--offline', '--json', '--file', file];
      return finding((await cli(argv, { env })).json<Diagnosis>(), 'passphrase', null);
    };
    expect(await doctor()).toMatchObject({ ok: null, fix: expect.stringContaining('--input-passphrase-file') });
    expect(await doctor('wrong')).toMatchObject({ ok: false });
    expect(await doctor('right')).toMatchObject({ ok: true, detail: 'the passphrase opens it' });
  });
});

function make(file: string, mode: number, ...argv: readonly string[]): void {
  execFileSync('openssl', ['genpkey', ...(argv.length === 0 ? ['-algorithm', 'ED25519'] : argv), '-out', file], {
    stdio: 'pipe',
  });
  chmodSync(file, mode);
}

describe('A starting point that is a client id', () => {
  it('leads to the key of the keystore that has it', async () => {
    const world = await openDoctorWorld();
    const diagnosis = await world.doctor('--client-id', String(world.record('bot').clientId));
    expect(diagnosis.ok).toBe(true);
    expect(finding(diagnosis, 'login', 'bot').ok).toBe(true);
  });

  it('is looked for in the account', async () => {
    const world = await openDoctorWorld();
    const unknown = await world.doctor('--client-id', 'NoSuchId', '--as', 'admin');
    expect(culprit(unknown)).toMatchObject({ check: 'client-id', name: 'NoSuchId' });
    const other = world.sandbox.addKey({ maxScope: 'trade:read' });
    const known = await world.doctor('--client-id', other.client_id, '--as', 'admin');
    expect(known.ok).toBe(true);
    expect(finding(known, 'enabled', other.client_id).ok).toBe(true);
  });

  it('without a login is not looked for', async () => {
    const world = await openDoctorWorld();
    const diagnosis = await world.doctor('--client-id', 'NoSuchId', '--url', world.sandbox.wsUrl);
    expect(diagnosis.ok).toBe(true);
    expect(finding(diagnosis, 'client-id', 'NoSuchId').ok).toBeNull();
  });

  it('may be the client secret by mistake, which is never shown', async () => {
    const world = await openDoctorWorld();
    const secret = `${'canary-'.repeat(6)}x`;
    const sought = await world.run('doctor', '--client-id', secret, '--json');
    expect(sought.exitCode).toBe(2);
    expect(sought.stderr).toContain('it may be the client secret');
    const secretFile = join(temporaryFolder(), 'secret.txt');
    writeFileSync(secretFile, 'AbCdEf12', { mode: 0o600 });
    const login = ['--client-id', secret, '--client-secret-file', secretFile, '--url', world.sandbox.wsUrl];
    await world.run('generate', 'fresh');
    const refused = await world.run('doctor', ...login);
    expect(refused.stdout).toMatch(/register fresh .*--client-id <id>/);
    for (const { stdout, stderr } of [sought, refused]) expect(stdout + stderr).not.toContain('canary');
  });
});

describe('A starting point that is an error', () => {
  it.each([
    ['13004', /ERR_UNAUTHORIZED/],
    ['-32601', /-32601/],
    ['424242', /is not known to this program/],
    ['ERR_WRONG_ENVIRONMENT', /test exchange answered/],
    ['err_permissions', /others can read/],
  ])('%s is explained, and the keys are examined', async (code, detail) => {
    const world = await openDoctorWorld();
    const diagnosis = await world.doctor('--error', code, 'bot');
    expect(diagnosis.ok).toBe(true);
    expect(diagnosis.findings[0]).toMatchObject({ check: 'error', ok: null, detail: expect.stringMatching(detail) });
    expect(finding(diagnosis, 'login', 'bot').ok).toBe(true);
  });

  it('and none at all is wrong usage', async () => {
    const world = await openDoctorWorld();
    const result = await world.run('doctor', '--error', 'no such code', '--json');
    expect(result.exitCode).toBe(2);
    expect(result.error().code).toBe('ERR_USAGE');
  });
});

describe('Wrong usage of the doctor', () => {
  it.each([
    ['a name that cannot be one', ['../x']],
    ['a duration that is none', ['--max-age', 'soon']],
    ['a login that cannot be one', ['--as', 'admin', '--client-secret-file', '/dev/null']],
  ])('is %s', async (_what, argv) => {
    const world = await openDoctorWorld();
    const result = await world.run('doctor', ...argv, '--json');
    expect(result.exitCode).toBe(2);
    expect(result.error().code).toBe('ERR_USAGE');
  });
});

describe('The doctor on an account', () => {
  it('finds that one public key is registered twice, and so does verify', async () => {
    const world = await openDoctorWorld();
    const publicKey = readFileSync(world.path('bot.pub.pem'), 'utf8');
    const twin = world.sandbox.addKey({ publicKey, maxScope: 'trade:read', name: 'twin' });
    const diagnosis = await world.doctor('--as', 'admin');
    expect(diagnosis.ok).toBe(false);
    expect(finding(diagnosis, 'twins', 'bot')).toMatchObject({
      ok: false,
      detail: expect.stringContaining(twin.client_id),
      fix: `deribit-keys api-keys remove id:${twin.id} --as admin`,
    });
    const verified = await world.run('verify', 'bot', '--as', 'admin', '--json');
    expect(verified.exitCode).toBe(1);
    expect(verified.stdout).toContain('twins');
  });

  it('names the cause, not the first cross: a disabled key rather than its empty public key file', async () => {
    const world = await openDoctorWorld();
    writeFileSync(world.path('bot.pub.pem'), '');
    const disabled = await world.run('api-keys', 'disable', 'bot', '--as', 'admin', '--yes');
    expect(disabled.exitCode).toBe(0);
    const diagnosis = await world.doctor('--as', 'admin', 'bot');
    expect(culprit(diagnosis)).toMatchObject({ check: 'enabled', name: 'bot' });
  });

  it('tells what the access log says where a login is refused', async () => {
    const world = await openDoctorWorld();
    await world.run('api-keys', 'disable', 'bot', '--as', 'admin', '--yes');
    const diagnosis = await world.doctor('--as', 'admin', 'bot');
    expect(finding(diagnosis, 'access-log', null)).toMatchObject({
      ok: null,
      detail: expect.stringContaining('failure'),
    });
  });
});

describe('The doctor on a keystore', () => {
  it('tells that a key is imported under two names', async () => {
    const world = await openDoctorWorld();
    expect((await world.run('import', 'other', world.path('bot.pem'))).exitCode).toBe(0);
    expect(finding(await world.doctor('--offline'), 'duplicates', 'other')).toMatchObject({
      ok: true,
      detail: 'the same key as "bot"',
    });
  });

  it('shows only what is wrong with --problems, and little of what is fine without', async () => {
    const world = await openDoctorWorld();
    expect((await world.doctor('--as', 'admin', '--problems')).findings).toEqual([]);
    const brief = await world.run('doctor', '--as', 'admin');
    expect(brief.stdout.split('\n').length).toBeLessThan(12);
    expect(brief.stdout).toMatch(/✓ bot: \d+ of \d+ checks passed/);
    const long = await world.run('doctor', '--as', 'admin', '--verbose');
    expect(long.stdout).toContain('bot exchange-key: ');
  });

  it('says once what it could not check of a key, and marks a group in which something is wrong', async () => {
    const world = await openDoctorWorld();
    expect((await world.run('api-keys', 'disable', 'bot', '--as', 'admin', '--yes')).exitCode).toBe(0);
    const { stdout } = await world.run('doctor', 'bot');
    expect(stdout.match(/needs a login with account:read/g)).toHaveLength(1);
    expect(stdout).toMatch(/^- bot client-id, enabled, exchange-key, scope, whitelist: not checked: /m);
    expect(stdout).toMatch(/^✗ bot: \d+ of \d+ checks passed$/m);
    expect(stdout).toMatch(/^✓ general: /m);
  });

  it('says once what it has to say of several keys', async () => {
    const world = await openDoctorWorld();
    const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
    for (const name of names) expect((await world.run('generate', name)).exitCode).toBe(0);
    const { stdout } = await world.run('doctor', '--as', 'admin');
    expect(stdout.split('\n').length).toBeLessThan(22);
    expect(stdout).toMatch(
      /^! a, admin, b, bot, c, d, e, f, g passphrase: .*\n {4}you could: deribit-keys passphrase <name>$/m,
    );
    expect(stdout).toMatch(/^- a, b, c, d, e, f, g registration: .*\n {4}you could: deribit-keys register <name> /m);
  });

  it('does not advise what a key that Deribit does not take would refuse', async () => {
    const world = await openDoctorWorld();
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
    writeFileSync(world.path('bot.pem'), pem, { mode: 0o600 });
    const file = join(world.folder, 'ec.pem');
    writeFileSync(file, pem, { mode: 0o600 });
    for (const [argv, name] of [
      [['bot'], 'bot'],
      [['--file', file], null],
    ] as const) {
      const diagnosis = await world.doctor('--offline', ...argv);
      expect(finding(diagnosis, 'strength', name)).toMatchObject({ ok: false });
      expect(finding(diagnosis, 'passphrase', name)).toMatchObject({ ok: true, fix: null });
    }
  });
});
