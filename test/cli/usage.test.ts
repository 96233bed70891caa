import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { EXIT, exitCodeOf } from '../../src/cli/exit-codes.js';
import type { ErrorCode } from '../../src/errors.js';
import { VERSION } from '../../src/version.js';
import { cli, temporaryFolder } from '../support/cli.js';

let folder: string;
let keysDir: string;
beforeEach(() => {
  folder = temporaryFolder();
  keysDir = join(folder, 'keys');
});

const local = (...argv: readonly string[]) => cli([...argv, '--keys-dir', keysDir]);

describe('wrong usage', () => {
  it.each<[readonly string[], RegExp]>([
    [['--yes'], /no command/],
    [['help', 'nosuch'], /no command/],
    [['nosuch'], /unknown command 'nosuch'/],
    [['generat', 'bot'], /unknown command/],
    [['sign'], /missing required argument 'name'/],
    [['generate', 'a', 'b'], /too many arguments/],
    [['generate', 'bot', '--colour', 'red'], /unknown option '--colour'/],
    [['generate', 'bot', '--type', 'dsa'], /ed25519, rsa/],
    [['generate', 'bot', '--bits', '1024', '--type', 'rsa'], /2048, 3072, 4096/],
    [['generate', 'bot', '--bits', '2048'], /Ed25519/],
    [['generate', '../bot'], /not a key name/],
    [['generate', 'bot.pem'], /not a key name/],
    [['show', ''], /not a key name/],
    [['list', '--env', 'live'], /test, prod/],
    [['list', '--timeout', '0'], /whole number/],
    [['list', '--timeout', '1e3'], /whole number/],
    [['list', '--timeout', '-5'], /whole number|argument missing/],
    [['register', 'bot'], /required option '--scope <scope>'/],
    [['link', 'bot'], /required option '--client-id <id>'/],
    [['export', 'bot', '--format', 'pfx'], /pkcs8, pkcs1, openssh/],
    [['sandbox', '--port', '99999'], /whole number from 0 to 65535/],
    [['sandbox', '--fault', 'gremlins'], /fault/],
    [['sandbox', '--tfa-secret', '!!!'], /base32/],
    [['import', 'bot', '-', '--format', 'pem'], /raw-seed/],
  ])('%j is exit 2, with a hint', async (argv, message) => {
    const { exitCode, stdout, stderr } = await local(...argv);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^error: .*\nhint: /);
    expect(exitCode).toBe(2);
    expect(stdout).toBe('');
  });

  it('suggests the command, the option, the key and the scope word that was probably meant', async () => {
    await local('generate', 'maker');
    const env = { DERIBIT_KEYS_DIR: keysDir };
    const hintOf = async (...argv: readonly string[]) => /^hint: (.*)$/m.exec((await cli(argv, { env })).stderr)?.[1];
    expect(await hintOf('generat', 'bot')).toBe('did you mean generate?');
    expect(await hintOf('add-kmss')).toBe('did you mean add-kms?');
    expect(await hintOf('list', '--jsn')).toBe('did you mean --json?');
    expect(await hintOf('show', 'mkaer')).toBe('did you mean "maker"?');
    expect(await hintOf('show', 'zebra')).toBe('list the keys with: deribit-keys list');
    expect(await hintOf('auth', 'maker', '--scope', 'trade:raed')).toBeDefined();
  });

  it('of a keystore without keys names the option for another one', async () => {
    const { stderr } = await local('show', 'bot');
    expect(stderr).toContain('--keys-dir <dir> or DERIBIT_KEYS_DIR');
    expect((await local('list')).stderr).toContain('--keys-dir <dir>');
  });

  it.each(['-V', '--version'])('%s prints the version', async (option) => {
    expect(await cli([option])).toMatchObject({ exitCode: 0, stdout: `${VERSION}\n`, stderr: '' });
  });

  it('--quiet leaves out notes and progress, never an error', async () => {
    expect((await local('generate', 'bot', '--type', 'rsa', '--bits', '2048', '--quiet')).stderr).toBe('');
    expect((await local('show', 'nosuch', '--quiet')).stderr).toMatch(/^error: /);
  });

  it('without any word shows the help on stderr', async () => {
    const { exitCode, stdout, stderr } = await cli([]);
    expect(exitCode).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain('Usage: deribit-keys');
  });

  it('of a command with commands below it shows its help on stderr, or with --json says so in one document', async () => {
    const { exitCode, stdout, stderr } = await local('api-keys');
    expect(exitCode).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain('Usage: deribit-keys api-keys');
    expect(stderr).toMatch(/\n {2}rename .*<label>/);
    const asJson = await local('api-keys', '--json');
    expect(asJson.exitCode).toBe(2);
    expect(asJson.error()).toMatchObject({ code: 'ERR_USAGE', hint: 'see: deribit-keys api-keys --help' });
  });

  it.each<[readonly string[], string]>([
    [['nosuch'], 'deribit-keys --help'],
    [['list', '--timeout', '0'], 'deribit-keys --help'],
    [['export'], 'deribit-keys export --help'],
    [['register', 'bot'], 'deribit-keys register --help'],
    [['api-keys', 'xyz'], 'deribit-keys api-keys --help'],
    [['api-keys', 'rename', 'bot'], 'deribit-keys api-keys rename --help'],
  ])('%j points to the help where the mistake is explained', async (argv, help) => {
    expect((await local(...argv)).stderr).toMatch(new RegExp(`\\nhint: see: ${help}\\n$`));
  });

  it.each<[readonly string[]]>([
    [['export', 'bot', '--encrypt', '--no-encrypt']],
    [['import', 'bot', '-', '--no-encrypt', '--encrypt']],
    [['api-keys', 'edit', 'bot', '--no-ip', '--ip', '203.0.113.7', '--as', 'bot']],
    [['api-keys', 'edit', 'bot', '--feature', 'block_trade_approval', '--no-feature', '--as', 'bot']],
  ])('%j contradicts itself, and nothing is done', async (argv) => {
    await local('generate', 'bot');
    const { exitCode, stdout, stderr } = await local(...argv);
    expect(stderr).toMatch(/^error: --(\w+) and --no-\1 contradict each other\nhint: see: deribit-keys .* --help\n$/);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect((await local('export', 'bot', '--no-encrypt')).exitCode).toBe(0);
  });

  it.each<[readonly string[]]>([
    [['link', 'bot', '--client-id', '']],
    [['sign', 'bot', '--client-id', '']],
    [['register', 'bot', '--scope', 'trade:read', '--client-id', '']],
    [['api-keys', 'list', '--as', '']],
    [['list', '--url', '']],
    [['list', '--keys-dir', '']],
    [['export', 'bot', '--public', '--out', '']],
  ])('%j, such as of a shell variable that is not set, is refused before anything is done', async (argv) => {
    await local('generate', 'bot');
    const { exitCode, stdout, stderr } = await local(...argv, '--url', 'http://127.0.0.1:9/api/v2');
    expect(stderr).toMatch(/^error: option '--[\w-]+ <[\w-]+>' argument '' is invalid. It must not be empty\nhint: /);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  });

  it('suggests what was meant', async () => {
    expect((await local('generate', 'bot', '--encrpt')).stderr).toMatch(/hint: did you mean --encrypt\?/);
  });

  it.each([
    [['sign', 'bot', '--url', 'ws://deribit.example/ws/api/v2', '--client-id', 'x'], 3],
    [['link', 'bot', '--client-id', 'x', '--url', 'ws://deribit.example/ws/api/v2'], 2],
    [['link', 'bot', '--client-id', 'x', '--url', 'ftp://127.0.0.1/'], 2],
    [['link', 'bot', '--client-id', 'x', '--url', 'wss://me:secret@127.0.0.1/'], 2],
    [['link', 'bot', '--client-id', 'x', '--url', 'nonsense'], 2],
    [['register', 'bot', '--scope', 'trade:read'], 2],
    [['register', 'bot', '--scope', 'trade:read', '--client-id', 'x'], 2],
    [['register', 'bot', '--scope', 'trade:read', '--as', 'bot', '--client-id', 'x'], 2],
    [['register', 'bot', '--scope', 'trade:read', '--as', 'bot'], 2],
    [['register', 'bot', '--scope', 'trade:read', '--as', 'nobody'], 3],
    [['register', 'bot', '--scope', 'trade:everything', '--client-id', 'x', '--client-secret-file', 'SECRET'], 2],
    [['register', 'bot', '--scope', 'trade:read', '--client-id', 'x', '--client-secret-file', 'NONE'], 2],
    [['passphrase', 'bot', '--remove', '--new-passphrase-file', 'SECRET'], 2],
    [['export', 'bot', '--public', '--format', 'pkcs8'], 2],
    [['export', 'bot', '--format', 'jwk', '--encrypt'], 2],
    [['remove', 'bot', '--purge'], 2],
    [['auth', 'bot'], 1],
  ] as const)('%j is exit %i', async (argv, expected) => {
    await local('generate', 'bot');
    const secret = join(folder, 'secret');
    writeFileSync(secret, 'very-secret\n');
    const words = argv.map((word) => (word === 'SECRET' ? secret : word === 'NONE' ? `${secret}.none` : word));
    // nothing listens there: what is wrong must be found before
    const url = words.includes('--url') ? [] : ['--url', 'http://127.0.0.1:9/api/v2'];
    const name = words[1] === 'bot' && words[0] === 'sign' ? ['sign', 'nobody', ...words.slice(2)] : words;
    const result = await local(...name, ...url, '--json');
    expect(result.exitCode).toBe(expected);
    expect(result.stdout).toBe('');
    expect(result.error().hint ?? '').toMatch(/^(|\S.*)$/s);
    expect(result.stderr).not.toContain('very-secret');
    expect(result.stderr).not.toContain('me:secret');
  });

  it('DERIBIT_ENV that is neither test nor prod is exit 2', async () => {
    const { exitCode, stderr } = await cli(['list', '--keys-dir', keysDir], { env: { DERIBIT_ENV: 'live' } });
    expect(exitCode).toBe(2);
    expect(stderr).toContain('DERIBIT_ENV');
  });

  it('a confirmation that nobody can answer is exit 2, and --yes answers it', async () => {
    await local('generate', 'bot');
    const refused = await local('remove', 'bot', '--purge');
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toContain('--yes');
    expect((await local('remove', 'bot', '--purge', '--yes')).exitCode).toBe(0);
  });
});

describe('global options', () => {
  it('are taken before and after the command, and by the environment', async () => {
    await local('generate', 'bot');
    for (const argv of [
      ['--keys-dir', keysDir, '--json', 'show', 'bot'],
      ['show', '--keys-dir', keysDir, 'bot', '--json'],
      ['--json', 'show', 'bot', `--keys-dir=${keysDir}`],
    ]) {
      expect((await cli(argv)).json()).toMatchObject({ name: 'bot' });
    }
    expect((await cli(['show', 'bot', '--json'], { env: { DERIBIT_KEYS_DIR: keysDir } })).json()).toMatchObject({
      name: 'bot',
    });
    const other = await cli(['show', 'bot', '--keys-dir', join(folder, 'none')], {
      env: { DERIBIT_KEYS_DIR: keysDir },
    });
    expect(other.exitCode).toBe(3);
  });

  it('--version is one line, or one document, wherever it stands', async () => {
    expect(await cli(['--version'])).toMatchObject({ exitCode: 0, stdout: `${VERSION}\n`, stderr: '' });
    expect((await cli(['sign', 'bot', '--version', '--json'])).json()).toEqual({ version: VERSION });
  });

  it('--verbose tells what is asked for, and the causes of errors, on stderr', async () => {
    await local('generate', 'bot');
    const { stderr, exitCode } = await cli(
      [
        'register',
        'bot',
        '--scope',
        'trade:read',
        '--verbose',
        '--keys-dir',
        keysDir,
        '--url',
        'http://127.0.0.1:9/api/v2',
      ],
      { env: { DERIBIT_CLIENT_ID: 'AbCdEf12', DERIBIT_CLIENT_SECRET: 'very-secret' } },
    );
    expect(exitCode).toBe(4);
    expect(stderr).toContain('endpoint: http://127.0.0.1:9/api/v2');
    expect(stderr).toMatch(/public\/auth: ERR_NETWORK after \d+ ms/);
    expect(stderr).not.toContain('very-secret');
  });
});

it('every code of an error has its exit code', () => {
  const codes: Readonly<Partial<Record<ErrorCode, number>>> = {
    ERR_USAGE: EXIT.usage,
    ERR_INTERRUPTED: EXIT.interrupted,
    ERR_PASSPHRASE_WRONG: EXIT.keyMaterial,
    ERR_NO_SUCH_NAME: EXIT.keyMaterial,
    ERR_PERMISSIONS: EXIT.keyMaterial,
    ERR_SIGNER: EXIT.keyMaterial,
    ERR_NAME_TAKEN: EXIT.failed,
    ERR_PROOF_FAILED: EXIT.failed,
    ERR_TIMEOUT: EXIT.network,
    ERR_RPC: EXIT.refused,
    ERR_UNAUTHORIZED: EXIT.refused,
    ERR_SECOND_FACTOR_REQUIRED: EXIT.secondFactor,
  };
  for (const [code, exitCode] of Object.entries(codes)) expect(exitCodeOf(code as ErrorCode)).toBe(exitCode);
});
