import { execFileSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { completeCommands } from '../../src/cli/execute.js';
import { createProgram } from '../../src/cli/program.js';
import { COMMANDS } from '../../src/cli/run.js';
import { cli, temporaryFolder } from '../support/cli.js';
import { openExchange } from '../support/world.js';

const SRC = join(import.meta.dirname, '../../src');

const program = await createProgram(COMMANDS, () => {
  throw new Error('no command is run here');
});

/** The text of an expression of strings, with X for what is computed; null for anything else. */
function textOf(node: ts.Node): string | null {
  if (ts.isStringLiteralLike(node)) return node.text;
  if (ts.isTemplateExpression(node)) {
    return node.head.text + node.templateSpans.map(({ literal }) => `X${literal.text}`).join('');
  }
  if (!ts.isBinaryExpression(node) || node.operatorToken.kind !== ts.SyntaxKind.PlusToken) return null;
  const [left, right] = [textOf(node.left), textOf(node.right)];
  return left === null && right === null ? null : `${left ?? 'X'}${right ?? 'X'}`;
}

/** The texts in a source file, and the calls of our program that it builds with `ownCommand`. */
function textsIn(path: string): string[] {
  const texts: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return;
    const text = textOf(node);
    if (text !== null) texts.push(text);
    if (ts.isCallExpression(node) && node.expression.getText() === 'ownCommand') {
      texts.push(['deribit-keys', ...node.arguments.map((each) => textOf(each) ?? 'X')].join(' '));
    }
    // a part of a sum is no text of its own
    if (text === null || ts.isTemplateExpression(node)) ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true));
  return texts;
}

const TEXTS = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !/^(sandbox|page)\b/.test(file))
  .flatMap((file) => textsIn(join(SRC, file)).map((text) => ({ file, text })));

/** The calls of our program in a text, as words; a sentence goes on behind a comma, a colon, a semicolon or a bracket. */
function callsIn(text: string): string[][] {
  return [...text.matchAll(/deribit-keys ([a-z][^;,:()|\n]*)/g)].map((match) => (match[1] ?? '').trim().split(/\s+/));
}

/** The command that the first words name, and the words behind it. */
function commandOf(words: readonly string[], within: Command = program): { command: Command; rest: readonly string[] } {
  const [word, ...rest] = words;
  const child = within.commands.find((each) => each.name() === word);
  return child === undefined ? { command: within, rest: words } : commandOf(rest, child);
}

function optionsOf(command: Command | null): string[] {
  return command === null
    ? ['--help', '--version']
    : [...command.options.map(({ long }) => long ?? ''), ...optionsOf(command.parent)];
}

function below(command: Command): Command[] {
  return [command, ...command.commands.flatMap(below)];
}

const CALLS = TEXTS.flatMap(({ file, text }) => callsIn(text).map((words) => ({ file, words })));
/** Words behind the name in texts that are no calls. */
const NO_CALLS = /^(?:proof of possession|that wrote it|in a folder of|assumes$|passes signals on|again$)/;

describe('a hint of the program', () => {
  it('names a command that exists, with options that it has', () => {
    expect(CALLS.length).toBeGreaterThan(60);
    const wrong = CALLS.filter(({ words }) => !NO_CALLS.test(words.join(' '))).flatMap(({ file, words }) => {
      const { command, rest } = commandOf(words);
      if (command === program) return [`${file}: ${words.join(' ')}: no such command`];
      const known = optionsOf(command);
      const unknown = rest.filter((word) => /^--[a-z]/.test(word) && !known.includes(word.replace(/[=.]\S*$|"$/, '')));
      return unknown.map((option) => `${file}: ${words.join(' ')}: no option ${option}`);
    });
    expect(wrong).toEqual([]);
  });

  /** Options of other programs. */
  const OTHERS = new Set(
    [
      ['npm', '--no-save --save-dev --prefix --global --package'],
      ['base64', '--decode'],
      [
        'pkcs11-tool',
        '--module --slot --init-token --label --token-label --login --login-type --init-pin --delete-object',
      ],
      ['az', '--vault-name --name --enabled --id'],
      ['gcloud', '--keyring --location --key'],
      ['systemd-notify', '--pid --ready'],
      ['age', '--decrypt --passphrase --output'],
      ['gpg', '--output --decrypt'],
    ].flatMap(([, options = '']) => options.split(' ')),
  );

  it('names options that some command has', () => {
    const known = new Set([...below(program).flatMap((command) => optionsOf(command)), '--help', '--version']);
    const wrong = TEXTS.flatMap(({ file, text }) =>
      [...text.matchAll(/(?:^|[\s(,"'])(--[a-z][a-z0-9-]*[a-z0-9])(?![A-Za-z-])/g)]
        .map((match) => match[1] ?? '')
        .filter((option) => !known.has(option) && !OTHERS.has(option))
        .map((option) => `${file}: ${option} in ${JSON.stringify(text.slice(0, 90))}`),
    );
    expect(wrong).toEqual([]);
  });
});

describe('a command of another program in a hint', () => {
  /** The tests that follow the hints with it, by program. */
  const FOLLOWED: Readonly<Record<string, string>> = {
    age: 'crypto/formats/hints.test.ts',
    chmod: 'workflows/checks/planted.test.ts',
    chown: 'workflows/checks/planted.test.ts',
    dropbearconvert: 'crypto/formats/hints.test.ts',
    gpg: 'crypto/formats/hints.test.ts',
    grep: 'crypto/formats/hints.test.ts',
    gunzip: 'crypto/formats/hints.test.ts',
    keytool: 'crypto/formats/hints.test.ts',
    mkdir: 'cli/hints.test.ts',
    mv: 'workflows/checks/planted.test.ts',
    npm: 'signers/optional-package.test.ts',
    npx: 'signers/optional-package.test.ts',
    openssl: 'crypto/formats/hints.test.ts',
    perl: 'workflows/checks/planted.test.ts',
    pk12util: 'crypto/formats/hints.test.ts',
    'pkcs11-tool': 'signers/installed.test.ts',
    puttygen: 'crypto/formats/hints.test.ts',
    rm: 'workflows/checks/planted.test.ts',
    'ssh-add': 'signers/ssh-agent.test.ts',
    'ssh-keygen': 'crypto/formats/hints.test.ts',
    unzip: 'crypto/formats/hints.test.ts',
    xxd: 'crypto/formats/hints.test.ts',
  };
  /** Programs that need an account, rights or another system, or that no package of Debian has; `ls` only shows. */
  const NOT_RUN = new Set(['ansible-vault', 'aws', 'az', 'gcloud', 'ls', 'pnpm', 'sops', 'sudo', 'vault']);
  const SENTENCES =
    /^(?:and|check|choose|confirm|deribit-keys|give|implies|in|keep|leave|make|name|or|overrides|read|run|say|see|start|such|use|with|without)$/;

  it('is run by a test, or known not to be', () => {
    // examples of our own commands are no hints
    const programs = TEXTS.filter(({ file }) => !/^cli\/(commands|program)\b/.test(file))
      .flatMap(({ file, text }) =>
        [
          ...text.matchAll(
            /(?:^|[:;(] |\()([a-z][\w-]+) (?:[a-z]+ ){0,3}(?:-{1,2}[A-Za-z][\w-]*(?= )|<(?:new )?file>)/g,
          ),
        ].map(([, program = '']) => ({ file, program })),
      )
      .filter(({ program }) => !SENTENCES.test(program));
    expect(programs.length).toBeGreaterThan(30);
    expect(programs.filter(({ program }) => !(program in FOLLOWED) && !NOT_RUN.has(program))).toEqual([]);
    for (const [program, file] of Object.entries(FOLLOWED)) {
      const test = readFileSync(join(SRC, '../test', file), 'utf8');
      expect(new RegExp(`(?<![\\w-])${program}(?![\\w-])`).test(test), `${program} in ${file}`).toBe(true);
    }
  });
});

describe('a command that the program advises', () => {
  const adviceIn = ({ stderr }: { readonly stderr: string }) =>
    [...stderr.matchAll(/deribit-keys (-[^;,()\n]*|[a-z][^;,()\n]*)/g)].map((match) =>
      (match[1] ?? '').trim().split(' '),
    );

  it('works as it stands after a call with options: the same keystore, endpoint and login', async () => {
    const sandbox = await openExchange({ keyLimit: 1 });
    const folder = temporaryFolder();
    const secret = join(folder, 'secret.txt');
    writeFileSync(secret, sandbox.clientSecret, { mode: 0o600 });
    const keystore = ['--keys-dir', join(folder, 'my keys'), '--url', sandbox.httpUrl];
    const login = ['--client-id', sandbox.clientId, '--client-secret-file', secret];

    const generated = await cli(['generate', 'bot', ...keystore]);
    const [help, link] = adviceIn(generated);
    expect(help).toEqual([
      '--keys-dir',
      `'${folder}/my`,
      "keys'",
      '--url',
      sandbox.httpUrl,
      'register',
      'bot',
      '--help',
    ]);
    expect(link?.slice(-4)).toEqual(['link', 'bot', '--client-id', '<id>']);

    const plain = ['--keys-dir', join(folder, 'keys'), '--url', sandbox.httpUrl];
    await cli(['generate', 'bot', ...plain]);
    const missing = await cli(['show', 'zebra', ...plain]);
    const [list = []] = adviceIn(missing);
    expect((await cli(list)).stdout).toContain('bot');

    const full = await cli(['register', 'bot', '--scope', 'trade:read', ...plain, ...login]);
    expect(full.stderr).toContain('error: the account can have no more API keys (Deribit -32602');
    expect(full.exitCode).toBe(5);
    const [listKeys = [], remove = []] = adviceIn(full);
    expect((await cli(listKeys)).stdout).toContain(sandbox.clientId);
    expect(remove.join(' ')).toContain(`api-keys remove ${login.join(' ')} <which>`);
  });

  it('names what is wrong, and what to do about it', async () => {
    const folder = temporaryFolder();
    const env = { DERIBIT_KEYS_DIR: join(folder, 'keys') };
    const fails = async (...argv: readonly string[]) => {
      const result = await cli([...argv, '--json'], { env });
      return { exitCode: result.exitCode, stdout: result.stdout, ...result.error() };
    };
    await cli(['generate', 'bot'], { env });
    expect(await fails('sandbox', '--fault', 'silnt')).toMatchObject({
      exitCode: 2,
      message: 'there is no fault silnt',
      hint: expect.stringMatching(/^did you mean silent\?/),
    });
    expect(await fails('sandbox', '--fault', 'silent@private/nope')).toMatchObject({
      exitCode: 2,
      message: expect.stringContaining('private/nope'),
    });
    expect(await fails('generate', 'long', '--bits', '4096')).toMatchObject({
      exitCode: 2,
      hint: 'leave out --bits, or add --type rsa',
    });
    expect(await fails('export', 'bot', '--format', 'spki', '--encrypt')).toMatchObject({ exitCode: 2, stdout: '' });
    expect(await fails('link', 'bot', '--client-id', 'x', '--ca-file', folder)).toMatchObject({
      exitCode: 2,
      code: 'ERR_USAGE',
    });
    const note = join(folder, 'note.txt');
    writeFileSync(note, 'not a key');
    expect((await fails('fingerprint', note)).message).toContain(`${note}: not recognised as a key`);
    const lost = join(folder, 'missing', 'page.html');
    expect((await fails('export', 'bot', '--public', '--out', lost)).hint).not.toContain('keystore');
    expect((await fails('conformance', '--report', '-', '--client-id', 'x')).message).toContain('--report');
    await cli(['generate', 'locked'], { env: { ...env, DERIBIT_KEYS_PASSPHRASE: 'correct horse' } });
    const verified = await cli(['verify', '--all'], { env });
    expect(verified.stdout).toContain('fix: deribit-keys verify locked --passphrase-file <file>');
  });

  it.skipIf(process.platform === 'win32')('works as it stands for a file: its folder and its mode', async () => {
    const folder = temporaryFolder();
    const env = { DERIBIT_KEYS_DIR: join(folder, 'keys') };
    await cli(['generate', 'bot'], { env });
    const follow = async (argv: readonly string[], pattern: RegExp) => {
      const { exitCode, stderr } = await cli(argv, { env });
      expect(exitCode).not.toBe(0);
      execFileSync('/bin/sh', ['-ec', pattern.exec(stderr)?.[1] ?? `false # ${stderr}`]);
      expect(await cli(argv, { env })).toMatchObject({ exitCode: 0 });
    };
    await follow(['export', 'bot', '--out', join(folder, "it's new", 'bot.pem')], /\((mkdir -p [^\n]*)\)/);
    chmodSync(join(env.DERIBIT_KEYS_DIR, 'bot.pem'), 0o644);
    await follow(['sign', 'bot', '--client-id', 'AbCdEf12'], /^hint: run: (chmod 600 .*)$/m);
    chmodSync(env.DERIBIT_KEYS_DIR, 0o777);
    await follow(['sign', 'bot', '--client-id', 'AbCdEf12'], /^hint: run: (chmod go-w .*)$/m);
  });

  it('does not repeat what it says itself', () => {
    const commands = new Set(['api-keys', 'link', 'list']);
    const flags = { env: 'prod', as: 'admin', keysDir: 'k' } as const;
    const complete = (text: string) => completeCommands(text, { flags, commands });
    expect(complete('see: deribit-keys link bot --client-id x --env test')).toBe(
      'see: deribit-keys --keys-dir k link bot --client-id x --env test',
    );
    expect(complete('deribit-keys api-keys enable bot --as <another key>')).toBe(
      'deribit-keys --keys-dir k --env prod api-keys enable bot --as <another key>',
    );
    expect(complete('use the newer version of deribit-keys that wrote it')).toBe(
      'use the newer version of deribit-keys that wrote it',
    );
  });
});
