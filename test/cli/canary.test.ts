import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../src/sandbox/index.js';
import { cli, temporaryFolder } from '../support/cli.js';

const PASSPHRASE = 'canary-passphrase-7391';
const WRONG = 'canary-wrong-4482';
const SEED = 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP';

const sandboxes: Sandbox[] = [];
afterEach(async () => {
  await Promise.all(sandboxes.splice(0).map((sandbox) => sandbox.close()));
});

const everyFile = (folder: string): string[] =>
  existsSync(folder)
    ? readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .map((file) => join(folder, file))
        .filter((file) => statSync(file).isFile())
    : [];

/*
 * A whole day's work, with everything going wrong that can, as wordy as the program gets; then every byte that it said
 * or wrote is searched for every secret that it knew.
 */
it('no secret is ever said or written where it does not belong', { timeout: 120_000 }, async () => {
  const folder = temporaryFolder();
  const keysDir = join(folder, 'keys');
  const sandbox = await startSandbox();
  const guarded = await startSandbox({
    tfaSecret: SEED,
    clientId: sandbox.clientId,
    clientSecret: sandbox.clientSecret,
  });
  sandboxes.push(sandbox, guarded);
  const said: string[] = [];
  const tokens: string[] = [];
  const env = {
    DERIBIT_KEYS_DIR: keysDir,
    DERIBIT_CLIENT_ID: sandbox.clientId,
    DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
    DERIBIT_TFA_SECRET: SEED,
    DERIBIT_KEYS_PASSPHRASE: PASSPHRASE,
    DERIBIT_KEYS_BACKUP_PASSPHRASE: PASSPHRASE,
  };
  let json = false;
  const run = async (argv: readonly string[], more: Readonly<Record<string, string>> = {}) => {
    json = !json;
    const words = [...argv, '--verbose', ...(json ? ['--json'] : [])];
    const { exitCode, stdout, stderr } = await cli(words, { env: { ...env, ...more } });
    if (!argv.includes('--print-token')) return void said.push(stdout, stderr);
    expect(exitCode).toBe(0);
    tokens.push(...(stdout.match(/\b\d+\.[\w-]{8}\.[\w-]+/g) ?? []));
    said.push(stderr);
  };
  const pem = join(folder, 'broken.pem');
  for (const url of [sandbox.wsUrl, sandbox.httpUrl]) {
    const name = url.startsWith('ws') ? 'a' : 'b';
    const place = { DERIBIT_KEYS_URL: url };
    await run(['generate', name, '--encrypt']);
    await run(['generate', `${name}-plain`]);
    await run(['sign', name, '--client-id', 'AbCdEf12'], { DERIBIT_KEYS_PASSPHRASE: WRONG });
    await run(['passphrase', name], { DERIBIT_KEYS_PASSPHRASE: WRONG, DERIBIT_KEYS_NEW_PASSPHRASE: PASSPHRASE });
    for (const fault of [
      'garbage',
      'cut-after',
      'refuse-login',
      'error@public/auth:-32602',
      'swap-key',
      'wrong-testnet',
      'huge',
      'cut-after@private/create_api_key',
    ]) {
      sandbox.setFaults([fault]);
      await run(['register', name, '--scope', 'account:read', '--timeout', '1000'], place);
    }
    sandbox.clearFaults();
    await run(['register', name, '--scope', 'account:read', '--timeout', '5000'], place);
    await run(['register', name, '--scope', 'account:read'], { ...place, DERIBIT_CLIENT_SECRET: WRONG });
    await run(['auth', name], place);
    await run(['auth', name, '--print-token'], place);
    await run(['verify', '--all'], place);
    await run(['show', name]);
    await run(['list']);
    // a private key that is damaged, in every way of reading it
    const whole = readFileSync(join(keysDir, `${name}-plain.pem`), 'utf8');
    writeFileSync(pem, whole.replace(/M/, 'N'), { mode: 0o600 });
    await run(['import', 'broken', pem]);
    await run(['fingerprint', pem]);
    await run(['export', name, '--out', join(folder, `${name}.out`)]);
    await run(['remove', name]);
  }
  await run(['generate', 'guarded']);
  const place = { DERIBIT_KEYS_URL: guarded.wsUrl };
  await run(['register', 'guarded', '--scope', 'account:read', '--tfa-code', '000000'], place);
  await run(['register', 'guarded', '--scope', 'account:read'], { ...place, DERIBIT_TFA_SECRET: 'GEZDGNBVGY3TQOJQ' });
  await run(['register', 'guarded', '--scope', 'account:read'], place);
  await run(['verify', 'guarded'], place);
  await run(['backup', join(folder, 'keys.age')]);
  expect(sandbox.keys().length).toBe(3);
  expect(guarded.keys().length).toBe(2);
  expect(tokens.length).toBe(4);

  const secrets = [PASSPHRASE, WRONG, SEED, sandbox.clientSecret, ...tokens];
  for (const file of everyFile(keysDir).filter((path) => path.endsWith('.pem') && !path.endsWith('.pub.pem'))) {
    const lines = readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => !line.startsWith('-----') && line.length > 20);
    secrets.push(...lines.map((line) => line.slice(-24)));
  }
  expect(secrets.length).toBeGreaterThan(8);
  const written = everyFile(keysDir).filter((path) => /\.(json|jsonl)$|pub\.pem$/.test(path));
  expect(written.length).toBeGreaterThan(5);
  const everything = [...said, ...written.map((path) => readFileSync(path, 'utf8'))].join('\n');
  expect(everything.includes('did not record the key')).toBe(true);
  expect(/wrong passphrase/i.test(everything)).toBe(true);
  for (const secret of secrets) expect(everything.includes(secret)).toBe(false);
});
