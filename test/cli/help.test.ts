import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { createProgram } from '../../src/cli/program.js';
import { COMMANDS } from '../../src/cli/run.js';
import { cli, temporaryFolder } from '../support/cli.js';

const everything = () =>
  createProgram(COMMANDS, () => {
    throw new Error('no command is run here');
  });

function below(command: Command, path: readonly string[] = []): { words: readonly string[]; command: Command }[] {
  const own = path.length === 0 ? [] : [{ words: path, command }];
  return [...own, ...command.commands.flatMap((child) => below(child, [...path, child.name()]))];
}

const NAMES = below(await everything()).map(({ words }) => words.join(' '));
const NO_EXAMPLES = new Set(
  below(await everything())
    .filter(({ command }) => command.commands.length > 0)
    .map(({ words }) => words.join(' ')),
);

/** The words of a shell line up to the first pipe, redirection or comment; quotes are taken off. */
function shellWords(line: string): string[] {
  const words: string[] = [];
  let word = '';
  let quote: string | null = null;
  let open = false;
  for (const character of line) {
    if (quote !== null) {
      if (character === quote) quote = null;
      else word += character;
    } else if (character === '"' || character === "'") {
      quote = character;
      open = true;
    } else if (/[|<>;&]/.test(character) || (character === '#' && word === '' && !open)) {
      break;
    } else if (/\s/.test(character)) {
      if (open || word !== '') words.push(word);
      word = '';
      open = false;
    } else {
      word += character;
    }
  }
  if (open || word !== '') words.push(word);
  return words;
}

/** The calls of our program in a help text. */
function callsIn(help: string): string[] {
  return help
    .split('\n')
    .filter((line) => /^\s+\$ /.test(line))
    .flatMap((line) => line.split(/\s\|\s/))
    .map((part) => part.replace(/^\s*\$\s+/, '').trim())
    .filter((part) => /(^|\s)deribit-keys\s/.test(part))
    .map((part) => part.slice(part.indexOf('deribit-keys')));
}

/** The program, in which every command does nothing. */
async function parseOnly(): Promise<{ program: Command; ran: string[] }> {
  const program = await everything();
  const ran: string[] = [];
  for (const { command, words } of below(program)) {
    if (command.commands.length === 0) command.action(() => void ran.push(words.join(' ')));
    command.exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
  }
  program.exitOverride();
  return { program, ran };
}

it('has the commands that scripts rely on', () => {
  const promised =
    'generate import export passphrase remove list show fingerprint register link verify auth sign rotate doctor plan apply audit token exec auth-server add-agent add-token add-vault add-kms agent-load backup restore page sandbox demo api-keys';
  expect(NAMES).toEqual(expect.arrayContaining(promised.split(' ')));
  const actions = ['list', 'edit', 'enable', 'disable', 'remove', 'rename', 'scope'].map((name) => `api-keys ${name}`);
  expect(NAMES).toEqual(expect.arrayContaining(actions));
});

describe.each(NAMES)('the help of %s', (name) => {
  it('is printed on stdout, tells all options, and exits 0', async () => {
    const { exitCode, stdout, stderr } = await cli([...name.split(' '), '--help']);
    expect(exitCode).toBe(0);
    expect(stderr).toBe('');
    expect(stdout).toContain(`Usage: deribit-keys ${name}`);
    expect(stdout).not.toContain('undefined');
    expect(stdout).toMatch(/\nOptions of every command, .*: deribit-keys --help\n$/);
  });

  it.skipIf(NO_EXAMPLES.has(name))('has examples, each of which the program takes', async () => {
    const { stdout } = await cli([...name.split(' '), '--help']);
    const calls = callsIn(stdout);
    expect(calls.length).toBeGreaterThan(0);
    expect(calls.some((call) => call.startsWith(`deribit-keys ${name}`))).toBe(true);
    for (const call of calls) {
      const { program, ran } = await parseOnly();
      await program.parseAsync(shellWords(call).slice(1), { from: 'user' });
      expect(ran).toHaveLength(1);
    }
  });
});

it('the examples of the program itself are taken, too', async () => {
  const { stdout, exitCode } = await cli(['--help']);
  expect(exitCode).toBe(0);
  const calls = callsIn(stdout);
  expect(calls.length).toBeGreaterThan(2);
  for (const call of calls) {
    const { program, ran } = await parseOnly();
    await program.parseAsync(shellWords(call).slice(1), { from: 'user' });
    expect(ran).toHaveLength(1);
  }
});

it.each([['help'], ['help', 'sign'], ['--help']])('%j exits 0', async (...argv) => {
  const { exitCode, stdout } = await cli(argv);
  expect(exitCode).toBe(0);
  expect(stdout).toContain('Usage: deribit-keys');
});

describe('the man page', () => {
  it.skipIf(process.platform === 'win32')('is where man finds it after a global install', () => {
    const { bin, man, version } = JSON.parse(readFileSync('package.json', 'utf8')) as {
      bin: Record<string, string>;
      man: readonly string[];
      version: string;
    };
    const folder = temporaryFolder();
    const write = (path: string, text: string) => {
      mkdirSync(dirname(join(folder, 'package', path)), { recursive: true });
      writeFileSync(join(folder, 'package', path), text);
    };
    // npm links the man page only of a package with a program, and only where `man` is a list
    write('package.json', JSON.stringify({ name: 'deribit-keys', version, bin, man }));
    for (const path of Object.values(bin)) write(path, '#!/usr/bin/env node\n');
    write('dist/man/deribit-keys.1', '.TH DERIBIT-KEYS 1\n');
    const npm = (...words: string[]) => execFileSync('npm', [...words, '--offline', '--silent'], { cwd: folder });
    npm('pack', './package');
    npm('install', '--global', '--prefix', join(folder, 'prefix'), `./deribit-keys-${version}.tgz`);
    expect(readFileSync(join(folder, 'prefix/share/man/man1/deribit-keys.1'), 'utf8')).toContain('DERIBIT-KEYS');
  });
});
