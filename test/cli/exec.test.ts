import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { childEnvironment } from '../../src/cli/commands/exec.js';
import { temporaryFolder } from '../support/cli.js';
import { isTaken, openBotDesk } from '../support/desk.js';

const node = process.execPath;
const PRINT_ENV = 'process.stdout.write(JSON.stringify(process.env))';

describe('exec', () => {
  test('runs a program with a token, and without our secrets', async () => {
    const s = await openBotDesk();
    const secrets = {
      DERIBIT_KEYS_PASSPHRASE: 'canary',
      DERIBIT_KEYS_NEW_PASSPHRASE: 'canary',
      DERIBIT_KEYS_AS_PASSPHRASE: 'canary',
      DERIBIT_KEYS_INPUT_PASSPHRASE: 'canary',
      DERIBIT_KEYS_BACKUP_PASSPHRASE: 'canary',
      DERIBIT_KEYS_PIN: 'canary',
      DERIBIT_CLIENT_SECRET: 'canary',
      DERIBIT_PRIVATE_KEY: 'canary',
      DERIBIT_TFA_CODE: 'canary',
      DERIBIT_TFA_SECRET: 'canary',
    };
    const { exitCode, stdout, stderr } = await s.run(['exec', 'bot', '--', node, '-e', PRINT_ENV], {
      env: { ...secrets, MINE: 'kept' },
    });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).not.toContain('canary');
    const env = JSON.parse(stdout) as Record<string, string>;
    expect(env).toMatchObject({ MINE: 'kept', DERIBIT_CLIENT_ID: s.clientId, DERIBIT_URL: s.sandbox.httpUrl });
    expect(await isTaken(s.sandbox, env.DERIBIT_ACCESS_TOKEN ?? '')).toBe(true);
  });

  test.each([0, 1, 3, 42])('passes exit code %i on', async (code) => {
    const s = await openBotDesk();
    expect(await s.run(['exec', 'bot', '--', node, '-e', `process.exit(${code})`])).toMatchObject({
      exitCode: code,
      stderr: '',
    });
  });

  test('counts a signal as a shell does', async () => {
    const s = await openBotDesk();
    const { exitCode } = await s.run(['exec', 'bot', '--', node, '-e', 'process.kill(process.pid, "SIGKILL")']);
    expect(exitCode).toBe(128 + 9);
  });

  test('hands options, input, output and interruptions on', async () => {
    const s = await openBotDesk();
    const program = `process.stdin.on('data', (d) => process.stdout.write(d)); console.error(process.argv.slice(1).join(' '))`;
    const echoed = await s.run(['exec', 'bot', '--', node, '-e', program, '--', '--json', '--help'], {
      stdin: 'typed',
    });
    expect(echoed).toMatchObject({ exitCode: 0, stdout: 'typed', stderr: '--json --help\n' });

    const stop = new AbortController();
    const { exitCode } = await s.run(
      [
        'exec',
        'bot',
        '--',
        node,
        '-e',
        `process.on('SIGTERM', () => process.exit(7)); setInterval(() => {}, 99); console.log('up')`,
      ],
      { signal: stop.signal, onStdout: (text) => text.includes('up') && stop.abort() },
    );
    expect(exitCode).toBe(7);
  });

  test('asks for the scope that is wanted', async () => {
    const s = await openBotDesk();
    const argv = ['exec', 'bot', '--scope', 'account:read expires:60', '--', node, '-e', PRINT_ENV];
    const { DERIBIT_ACCESS_TOKEN: token = '' } = JSON.parse((await s.run(argv)).stdout) as Record<string, string>;
    expect(Number(token.split('.')[0]) - Date.now()).toBeLessThanOrEqual(60_000);
  });

  test.each(['exec', 'token'])(
    '%s refuses a scope that Deribit does not have, or of which nothing is granted',
    async (name) => {
      const s = await openBotDesk({}, 'account:read');
      const command = name === 'exec' ? ['--', node, '-e', 'console.log("ran")'] : [];
      const ask = (scope: string) => s.run([name, 'bot', '--json', '--scope', scope, ...command]);
      for (const scope of ['account:reed', 'trade:readwrite', 'foo', '']) {
        const refused = await ask(scope);
        expect(refused).toMatchObject({ exitCode: 2, stdout: '' });
        expect(refused.error()).toMatchObject({ code: 'ERR_USAGE', hint: expect.stringContaining('its words are') });
      }
      const nothing = await ask('trade:read_write wallet:read');
      expect(nothing).toMatchObject({ exitCode: 5, stdout: '' });
      expect(nothing.error()).toMatchObject({
        code: 'ERR_UNAUTHORIZED',
        message: expect.stringContaining('trade:read_write'),
      });
      expect((await ask('account:read trade:read')).exitCode).toBe(0);
    },
  );

  test('runs nothing without a login, or without a program, and answers as a shell does', async () => {
    const s = await openBotDesk();
    const missing = await s.run(['exec', 'bot', '--json', '--', 'no-such-program-anywhere']);
    expect(missing.exitCode).toBe(127);
    expect(missing.error().message).toContain('no such program');
    const file = join(temporaryFolder(), 'notes.txt');
    writeFileSync(file, 'no program', { mode: 0o600 });
    for (const unfit of [file, `${file}/inside`]) {
      const refused = await s.run(['exec', 'bot', '--', unfit]);
      expect(refused.stderr).toMatch(/^error: cannot run .*: it cannot be executed \(E\w+\)\nhint: .*\n$/);
      expect(refused).toMatchObject({ exitCode: 126, stdout: '' });
    }
    expect((await s.run(['exec', 'bot'])).exitCode).toBe(2);
    const calls = s.calls();
    const empty = await s.run(['exec', 'bot', '--json', '--', '']);
    expect(empty.exitCode).toBe(2);
    expect(empty.error()).toMatchObject({ code: 'ERR_USAGE', message: 'the name of the program to run is empty' });
    expect(s.calls()).toEqual(calls);
    s.sandbox.setFaults(['refuse-login']);
    const refused = await s.run(['exec', 'bot', '--', node, '-e', 'console.log("ran")']);
    expect(refused).toMatchObject({ exitCode: 5, stdout: '' });
  });

  test('takes only what is surely a secret out of the environment', () => {
    const env = { DERIBIT_KEYS_DIR: 'a', PIN: 'b', MY_DERIBIT_CLIENT_SECRET: 'c', GONE: undefined, DERIBIT_URL: 'old' };
    expect(childEnvironment(env, { accessToken: 't', clientId: 'i', url: 'u' })).toEqual({
      DERIBIT_KEYS_DIR: 'a',
      PIN: 'b',
      MY_DERIBIT_CLIENT_SECRET: 'c',
      DERIBIT_ACCESS_TOKEN: 't',
      DERIBIT_CLIENT_ID: 'i',
      DERIBIT_URL: 'u',
    });
  });
});
