import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
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
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type CliOptions, cli, temporaryFolder } from '../support/cli.js';
import { canRun } from '../support/program.js';

vi.setConfig({ testTimeout: 120_000 });

let folder: string;
let keysDir: string;
let secret: string;
beforeEach(() => {
  folder = temporaryFolder();
  keysDir = join(folder, 'keys');
  secret = join(folder, 'secret');
  writeFileSync(secret, 'correct horse\n');
});

const run = (argv: readonly string[], options?: CliOptions) => cli([...argv, '--keys-dir', keysDir], options);
/** Runs with --json what must succeed, with one document on stdout and nothing on stderr. */
async function json<T = Record<string, unknown>>(argv: readonly string[], options?: CliOptions): Promise<T> {
  const result = await run([...argv, '--json'], options);
  expect(result.stderr).toBe('');
  expect(result.exitCode).toBe(0);
  expect(result.stdout.trimEnd()).not.toContain('\n');
  return result.json<T>();
}
/** Runs with --json what must fail, with nothing on stdout and one document on stderr. */
async function fails(argv: readonly string[], options?: CliOptions) {
  const result = await run([...argv, '--json'], options);
  expect(result.stdout).toBe('');
  const { code, message, hint } = result.error();
  return { exitCode: result.exitCode, code, message, hint };
}
const inKeys = () => readdirSync(keysDir).filter((file) => !/^\.gitignore$|^audit/.test(file));
const openssl = (...args: readonly string[]) => spawnSync('openssl', args, { encoding: 'utf8' });

describe('generate', () => {
  it('prints everything about the new key, and openssl reads it', async () => {
    const made = await json(['generate', 'bot']);
    expect(Object.keys(made)).toEqual(
      expect.arrayContaining(
        'name algorithm bits fingerprint publicKey publicKeyFile privateKeyFile encrypted createdAt'.split(' '),
      ),
    );
    expect(made).toMatchObject({
      name: 'bot',
      algorithm: 'ed25519',
      bits: null,
      encrypted: false,
      privateKeyFile: join(keysDir, 'bot.pem'),
    });
    expect(openssl('pkey', '-in', join(keysDir, 'bot.pem'), '-pubout').stdout).toBe(made.publicKey);
    expect(statSync(join(keysDir, 'bot.pem')).mode & 0o777).toBe(0o600);
    expect(statSync(keysDir).mode & 0o777).toBe(0o700);
    expect(inKeys()).toEqual(['bot.json', 'bot.pem', 'bot.pub.pem']);
  });

  it('shows people the public key and what to do next, and never the private key', async () => {
    const { stdout, stderr, exitCode } = await run(['generate', 'bot']);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('BEGIN PUBLIC KEY');
    expect(stdout + stderr).not.toContain('PRIVATE KEY');
    expect(stderr).toContain('next: ');
  });

  it.each([
    [[], 3072],
    [['--bits', '2048'], 2048],
  ] as const)('makes RSA %j of %i bits', async (more, bits) => {
    expect(await json(['generate', 'rsa', '--type', 'rsa', ...more])).toMatchObject({ algorithm: 'rsa', bits });
    expect(openssl('pkey', '-in', join(keysDir, 'rsa.pem'), '-noout', '-text').stdout).toContain(`(${bits} bit`);
  });

  it('encrypts under a passphrase from a file or the environment, and openssl opens it', async () => {
    const made = await json(['generate', 'bot', '--encrypt', '--passphrase-file', secret]);
    expect(made.encrypted).toBe(true);
    expect(openssl('pkey', '-in', join(keysDir, 'bot.pem'), '-pubout', '-passin', `file:${secret}`).stdout).toBe(
      made.publicKey,
    );
    const second = await json(['generate', 'two', '--encrypt'], { env: { DERIBIT_KEYS_PASSPHRASE: 'x' } });
    expect(openssl('pkey', '-in', join(keysDir, 'two.pem'), '-pubout', '-passin', 'pass:x').stdout).toBe(
      second.publicKey,
    );
  });

  it('overwrites nothing, in any spelling of the name', async () => {
    await json(['generate', 'bot']);
    const before = readFileSync(join(keysDir, 'bot.pem'), 'utf8');
    expect(await fails(['generate', 'bot'])).toMatchObject({ exitCode: 1, code: 'ERR_NAME_TAKEN' });
    expect(await fails(['generate', 'BOT'])).toMatchObject({ exitCode: 1, code: 'ERR_NAME_TAKEN' });
    expect(readFileSync(join(keysDir, 'bot.pem'), 'utf8')).toBe(before);
  });

  it('without a passphrase to be had encrypts nothing and makes nothing', async () => {
    expect(await fails(['generate', 'bot', '--encrypt'])).toMatchObject({
      exitCode: 3,
      code: 'ERR_PASSPHRASE_REQUIRED',
    });
    expect(existsSync(keysDir)).toBe(false);
  });

  it.each([
    ['empty', ''],
    ['only a newline', '\n'],
    ['too long', 'x'.repeat(5000)],
    ['no UTF-8', Buffer.from([0x70, 0xe9, 0x0a])],
  ])('a passphrase file that is %s is wrong usage', async (_what, content) => {
    writeFileSync(secret, content);
    expect(await fails(['generate', 'bot', '--encrypt', '--passphrase-file', secret])).toMatchObject({ exitCode: 2 });
    expect(existsSync(join(keysDir, 'bot.pem'))).toBe(false);
  });

  it('drops one newline at the end of a passphrase file, and no more', async () => {
    writeFileSync(secret, 'a b \n\r\n');
    await json(['generate', 'bot', '--encrypt', '--passphrase-file', secret]);
    const sign = ['sign', 'bot', '--client-id', 'x'];
    expect((await run(sign, { env: { DERIBIT_KEYS_PASSPHRASE: 'a b \n' } })).exitCode).toBe(0);
    expect(await fails(sign, { env: { DERIBIT_KEYS_PASSPHRASE: 'a b ' } })).toMatchObject({
      exitCode: 3,
      code: 'ERR_PASSPHRASE_WRONG',
    });
  });
});

describe('list and show', () => {
  it('give records with everything that scripts rely on', async () => {
    expect(await json(['list'])).toEqual([]);
    await json(['generate', 'bot']);
    await json(['generate', 'alpha']);
    const fields =
      'name algorithm bits fingerprint encrypted state environment clientId keyId scope createdAt registeredAt'.split(
        ' ',
      );
    const list = await json<Record<string, unknown>[]>(['list']);
    expect(list.map(({ name }) => name)).toEqual(['alpha', 'bot']);
    const shown = await json(['show', 'bot']);
    expect(Object.keys(shown)).toEqual(expect.arrayContaining(fields));
    expect(shown).toMatchObject({
      state: 'local',
      environment: null,
      clientId: null,
      keyId: null,
      scope: null,
      registeredAt: null,
    });
    expect(list[1]).toEqual(shown);
  });

  it('show people a table, and a hint where there is no key', async () => {
    const none = await run(['list']);
    expect(none).toMatchObject({ exitCode: 0, stdout: '' });
    expect(none.stderr).toContain('generate <name>');
    await json(['generate', 'bot']);
    const { stdout } = await run(['list']);
    expect(stdout).toMatch(/^NAME +ALGORITHM +FINGERPRINT/);
    expect(stdout).toMatch(/\nbot +ed25519 +[0-9a-f:]{47} +local/);
    expect((await run(['show', 'bot'])).stdout).toMatch(/^name +bot\n/);
  });

  it('do not call a keystore empty whose records cannot be read', async () => {
    await json(['generate', 'bot']);
    writeFileSync(join(keysDir, 'bot.json'), '{');
    const { stdout, stderr } = await run(['list']);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^warning: the record .*bot\.json is damaged: it is not JSON\n$/);
  });

  it('name a damaged record, and show the others', async () => {
    await json(['generate', 'bot']);
    await json(['generate', 'bad']);
    writeFileSync(join(keysDir, 'bad.json'), '{"schema":1');
    const { exitCode, stdout, stderr } = await run(['list']);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('bot ');
    expect(stderr).toContain(join(keysDir, 'bad.json'));
    expect((await json<unknown[]>(['list'])).length).toBe(1);
    expect(await fails(['show', 'bad'])).toMatchObject({ exitCode: 3, code: 'ERR_RECORD_DAMAGED' });
    expect(await fails(['sign', 'bad', '--client-id', 'x'])).toMatchObject({ exitCode: 3 });
    expect((await run(['sign', 'bot', '--client-id', 'x'])).exitCode).toBe(0);
    for (const argv of [['verify'], ['verify', 'bot', 'bad']]) {
      const verified = await run([...argv, '--json']);
      expect(verified.exitCode).toBe(1);
      const results = verified.json<{ name: string; ok: boolean }[]>();
      expect(Object.fromEntries(results.map(({ name, ok }) => [name, ok]))).toEqual({ bot: true, bad: false });
    }
  });

  it('do not let a record steer the terminal', async () => {
    await json(['generate', 'bot']);
    const path = join(keysDir, 'bot.json');
    writeFileSync(path, readFileSync(path, 'utf8').replace('"scope": null', '"scope": "\\u001b]0;owned\\u0007"'));
    for (const argv of [['list'], ['show', 'bot']]) {
      const { stdout } = await run(argv);
      expect(stdout).not.toContain('\u001b');
      expect(stdout).toContain('\\x1b');
    }
    const record = JSON.parse(readFileSync(path, 'utf8')) as object;
    const clientId = 'x\u001b]0;owned\u0007\nnothing is wrong';
    writeFileSync(path, JSON.stringify({ ...record, state: 'registered', environment: 'test', clientId }));
    const { stdout } = await run(['doctor', '--offline', '--verbose']);
    expect(stdout).toContain('registered as x\\x1b]0;owned\\x07\\nnothing is wrong\n');
    expect(stdout).not.toContain('\u001b');
  });

  it('a name that is not there is exit 3', async () => {
    expect(await fails(['show', 'nobody'])).toMatchObject({ exitCode: 3, code: 'ERR_NO_SUCH_NAME' });
    expect(existsSync(keysDir)).toBe(false);
  });
});

describe('fingerprint', () => {
  it('is one line, of a key of the keystore or of any file', async () => {
    const made = await json(['generate', 'bot']);
    expect(await run(['fingerprint', 'bot'])).toMatchObject({
      exitCode: 0,
      stdout: `${made.fingerprint}\n`,
      stderr: '',
    });
    for (const file of ['bot.pem', 'bot.pub.pem']) {
      expect(await json(['fingerprint', join(keysDir, file)])).toEqual({
        algorithm: 'ed25519',
        bits: null,
        fingerprint: made.fingerprint,
      });
    }
    const piped = await run(['fingerprint', '-'], { stdin: String(made.publicKey) });
    expect(piped.stdout).toBe(`${made.fingerprint}\n`);
    const der = openssl(
      'pkey',
      '-in',
      join(keysDir, 'bot.pem'),
      '-pubout',
      '-outform',
      'DER',
      '-out',
      join(folder, 'der'),
    );
    expect(der.status).toBe(0);
    const md5 = openssl('dgst', '-md5', '-c', join(folder, 'der')).stdout.trim().split('= ')[1];
    expect(made.fingerprint).toBe(md5);
  });

  it('asks for the passphrase of an encrypted file only', async () => {
    const made = await json(['generate', 'bot', '--encrypt', '--passphrase-file', secret]);
    expect(await json(['fingerprint', 'bot'])).toMatchObject({ fingerprint: made.fingerprint });
    const file = join(keysDir, 'bot.pem');
    expect(await fails(['fingerprint', file])).toMatchObject({ exitCode: 3, code: 'ERR_PASSPHRASE_REQUIRED' });
    expect(await json(['fingerprint', file, '--input-passphrase-file', secret])).toMatchObject({
      fingerprint: made.fingerprint,
    });
    expect(await json(['fingerprint', file, '--passphrase-file', secret])).toMatchObject({
      fingerprint: made.fingerprint,
    });
    expect(await json(['fingerprint', file], { env: { DERIBIT_KEYS_INPUT_PASSPHRASE: 'correct horse' } })).toBeTruthy();
    expect(await fails(['fingerprint', file], { env: { DERIBIT_KEYS_PASSPHRASE: 'wrong' } })).toMatchObject({
      code: 'ERR_PASSPHRASE_WRONG',
    });
  });

  it('of nothing that is there, and of no key, is exit 3', async () => {
    expect(await fails(['fingerprint', 'nobody'])).toMatchObject({ exitCode: 3, code: 'ERR_NO_SUCH_NAME' });
    expect(await fails(['fingerprint', './nobody'])).toMatchObject({ exitCode: 3, code: 'ERR_KEY_UNREADABLE' });
    expect(await fails(['fingerprint', folder])).toMatchObject({ exitCode: 3, code: 'ERR_KEY_UNREADABLE' });
    expect(await fails(['fingerprint', '-'], { stdin: 'noise' })).toMatchObject({ exitCode: 3 });
    expect(await fails(['fingerprint', '-'], { stdin: ' '.repeat(70_000) })).toMatchObject({ exitCode: 3 });
    writeFileSync(join(folder, 'large'), ' '.repeat(70_000));
    expect(await fails(['fingerprint', join(folder, 'large')])).toMatchObject({ exitCode: 3 });
  });

  it('reads a pipe', async () => {
    const made = await json(['generate', 'bot']);
    const pipe = join(folder, 'pipe');
    spawnSync('mkfifo', [pipe]);
    const { writeFile } = await import('node:fs/promises');
    const [shown] = await Promise.all([json(['fingerprint', pipe]), writeFile(pipe, String(made.publicKey))]);
    expect(shown).toMatchObject({ fingerprint: made.fingerprint });
    const [tooLarge] = await Promise.all([
      fails(['fingerprint', pipe]),
      writeFile(pipe, ' '.repeat(200_000)).catch(() => {}),
    ]);
    expect(tooLarge).toMatchObject({ exitCode: 3 });
  });
});

describe('import', () => {
  it('brings in what openssl made, plain and encrypted, with the fingerprint that openssl computes', async () => {
    const plain = join(folder, 'plain.pem');
    const sealed = join(folder, 'sealed.pem');
    openssl('genpkey', '-algorithm', 'ed25519', '-out', plain);
    openssl('pkey', '-in', plain, '-aes256', '-passout', `file:${secret}`, '-out', sealed);
    const one = await json(['import', 'one', plain]);
    expect(one).toMatchObject({ algorithm: 'ed25519', encrypted: false });
    const two = await json(['import', 'two', sealed, '--input-passphrase-file', secret]);
    expect(two).toMatchObject({ fingerprint: one.fingerprint, encrypted: true });
    expect(openssl('pkey', '-in', join(keysDir, 'two.pem'), '-noout', '-passin', `file:${secret}`).status).toBe(0);
    expect(await json(['import', 'three', sealed, '--no-encrypt', '--input-passphrase-file', secret])).toMatchObject({
      encrypted: false,
    });
    expect(await json(['import', 'four', plain, '--encrypt'], { env: { DERIBIT_KEYS_PASSPHRASE: 'x' } })).toMatchObject(
      { encrypted: true },
    );
    const both = { DERIBIT_KEYS_INPUT_PASSPHRASE: 'correct horse', DERIBIT_KEYS_PASSPHRASE: 'another' };
    await json(['import', 'five', sealed], { env: both });
    expect(openssl('pkey', '-in', join(keysDir, 'five.pem'), '-noout', '-passin', 'pass:another').status).toBe(0);
    expect(await json(['import', 'six', '-'], { stdin: readFileSync(plain) })).toMatchObject({
      fingerprint: one.fingerprint,
    });
  });

  it('refuses what is no private key, is encrypted, or is taken, and stores nothing', async () => {
    const made = await json(['generate', 'bot']);
    expect(await fails(['import', 'new', '-'], { stdin: String(made.publicKey) })).toMatchObject({
      exitCode: 3,
      code: 'ERR_KEY_UNSUPPORTED',
    });
    expect(await fails(['import', 'new', '-'], { stdin: '' })).toMatchObject({ exitCode: 3 });
    expect(await fails(['import', 'new', join(folder, 'none')])).toMatchObject({
      exitCode: 3,
      code: 'ERR_KEY_UNREADABLE',
    });
    expect(await fails(['import', 'bot', join(keysDir, 'bot.pem')])).toMatchObject({
      exitCode: 1,
      code: 'ERR_NAME_TAKEN',
    });
    await json(['passphrase', 'bot', '--new-passphrase-file', secret]);
    expect(await fails(['import', 'new', join(keysDir, 'bot.pem')])).toMatchObject({
      exitCode: 3,
      code: 'ERR_PASSPHRASE_REQUIRED',
    });
    expect(inKeys()).toEqual(['bot.json', 'bot.pem', 'bot.pub.pem']);
  });

  it('names the file whose passphrase is wrong, and warns of a shared file only where it holds a private key', async () => {
    const made = await json(['generate', 'bot', '--passphrase-file', secret]);
    const copy = join(folder, 'copy.pem');
    writeFileSync(copy, readFileSync(join(keysDir, 'bot.pem')));
    chmodSync(copy, 0o644);
    const wrong = { env: { DERIBIT_KEYS_INPUT_PASSPHRASE: 'battery staple' } };
    expect(await fails(['import', 'new', copy], wrong)).toMatchObject({
      exitCode: 3,
      code: 'ERR_PASSPHRASE_WRONG',
      message: `wrong passphrase for the key in ${copy}, or it is damaged`,
    });
    const note = `other users can read ${copy} (mode 0644)`;
    expect((await run(['import', 'new', copy], wrong)).stderr).toContain(note);
    expect((await run(['import', 'new', copy, '--input-passphrase-file', secret])).stderr).toContain(note);
    writeFileSync(copy, String(made.publicKey));
    const refused = await run(['import', 'another', copy]);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).not.toContain('other users');
  });

  it('takes a bare seed only when it is told that it is one', async () => {
    const seed = join(folder, 'seed');
    writeFileSync(seed, Buffer.alloc(32, 7));
    expect(await fails(['import', 'bot', seed])).toMatchObject({ exitCode: 3 });
    const imported = await json<{ fingerprint: string }>(['import', 'bot', seed, '--format', 'raw-seed']);
    expect(imported).toMatchObject({ algorithm: 'ed25519' });
    expect(imported).not.toHaveProperty('warning');
    expect(await json(['fingerprint', seed, '--format', 'raw-seed'])).toMatchObject({
      fingerprint: imported.fingerprint,
    });
  });

  it('warns of a seed that looks like something else, and refuses the public key of a key that it has', async () => {
    const wireGuard = join(folder, 'wg.key');
    writeFileSync(wireGuard, 'sIVN2Fdt3YBlxX78fVvcqTNe50UbScC02Gj8LEe1030=\n');
    expect((await fails(['import', 'bot', wireGuard])).message).toContain('WireGuard');
    const shown = await run(['import', 'bot', wireGuard, '--format', 'raw-seed']);
    expect(shown.stderr).toMatch(/^warning: this seed looks like an X25519 key \(WireGuard\)/m);
    expect(await json(['import', 'bot2', wireGuard, '--format', 'raw-seed'])).toHaveProperty('warning');

    await json(['generate', 'own']);
    const { stdout } = openssl('pkey', '-pubin', '-in', join(keysDir, 'own.pub.pem'), '-pubout', '-outform', 'PEM');
    const raw = Buffer.from(stdout.replace(/-----.*-----|\n/g, ''), 'base64').subarray(-32);
    writeFileSync(join(folder, 'raw'), raw.toString('base64'));
    const { fingerprint } = await json(['fingerprint', 'own']);
    expect(await json(['fingerprint', join(folder, 'raw')])).toMatchObject({ fingerprint });
    expect(await fails(['import', 'new', join(folder, 'raw')])).toMatchObject({ exitCode: 3 });
    expect(await fails(['import', 'new', join(folder, 'raw'), '--format', 'raw-seed'])).toMatchObject({
      code: 'ERR_KEY_INVALID',
      message: 'this is the public key of "own", not a seed',
    });
  });

  it('takes a seed that could be a public key only where the user says that it is not one', async () => {
    const other = join(folder, 'other.raw');
    writeFileSync(other, 'quIVonGpx7MApvf06iK7rVnqL25HNlA8BC2yd8Mcq0A=\n');
    const seed = ['import', 'bot', other, '--format', 'raw-seed'];
    expect(await fails(['import', 'bot', other])).toMatchObject({ exitCode: 3 });
    expect(await fails(seed)).toMatchObject({
      exitCode: 2,
      message: expect.stringContaining('these 32 bytes can be a public key, which others may know'),
      hint: 'confirm it with --yes',
    });
    expect((await run(['show', 'bot'])).exitCode).toBe(3);
    expect((await run(['fingerprint', other])).stderr).toContain('note: read as a public key; a seed is read with');
    expect((await run(['fingerprint', other, '--format', 'raw-seed'])).stderr).toContain('could also be');
    expect(await json([...seed, '--yes'])).toHaveProperty('warning');
  });
});

describe('export', () => {
  // each test gets a copy of one keystore: encrypting a key and making an RSA key take long
  let made: string;
  beforeAll(async () => {
    made = mkdtempSync(join(tmpdir(), 'deribit-keys-test-'));
    const env = { DERIBIT_KEYS_DIR: made };
    for (const [argv, passphrase] of [
      [['generate', 'bot'], undefined],
      [['generate', 'safe', '--encrypt'], 'correct horse'],
      [['generate', 'rsa', '--type', 'rsa', '--bits', '2048'], undefined],
    ] as const) {
      expect(await cli(argv, { env: { ...env, DERIBIT_KEYS_PASSPHRASE: passphrase } })).toMatchObject({ exitCode: 0 });
    }
  });
  afterAll(() => rmSync(made, { recursive: true, force: true }));
  beforeEach(() => cpSync(made, keysDir, { recursive: true }));

  it('exports public keys without asking', async () => {
    const publicPem = readFileSync(join(keysDir, 'bot.pub.pem'), 'utf8');
    expect((await run(['export', 'bot', '--public'])).stdout).toBe(publicPem);
    expect((await run(['export', 'safe', '--format', 'spki'])).stdout).toContain('BEGIN PUBLIC KEY');
    expect((await run(['export', 'bot', '--format', 'ssh'])).stdout).toMatch(/^ssh-ed25519 \S+ bot\n$/);
    expect((await run(['export', 'bot', '--format', 'openssh', '--public'])).stdout).toMatch(/^ssh-ed25519 /);
    expect(JSON.parse((await run(['export', 'bot', '--format', 'jwk', '--public'])).stdout)).not.toHaveProperty('d');
    const out = join(folder, 'bot.pub');
    expect(await json(['export', 'bot', '--public', '--out', out])).toMatchObject({ file: out, public: true });
    expect(readFileSync(out, 'utf8')).toBe(publicPem);
  });

  it('writes private keys to new files of mode 0600, which openssl and ssh-keygen read', async () => {
    const pkcs8 = join(folder, 'out.pem');
    expect(await json(['export', 'bot', '--out', pkcs8])).toMatchObject({
      format: 'pkcs8',
      encrypted: false,
      file: pkcs8,
    });
    expect(statSync(pkcs8).mode & 0o777).toBe(0o600);
    expect(openssl('pkey', '-in', pkcs8, '-pubout').stdout).toBe(readFileSync(join(keysDir, 'bot.pub.pem'), 'utf8'));
    expect(await fails(['export', 'bot', '--out', pkcs8])).toMatchObject({
      exitCode: 1,
      code: 'ERR_NAME_TAKEN',
      hint: 'choose another name, or move that file away',
    });
    const ssh = join(folder, 'id_bot');
    await json(['export', 'bot', '--format', 'openssh', '--out', ssh]);
    expect(spawnSync('ssh-keygen', ['-y', '-f', ssh], { encoding: 'utf8' }).stdout).toMatch(/^ssh-ed25519 /);
    const pkcs1 = join(folder, 'rsa.pem');
    await json(['export', 'rsa', '--format', 'pkcs1', '--out', pkcs1]);
    expect(openssl('rsa', '-in', pkcs1, '-check', '-noout').stdout).toContain('RSA key ok');
    const der = await json(['export', 'rsa', '--format', 'der']);
    writeFileSync(join(folder, 'rsa.der'), Buffer.from(String(der.content), 'base64'));
    expect(openssl('pkey', '-inform', 'DER', '-in', join(folder, 'rsa.der'), '-noout').status).toBe(0);
  });

  it('lets an encrypted key leave encrypted, unless it is told otherwise', async () => {
    const env = { DERIBIT_KEYS_PASSPHRASE: 'correct horse' };
    const out = join(folder, 'out.pem');
    expect(await json(['export', 'safe', '--out', out], { env })).toMatchObject({ encrypted: true });
    expect(openssl('pkey', '-in', out, '-noout', '-passin', `file:${secret}`).status).toBe(0);
    const other = join(folder, 'other.pem');
    await json(['export', 'safe', '--out', other], { env: { ...env, DERIBIT_KEYS_NEW_PASSPHRASE: 'new' } });
    expect(openssl('pkey', '-in', other, '-noout', '-passin', 'pass:new').status).toBe(0);
    expect((await run(['export', 'safe', '--no-encrypt'], { env })).stdout).toContain('BEGIN PRIVATE KEY');
    expect(await fails(['export', 'safe', '--format', 'jwk'], { env })).toMatchObject({ exitCode: 2 });
    expect(
      JSON.parse((await run(['export', 'safe', '--format', 'jwk', '--no-encrypt'], { env })).stdout),
    ).toHaveProperty('d');
    expect(await fails(['export', 'safe'])).toMatchObject({ exitCode: 3, code: 'ERR_PASSPHRASE_REQUIRED' });
    expect(await json(['export', 'bot', '--encrypt', '--out', join(folder, 'sealed')], { env })).toMatchObject({
      encrypted: true,
    });
  });

  it('is told in the audit log, and a log that cannot be written keeps the key in', async () => {
    await run(['export', 'bot']);
    const log = readFileSync(join(keysDir, 'audit.jsonl'), 'utf8').trim().split('\n');
    expect(JSON.parse(log.at(-1) ?? '')).toMatchObject({ action: 'export', name: 'bot' });
    spawnSync('rm', [join(keysDir, 'audit.jsonl')]);
    mkdirSync(join(keysDir, 'audit.jsonl'));
    expect(await fails(['export', 'bot'])).toMatchObject({ exitCode: 1, code: 'ERR_KEYSTORE_IO' });
  });
});

describe('passphrase', () => {
  it('sets, changes and removes', async () => {
    await json(['generate', 'bot']);
    const env = (now: string, next: string) => ({ DERIBIT_KEYS_PASSPHRASE: now, DERIBIT_KEYS_NEW_PASSPHRASE: next });
    expect(await json(['passphrase', 'bot', '--new-passphrase-file', secret])).toEqual({
      name: 'bot',
      encrypted: true,
    });
    expect(await fails(['passphrase', 'bot'], { env: env('wrong', 'x') })).toMatchObject({
      exitCode: 3,
      code: 'ERR_PASSPHRASE_WRONG',
    });
    expect(await json(['passphrase', 'bot'], { env: env('correct horse', 'x') })).toMatchObject({ encrypted: true });
    expect(openssl('pkey', '-in', join(keysDir, 'bot.pem'), '-noout', '-passin', 'pass:x').status).toBe(0);
    expect(await json(['passphrase', 'bot', '--remove'], { env: env('x', '') })).toEqual({
      name: 'bot',
      encrypted: false,
    });
    expect((await json(['show', 'bot'])).encrypted).toBe(false);
    expect(openssl('pkey', '-in', join(keysDir, 'bot.pem'), '-noout').status).toBe(0);
  });

  it('without a new one to be had changes nothing', async () => {
    await json(['generate', 'bot']);
    expect(await fails(['passphrase', 'bot'])).toMatchObject({ exitCode: 3, code: 'ERR_PASSPHRASE_REQUIRED' });
    expect(await fails(['passphrase', 'nobody', '--remove'])).toMatchObject({ exitCode: 3, code: 'ERR_NO_SUCH_NAME' });
  });
});

describe('sign', () => {
  it('prints JSON whatever is in its texts, in the human form as well', async () => {
    await run(['generate', 'bot']);
    const data = 'a\u007fb\u0085\u00ad\u{e0001}';
    const { stdout } = await run(['sign', 'bot', '--client-id', 'x', '--data', data]);
    expect(JSON.parse(stdout)).toMatchObject({ client_id: 'x', data });
  });

  it('prints the parameters of public/auth, in its order, that openssl verifies', async () => {
    const made = await json(['generate', 'bot']);
    const { stdout } = await run([
      'sign',
      'bot',
      '--client-id',
      'AbCdEf12',
      '--timestamp',
      '1576074319000',
      '--nonce',
      'abc',
      '--data',
      'd',
      '--scope',
      'session:x',
      '--state',
      's',
    ]);
    const params = JSON.parse(stdout) as Record<string, unknown>;
    expect(Object.keys(params)).toEqual([
      'grant_type',
      'client_id',
      'timestamp',
      'nonce',
      'data',
      'signature',
      'scope',
      'state',
    ]);
    expect(params).toMatchObject({
      grant_type: 'client_signature',
      client_id: 'AbCdEf12',
      timestamp: 1576074319000,
      nonce: 'abc',
      data: 'd',
    });
    writeFileSync(join(folder, 'message'), '1576074319000\nabc\nd');
    writeFileSync(join(folder, 'signature'), Buffer.from(String(params.signature), 'base64url'));
    writeFileSync(join(folder, 'pub'), String(made.publicKey));
    const verdict = openssl(
      'pkeyutl',
      '-verify',
      '-pubin',
      '-inkey',
      join(folder, 'pub'),
      '-rawin',
      '-in',
      join(folder, 'message'),
      '-sigfile',
      join(folder, 'signature'),
    );
    expect(verdict.stdout).toContain('Verified Successfully');
  });

  it('needs a client id, and writes nothing', async () => {
    await json(['generate', 'bot']);
    const before = readdirSync(keysDir);
    chmodSync(keysDir, 0o500);
    expect(await fails(['sign', 'bot'])).toMatchObject({ exitCode: 2 });
    expect(await fails(['sign', 'bot', '--client-id', ''])).toMatchObject({ exitCode: 2 });
    expect(await fails(['sign', 'bot', '--client-id', 'x', '--nonce', 'a\nb'])).toMatchObject({ exitCode: 2 });
    expect((await run(['sign', 'bot', '--client-id', 'x'])).exitCode).toBe(0);
    expect(readdirSync(keysDir)).toEqual(before);
  });
});

describe('remove, backup and restore', () => {
  it('take a key away and bring it back', async () => {
    const made = await json(['generate', 'bot']);
    const file = join(folder, 'keys.age');
    expect(await json(['backup', file, '--backup-passphrase-file', secret])).toEqual({ file, keys: 1 });
    expect(await fails(['backup', file, '--backup-passphrase-file', secret])).toMatchObject({
      exitCode: 1,
      code: 'ERR_NAME_TAKEN',
    });
    const { folder: retired } = await json(['remove', 'bot']);
    expect(readdirSync(String(retired)).filter((name) => name.startsWith('bot'))).toHaveLength(3);
    expect(await fails(['show', 'bot'])).toMatchObject({ exitCode: 3 });
    expect(await json(['restore', file], { env: { DERIBIT_KEYS_PASSPHRASE: 'correct horse' } })).toEqual({
      file,
      names: ['bot'],
    });
    expect(await json(['show', 'bot'])).toMatchObject({ fingerprint: made.fingerprint });
    expect(await fails(['remove', 'bot', '--purge', '--yes'])).toMatchObject({ exitCode: 1, code: 'ERR_STATE' });
    expect(await json(['remove', 'bot'])).toMatchObject({ name: 'bot', purged: false });
  });

  it('refuse to back up an empty keystore before they ask for a passphrase', async () => {
    expect(await fails(['backup', join(folder, 'x')])).toMatchObject({ exitCode: 1, code: 'ERR_STATE' });
  });

  it('need a passphrase, and a file that is there', async () => {
    await json(['generate', 'bot']);
    expect(await fails(['backup', join(folder, 'x')])).toMatchObject({ exitCode: 3, code: 'ERR_PASSPHRASE_REQUIRED' });
    for (const argv of [[], ['--backup-passphrase-file', secret]]) {
      expect(await fails(['restore', join(folder, 'x'), ...argv])).toMatchObject({
        exitCode: 3,
        code: 'ERR_KEY_UNREADABLE',
        hint: expect.any(String),
      });
    }
    expect(existsSync(join(folder, 'x'))).toBe(false);
  });
});

it.skipIf(!(await canRun('ssh-keygen', '-Q', '-f', '/dev/null', '/dev/null')) && !existsSync('/usr/bin/ssh-keygen'))(
  'a key of ssh-keygen comes in with its passphrase (needs ssh-keygen)',
  async () => {
    const file = join(folder, 'id');
    spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', 'correct horse', '-f', file]);
    expect(await json(['import', 'bot', file, '--input-passphrase-file', secret])).toMatchObject({ encrypted: true });
  },
);
