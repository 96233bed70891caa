import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { splitCommand } from '../../src/cli/secret-readers.js';
import { SECRETS, type SecretName, secretKind } from '../../src/cli/secret-sources.js';
import { type Sandbox, startSandbox } from '../../src/sandbox/index.js';
import { type CliOptions, cli, temporaryFolder } from '../support/cli.js';

let folder: string;
let env: Record<string, string>;
beforeEach(() => {
  folder = temporaryFolder();
  env = { DERIBIT_KEYS_DIR: join(folder, 'keys'), PATH: process.env.PATH ?? '' };
});

const run = (argv: readonly string[], options: CliOptions = {}) =>
  cli(argv, { ...options, env: { ...env, ...options.env } });

/** Keystores with encrypted keys in them, made once: each test gets copies, since encrypting a key takes long. */
let made: string;
beforeAll(async () => {
  made = mkdtempSync(join(tmpdir(), 'deribit-keys-test-'));
  for (const [folderOfKeys, name, passphrase] of [
    ['bot', 'bot', 'horse'],
    ['two', 'maker', 'passphrase of maker'],
    ['two', 'taker', 'passphrase of taker'],
  ] as const) {
    const variables = { DERIBIT_KEYS_DIR: join(made, folderOfKeys), DERIBIT_KEYS_PASSPHRASE: passphrase };
    expect((await cli(['generate', name], { env: variables })).exitCode).toBe(0);
  }
});
afterAll(() => rmSync(made, { recursive: true, force: true }));
/** Puts the key bot, whose passphrase is horse, or the keys maker and taker into the keystore of this test. */
const useKeys = (which: 'bot' | 'two') => cpSync(join(made, which), env.DERIBIT_KEYS_DIR ?? '', { recursive: true });
const file = (name: string, content: string | Uint8Array, mode = 0o600) => {
  const path = join(folder, name);
  writeFileSync(path, content, { mode });
  chmodSync(path, mode);
  return path;
};
/** A program that prints the passphrase of the key that its last argument names. */
const printer = (body: string) => file('printer', `#!/bin/sh\n${body}\n`, 0o700);
const isEncrypted = (name: string) =>
  readFileSync(join(env.DERIBIT_KEYS_DIR ?? '', `${name}.pem`), 'utf8').includes('ENCRYPTED');
const sign = (name: string, ...more: readonly string[]) => run(['sign', name, '--client-id', 'x', ...more]);

describe('a passphrase that is given', () => {
  it.each<[string, () => { argv?: string[]; env?: Record<string, string> }]>([
    ['by file', () => ({ argv: ['--passphrase-file', file('p', 'horse\n')] })],
    ['by variable', () => ({ env: { DERIBIT_KEYS_PASSPHRASE: 'horse' } })],
    ['by command', () => ({ argv: ['--passphrase-command', printer('echo horse')] })],
    [
      'by folder',
      () => {
        file('bot', 'horse\n');
        return { argv: ['--passphrase-dir', folder] };
      },
    ],
    [
      "by systemd's credentials",
      () => {
        file('bot', 'horse\n');
        return { env: { CREDENTIALS_DIRECTORY: folder } };
      },
    ],
  ])('%s encrypts a new key, and opens it later', async (_how, given) => {
    const { argv = [], env: variables = {} } = given();
    const plain = (await run(['generate', 'other'], { env: {} })).exitCode;
    expect(plain).toBe(0);
    const exported = join(folder, 'other.pem');
    await run(['export', 'other', '--out', exported]);
    expect((await run(['generate', 'bot', ...argv], { env: variables })).exitCode).toBe(0);
    expect(isEncrypted('bot')).toBe(true);
    expect((await run(['sign', 'bot', '--client-id', 'x', ...argv], { env: variables })).exitCode).toBe(0);
    expect((await sign('bot')).exitCode).toBe(3);
    expect(
      (await run(['sign', 'bot', '--client-id', 'x'], { env: { DERIBIT_KEYS_PASSPHRASE: 'horse' } })).exitCode,
    ).toBe(0);
    await run(['remove', 'bot']);
    expect((await run(['import', 'bot', exported, ...argv], { env: variables })).exitCode).toBe(0);
    expect(isEncrypted('bot')).toBe(true);
  });

  it.each(['generate', 'import'])('with %s --no-encrypt is a usage error, and nothing is stored', async (command) => {
    await run(['generate', 'other']);
    const input = command === 'import' ? [join(env.DERIBIT_KEYS_DIR ?? '', 'other.pem')] : [];
    const passphrase = file('p', 'horse');
    const refused = await run([command, 'bot', ...input, '--no-encrypt', '--passphrase-file', passphrase]);
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toMatch(/^error: a passphrase for "bot" was given, and --no-encrypt\nhint: /);
    expect((await run(['show', 'bot'])).exitCode).toBe(3);
  });

  it('to import --no-encrypt may open the input', async () => {
    useKeys('bot');
    const input = join(env.DERIBIT_KEYS_DIR ?? '', 'bot.pem');
    const imported = await run(['import', 'open', input, '--no-encrypt', '--passphrase-file', file('p', 'horse')]);
    expect(imported).toMatchObject({ exitCode: 0, stderr: 'note: the same key is stored as bot\n' });
    expect(isEncrypted('open')).toBe(false);
  });

  it.each([
    ['"horse"', /^hint: the passphrase that was given is in quotes/m],
    ['horse\n\n', /^hint: the passphrase that was given begins or ends with white space/m],
    ['PASSPHRASE=horse', /^hint: the passphrase that was given is a line "NAME=value"/m],
    ['cow', /^hint: check the passphrase/m],
  ])('that is wrong is described where it was spoilt on its way: %j', async (text, hint) => {
    useKeys('bot');
    for (const refused of [
      await sign('bot', '--passphrase-file', file('p', text)),
      await run(['sign', 'bot', '--client-id', 'x'], { env: { DERIBIT_KEYS_PASSPHRASE: text } }),
    ]) {
      expect(refused.exitCode).toBe(3);
      expect(refused.stderr).toMatch(/^error: wrong passphrase for the key "bot"/);
      expect(refused.stderr).toMatch(hint);
    }
    // it may be the passphrase, all the same
    await run(['generate', 'odd'], { env: { DERIBIT_KEYS_PASSPHRASE: text } });
    expect((await run(['sign', 'odd', '--client-id', 'x'], { env: { DERIBIT_KEYS_PASSPHRASE: text } })).exitCode).toBe(
      0,
    );
  });

  it('in a folder that has no file for the key is asked for, never left out', async () => {
    mkdirSync(join(folder, 'empty'));
    const refused = await run(['generate', 'bot', '--passphrase-dir', join(folder, 'empty')]);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toContain('--passphrase-dir');
    expect((await run(['show', 'bot'])).exitCode).toBe(3);
  });

  it('comes from one place: two options are a usage error', async () => {
    const two = await sign('bot', '--passphrase-dir', folder, '--passphrase-file', file('p', 'horse'));
    expect(two.exitCode).toBe(2);
    expect(two.stderr).toContain('cannot be used with');
  });
});

describe('--passphrase-command', () => {
  beforeEach(() => useKeys('bot'));

  it('gets the name of the key as its last argument, and no secret of ours in its environment', async () => {
    const seen = join(folder, 'seen');
    const command = printer(`env > '${seen}'; [ "$1 $2" = "a  b bot" ] && echo horse`);
    const signed = await run(['sign', 'bot', '--client-id', 'x', '--passphrase-command', `${command} 'a  b'`], {
      env: { DERIBIT_CLIENT_SECRET: 'canary', DERIBIT_KEYS_PIN: 'canary', VISIBLE: 'yes' },
    });
    expect(signed.exitCode).toBe(0);
    expect(readFileSync(seen, 'utf8')).toContain('VISIBLE=yes');
    expect(readFileSync(seen, 'utf8')).not.toContain('canary');
  });

  it('shows what the command says on stderr, but not beside --json', async () => {
    const command = printer('echo "touch your key" >&2; echo horse');
    expect((await sign('bot', '--passphrase-command', command)).stderr).toBe('touch your key\n');
    expect((await sign('bot', '--json', '--passphrase-command', command)).stderr).toBe('');
  });

  it.each<[string, string, number, RegExp]>([
    ['that fails', 'echo canary; exit 4', 3, /it exited with 4/],
    ['that prints nothing', 'exit 0', 3, /its output is empty/],
    ['that prints too much', 'yes canary | head -c 9999', 2, /more than 4096 bytes/],
    ['that prints another passphrase', 'echo house', 3, /wrong passphrase/],
  ])('%s is an error that shows nothing of its output', async (_what, body, exitCode, message) => {
    const failed = await sign('bot', '--passphrase-command', printer(body));
    expect(failed.exitCode).toBe(exitCode);
    expect(failed.stderr).toMatch(message);
    expect(failed.stderr).not.toContain('canary');
  });

  it('that is not there, or whose quotes are not closed, is a usage error', async () => {
    const missing = await sign('bot', '--passphrase-command', join(folder, 'nosuch'));
    expect(missing.exitCode).toBe(2);
    expect(missing.stderr).toContain('no such program');
    expect((await sign('bot', '--passphrase-command', "pass 'show")).exitCode).toBe(2);
  });

  it('is ended by an interrupt', async () => {
    const started = join(folder, 'started');
    const command = printer(`echo > '${started}'; exec sleep 600`);
    const abort = new AbortController();
    const signing = run(['sign', 'bot', '--client-id', 'x', '--passphrase-command', command], { signal: abort.signal });
    for (;;) {
      try {
        readFileSync(started);
        break;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
    abort.abort();
    expect((await signing).exitCode).toBe(130);
  });

  it.each<[string, readonly string[]]>([
    ['pass show', ['pass', 'show']],
    ['  op  read "op://My Vault/x" ', ['op', 'read', 'op://My Vault/x']],
    [`sh -c 'echo "$1"'`, ['sh', '-c', 'echo "$1"']],
    ['C:\\Tools\\pass.exe show', ['C:\\Tools\\pass.exe', 'show']],
    ['/opt/my\\ pass \\"', ['/opt/my pass', '"']],
    [`a '' b""`, ['a', '', 'b']],
  ])('splits %j as %j', (command, words) => {
    expect(splitCommand(command)).toEqual(words);
  });

  it('splits words that were put in quotes as they were', () => {
    const words = fc.array(fc.string({ unit: 'grapheme' }).filter((word) => !word.includes("'")));
    fc.assert(
      fc.property(words, (list) => {
        expect(splitCommand(list.map((word) => `'${word}'`).join(' '))).toEqual(list);
      }),
    );
  });
});

describe('a file with a secret', () => {
  it.each<[string, Uint8Array]>([
    ['a byte order mark', Buffer.from('\uFEFFhorse\r\n')],
    ['UTF-16', Buffer.from('\uFEFFhorse\r\n', 'utf16le')],
    ['a Windows line end', Buffer.from('horse\r\n')],
  ])('may be written with %s', async (_how, bytes) => {
    const path = file('p.txt', bytes);
    expect((await run(['generate', 'bot', '--passphrase-file', path])).exitCode).toBe(0);
    expect(
      (await run(['sign', 'bot', '--client-id', 'x'], { env: { DERIBIT_KEYS_PASSPHRASE: 'horse' } })).exitCode,
    ).toBe(0);
  });

  it('that others can read is told about once, unless it is mounted read-only', async () => {
    const shared = file('shared.txt', 'horse', 0o644);
    const generated = await run(['generate', 'bot', '--passphrase-file', shared]);
    expect(generated.stderr.match(/other users can read .*shared\.txt \(mode 0644\): chmod 600/g)).toHaveLength(1);
    expect((await sign('bot', '--passphrase-file', file('mounted.txt', 'horse', 0o444))).stderr).toBe('');
    expect((await sign('bot', '--json', '--passphrase-file', shared)).stderr).toBe('');
  });
});

describe('keys with different passphrases', () => {
  let sandbox: Sandbox;
  beforeEach(async () => {
    sandbox = await startSandbox();
  });
  afterEach(() => sandbox.close());

  it.each(['folder', 'command', 'credentials'])('are all rotated by one call, from a %s', async (how) => {
    const names = ['maker', 'taker'];
    const account = {
      DERIBIT_KEYS_URL: sandbox.wsUrl,
      DERIBIT_CLIENT_ID: sandbox.clientId,
      DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
    };
    useKeys('two');
    for (const name of names) {
      file(name, `passphrase of ${name}\n`);
      const registered = await run(['register', name, '--scope', 'trade:read'], {
        env: { ...account, CREDENTIALS_DIRECTORY: folder },
      });
      expect(registered.exitCode).toBe(0);
    }
    const argv = {
      folder: ['--passphrase-dir', folder],
      command: ['--passphrase-command', printer(`cat '${folder}'/"$1"`)],
      credentials: [],
    }[how];
    const rotated = await run(['rotate', '--all', '--older-than', '0s', '--json', ...(argv ?? [])], {
      env: { ...account, ...(how === 'credentials' ? { CREDENTIALS_DIRECTORY: folder } : {}) },
    });
    expect(rotated.stderr).toBe('');
    expect(rotated.json<{ name: string; state: string }[]>()).toMatchObject(
      names.map((name) => ({ name, state: 'done' })),
    );
    for (const name of names) expect((await sign(name, '--passphrase-dir', folder)).exitCode).toBe(0);
  });
});

it('each secret has an option and a variable of its own', () => {
  const kinds = Object.keys(SECRETS).map((name) => secretKind(name as SecretName));
  expect(new Set(kinds.map(({ option }) => option)).size).toBe(kinds.length);
  expect(new Set(kinds.map(({ variable }) => variable)).size).toBe(kinds.length);
});
