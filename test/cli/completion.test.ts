import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli, temporaryFolder } from '../support/cli.js';
import { builtProgram, canRun } from '../support/program.js';

const program = builtProgram();
const hasBash = await canRun('bash', '--version');
const hasZsh = await canRun('zsh', '--version');
const hasFish = await canRun('fish', '--version');

async function folderWithKeys(): Promise<string> {
  const folder = join(temporaryFolder(), 'keys');
  for (const name of ['maker', 'taker']) await cli(['generate', name, '--keys-dir', folder]);
  return folder;
}

describe('completion', () => {
  it.each<[readonly string[], readonly string[]]>([
    [['re'], ['remove', 'restore', 'register']],
    [['add-'], ['add-agent', 'add-token', 'add-vault', 'add-kms']],
    [
      ['sign', ''],
      ['maker', 'taker'],
    ],
    [['sign', 'm'], ['maker']],
    [['--json', 'sign', 'm'], ['maker']],
    [['verify', 'maker', 't'], ['taker']],
    [['sign', 'maker', '--no'], ['--nonce']],
    [['register', 'maker', '--as', 't'], ['taker']],
    [
      ['register', 'maker', '--scope', 'trade:r'],
      ['trade:read', 'trade:read_write'],
    ],
    [
      ['api-keys', 're'],
      ['remove', 'rename'],
    ],
    [
      ['api-keys', 'scope', 'maker', 'wallet:r'],
      ['wallet:read', 'wallet:read_write'],
    ],
    [
      ['list', '--state', 're'],
      ['registered', 'retired'],
    ],
    [
      ['list', '--env', ''],
      ['test', 'prod'],
    ],
    [['completion', 'b'], ['bash']],
    [['generate', 'm'], []],
    [['import', 'm'], []],
    [['exec', 'maker', '--', 'm'], []],
    [['nosuch', 'm'], []],
  ])('of %j is %j', async (words, expected) => {
    const env = { DERIBIT_KEYS_DIR: await folderWithKeys() };
    const { exitCode, stdout, stderr } = await cli(['__complete', ...words], { env });
    const lines = stdout.split('\n').filter((line) => line !== '');
    expect(lines.map((line) => line.split('\t')[0])).toEqual(expected);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  });

  it('looks for keys in the folder that the line names', async () => {
    const { stdout } = await cli(['__complete', 'sign', '--keys-dir', await folderWithKeys(), 'ma']);
    expect(stdout).toBe('maker\t\n');
  });

  it.each(['bash', 'zsh', 'fish', 'powershell'])('has a script for %s', async (shell) => {
    const { exitCode, stdout } = await cli(['completion', shell]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('__complete');
  });

  /** What `shell` prints for the script of completion and `lines` behind it, with the program in its PATH. */
  async function runIn(shell: string, words: readonly string[], lines: readonly string[]): Promise<string> {
    const bin = join(temporaryFolder(), 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'deribit-keys'), `#!/bin/sh\nexec '${process.execPath}' '${program.path}' "$@"\n`);
    chmodSync(join(bin, 'deribit-keys'), 0o755);
    symlinkSync(process.execPath, join(bin, 'node'));
    const { stdout: script } = await cli(['completion', shell]);
    const output = execFileSync(shell, [...words, '-c', [script, ...lines].join('\n')], {
      env: { PATH: `${bin}:${process.env.PATH}`, HOME: bin, DERIBIT_KEYS_DIR: await folderWithKeys() },
    });
    return String(output);
  }

  it.skipIf(!hasBash)('works in bash, behind a colon too', async () => {
    const complete = (line: string) =>
      `COMP_LINE=${JSON.stringify(line)}; COMP_POINT=\${#COMP_LINE}; _deribit_keys; echo "\${COMPREPLY[*]}"`;
    const lines = ['deribit-keys re', 'deribit-keys sign ', 'deribit-keys register maker --scope trade:read_'];
    expect(await runIn('bash', [], lines.map(complete))).toBe('remove restore register\nmaker taker\nread_write\n');
  });

  it.skipIf(!hasZsh)('works in zsh', async () => {
    // zsh calls the function with these variables, and shows what it hands to _describe
    const complete = (words: readonly string[]) =>
      `words=(deribit-keys ${words.map((word) => `'${word}'`).join(' ')}); CURRENT=${words.length + 1}; _deribit_keys`;
    const output = await runIn(
      'zsh',
      ['-f'],
      [
        // biome-ignore lint/suspicious/noTemplateCurlyInString: an expansion of zsh
        '_describe() { local each; for each in "${(@P)2}"; do print -rn -- "${each%%:*} "; done; print }',
        complete(['re']),
        complete(['sign', '']),
      ],
    );
    expect(output).toBe('remove restore register \nmaker taker \n');
  });

  it.skipIf(!hasFish)('works in fish', async () => {
    const output = await runIn(
      'fish',
      ['--no-config'],
      ["complete -C 'deribit-keys re'", "complete -C 'deribit-keys sign '"],
    );
    const words = output.split('\n').map((line) => line.split('\t')[0]);
    expect(words.sort()).toEqual(['', 'maker', 'register', 'remove', 'restore', 'taker']);
  });
});
