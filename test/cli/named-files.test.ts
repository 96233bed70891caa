import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { cli, temporaryFolder } from '../support/cli.js';
import { openExchange } from '../support/world.js';

let folder: string;
let env: Record<string, string>;
beforeEach(() => {
  folder = temporaryFolder();
  env = { DERIBIT_KEYS_DIR: join(folder, 'keys') };
});

const at = (...names: readonly string[]) => join(folder, ...names);
async function fails(argv: readonly string[], more: Readonly<Record<string, string>> = {}) {
  const result = await cli([...argv, '--json'], { env: { ...env, ...more } });
  expect(result.stdout).toBe('');
  return { exitCode: result.exitCode, ...result.error() };
}
const generate = (name: string) => cli(['generate', name], { env });

describe('a file of a key', () => {
  it('that is missing, a folder, or too large is refused with a hint', async () => {
    writeFileSync(at('large'), 'A'.repeat(70_000), { mode: 0o600 });
    for (const argv of [['import', 'bot'], ['fingerprint']]) {
      for (const file of [at('missing.pem'), folder, at('large')]) {
        const error = await fails([...argv, file]);
        expect(error).toMatchObject({ exitCode: 3, code: 'ERR_KEY_UNREADABLE' });
        expect(error.message).toContain(file);
        expect(error.hint).toBe('name a key file, or - for stdin');
      }
    }
  });
});

describe('a new file in a folder that is missing', () => {
  beforeEach(async () => {
    await generate('bot');
  });
  const inMissing = () => at('missing', 'x');

  it.each([
    ['export', () => ['export', 'bot', '--out', inMissing()]],
    ['backup', () => ['backup', inMissing()]],
  ])('is refused by %s before anybody is asked for a passphrase', async (_, argv) => {
    const error = await fails(argv());
    expect(error).toMatchObject({ exitCode: 1, code: 'ERR_KEYSTORE_IO' });
    expect(error.message).toBe(`cannot write ${inMissing()}: there is no such file or folder`);
    expect(error.hint).toContain(`mkdir -p ${at('missing')}`);
  });

  it('is refused by conformance before it contacts the exchange', async () => {
    const sandbox = await openExchange();
    const login = { DERIBIT_CLIENT_ID: sandbox.clientId, DERIBIT_CLIENT_SECRET: sandbox.clientSecret };
    const error = await fails(['conformance', '--report', inMissing(), '--url', sandbox.httpUrl], login);
    expect(error.message).toContain(inMissing());
    expect(sandbox.calls).toHaveLength(0);
  });

  it.each(['--secret-file', '--listen'])('is refused by auth-server %s under its own name', async (option) => {
    const sandbox = await openExchange();
    const login = ['--client-id', sandbox.clientId, '--scope', 'trade:read', '--url', sandbox.httpUrl];
    const registered = await cli(['register', 'bot', ...login], {
      env: { ...env, DERIBIT_CLIENT_SECRET: sandbox.clientSecret },
    });
    expect(registered.exitCode).toBe(0);
    const value = option === '--listen' ? `unix:${inMissing()}` : inMissing();
    const error = await fails(['auth-server', 'bot', option, value]);
    expect(error.message).toBe(`cannot write ${inMissing()}: there is no such file or folder`);
    expect(error.hint).toContain(`mkdir -p ${at('missing')}`);
  });
});

describe('restore', () => {
  it.each([
    ['a folder', () => mkdirSync(at('x')), /is a folder, not a regular file/],
    ['a pipe', () => execFileSync('mkfifo', [at('x')]), /is a pipe, not a regular file/],
    ['no file', () => {}, /there is no such file/],
    ['another file', () => writeFileSync(at('x'), 'keys: []'), /is not a backup/],
    [
      'an age file for a recipient',
      () => writeFileSync(at('x'), 'age-encryption.org/v1\n-> X25519 abc\n'),
      /not a backup/,
    ],
  ])('refuses %s before anybody is asked for a passphrase', async (_, make, message) => {
    make();
    const error = await fails(['restore', at('x')]);
    expect(error).toMatchObject({ exitCode: 3, code: 'ERR_KEY_UNREADABLE' });
    expect(error.message).toMatch(message);
    expect(error.message).toContain(at('x'));
    expect(existsSync(at('keys'))).toBe(false);
  });
});

describe('--passphrase-dir', () => {
  it.each([
    ['does not exist', () => {}],
    ['is not a folder', () => writeFileSync(at('secrets'), 'x')],
  ])('names a folder that %s', async (what, make) => {
    make();
    const error = await fails(['generate', 'bot', '--passphrase-dir', at('secrets')]);
    expect(error).toMatchObject({ exitCode: 2, message: `the folder of passphrases ${at('secrets')} ${what}` });
  });
});

describe('the key file of a token store', () => {
  const token = (file: string) =>
    fails(['token', 'bot', '--token-store', 'redis://127.0.0.1:1', '--token-store-key-file', file]);

  it('is called what it is where it is missing, a folder, or open to others', async () => {
    await generate('bot');
    const missing = await token(at('store.key'));
    expect(missing).toMatchObject({
      message: `there is no token-store key file ${at('store.key')}`,
      hint: 'check the path',
    });
    mkdirSync(at('folder'), { mode: 0o700 });
    expect((await token(at('folder'))).message).toBe(`${at('folder')} is a folder, not a regular file`);
    writeFileSync(at('open.key'), '0'.repeat(64), { mode: 0o644 });
    expect(await token(at('open.key'))).toMatchObject({
      message: `the token-store key ${at('open.key')} can be read or written by others (mode 0644)`,
      hint: `run: chmod 600 ${at('open.key')}`,
    });
  });
});

describe('a name that Windows reserves', () => {
  it.each(['CON', 'nul.txt', 'com1', 'Lpt9.bot', 'aux'])('cannot be that of a new key: %s', async (name) => {
    writeFileSync(at('key.pem'), '');
    for (const argv of [
      ['generate', name],
      ['import', name, at('key.pem')],
      ['add-agent', name, '--comment', 'bot'],
    ]) {
      expect(await fails(argv)).toMatchObject({
        exitCode: 2,
        message: expect.stringContaining('Windows has a device'),
      });
    }
    // one that is there from before can be used
    expect((await fails(['show', name])).code).toBe('ERR_NO_SUCH_NAME');
  });

  it('is told from names that only begin like one', async () => {
    for (const name of ['console', 'nullify', 'com10', 'lpt', 'auxiliary.bot']) {
      expect((await generate(name)).exitCode).toBe(0);
    }
  });
});
