import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { installProgram } from '../support/program.js';
import {
  FIXTURE,
  folder,
  noAgent,
  noPkcs11Tool,
  noToken,
  PIN,
  SOFTHSM_MODULE,
  softHsm,
  startAgent,
} from './support.js';

/** A project that has this package installed, with these optional peers beside it. */
async function install(...peers: readonly string[]): Promise<string> {
  const project = folder();
  const modules = join(project, 'node_modules');
  const bin = join(modules, 'deribit-keys', 'dist', 'bin');
  mkdirSync(bin, { recursive: true });
  await installProgram(join(bin, 'deribit-keys.cjs'));
  for (const peer of peers) symlinkSync(join(FIXTURE, 'node_modules', peer), join(modules, peer));
  return project;
}

/** Runs the installed program in its project. */
async function run(project: string, argv: readonly string[], env: Readonly<Record<string, string>>) {
  const bin = join(project, 'node_modules', 'deribit-keys', 'dist', 'bin', 'deribit-keys.cjs');
  const options = { cwd: project, env: { PATH: process.env.PATH, ...env } };
  const child = promisify(execFile)(process.execPath, [bin, ...argv], options);
  child.child.stdin?.end();
  return child.then(
    ({ stdout, stderr }) => ({ exitCode: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => ({ ...error, exitCode: error.code }),
  );
}

describe('the program, installed in a project', () => {
  it.skipIf(noAgent)('finds ssh2 beside it, and names it where it is not there', async () => {
    const agent = await startAgent();
    agent.addKey('ed25519', 'bot');
    const env = { SSH_AUTH_SOCK: agent.socket };
    const project = await install('ssh2', 'asn1', 'bcrypt-pbkdf');
    expect(await run(project, ['add-agent', 'bot', '--comment', 'bot'], env)).toMatchObject({ exitCode: 0 });
    const signed = await run(project, ['sign', 'bot', '--client-id', 'x'], env);
    expect(signed).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('"signature"') });
    const bare = await install();
    expect(await run(bare, ['add-agent', 'bot', '--comment', 'bot'], env)).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(/needs the package ssh2, which is not installed\nhint: npm install ssh2/),
    });
  });

  it.skipIf(noToken)('finds pkcs11js beside it, and ends in order with a token open', async () => {
    const { conf } = softHsm(folder(), ['bots']);
    const env = { SOFTHSM2_CONF: conf, DERIBIT_KEYS_PIN: PIN };
    const place = ['--in-token', '--module', SOFTHSM_MODULE, '--token', 'bots'];
    const project = await install('pkcs11js');
    expect(await run(project, ['generate', 'bot', ...place], env)).toMatchObject({ exitCode: 0 });
    for (let i = 0; i < 3; i += 1) {
      const signed = await run(project, ['sign', 'bot', '--client-id', 'x'], env);
      expect(signed).toMatchObject({ exitCode: 0, stderr: '', stdout: expect.stringContaining('"signature"') });
    }
    const bare = await install();
    expect(await run(bare, ['generate', 'bot', ...place], env)).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(/needs the package pkcs11js, which is not installed\nhint: npm install pkcs11js/),
    });
  });

  it.skipIf(noToken || noPkcs11Tool)('names commands of pkcs11-tool that make a token ready for it', async () => {
    const { conf } = softHsm(folder(), []);
    const env = { SOFTHSM2_CONF: conf, DERIBIT_KEYS_PIN: PIN };
    const project = await install('pkcs11js');
    const generate = (...more: readonly string[]) =>
      run(project, ['generate', 'bot', '--in-token', '--module', SOFTHSM_MODULE, ...more], env);
    /** Runs the commands of a hint, and answers what they ask for. */
    const follow = (stderr: string, answers: Readonly<Record<string, string>>) => {
      const commands = [...stderr.matchAll(/pkcs11-tool [^;,()\n]*/g)].map(([command]) => command);
      for (const command of commands) {
        const [option = ''] = Object.keys(answers).filter((each) => command.includes(each));
        const line = command.replace('<file>', SOFTHSM_MODULE).replace('<label>', 'bots').trim();
        execFileSync('/bin/sh', ['-ec', `${line} ${answers[option] ?? ''}`], { env: { ...process.env, ...env } });
      }
      return commands.length;
    };

    const first = await generate('--token', 'bots');
    expect(first).toMatchObject({ exitCode: 3, stderr: expect.stringContaining('is not initialised') });
    const so = '--so-pin 31415926';
    const ready = { '--init-token': so, '--init-pin': `${so} --new-pin ${PIN}` };
    expect(follow(first.stderr, ready)).toBe(2);
    expect(await generate('--token', 'bots')).toMatchObject({ exitCode: 0 });

    // the same id twice: softhsm2-util does that where it is forced to
    const pem = join(project, 'key.pem');
    const into = ['--token', 'bots', '--label', 'twin', '--id', 'beef', '--pin', PIN, '--force'];
    for (let i = 0; i < 2; i += 1) {
      execFileSync('openssl', ['genrsa', '-out', pem, '2048'], { stdio: 'pipe' });
      execFileSync('softhsm2-util', ['--import', pem, ...into], { stdio: 'pipe', env: { ...process.env, ...env } });
    }
    const add = () =>
      run(project, ['add-token', 'twin', '--module', SOFTHSM_MODULE, '--token', 'bots', '--id', 'beef'], env);
    const twins = await add();
    expect(twins).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('has 2 keys with the id beef') });
    expect(follow(twins.stderr, { '--delete-object': `--pin ${PIN}` })).toBe(1);
    expect(await add()).toMatchObject({ exitCode: 0 });
  });
});
