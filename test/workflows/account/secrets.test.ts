import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { cli, temporaryFolder } from '../../support/cli.js';

const SEED = 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP';
const PASSPHRASE = 'canary-passphrase-5521';

let sandbox: Sandbox;
beforeEach(async () => {
  sandbox = await startSandbox();
});
afterEach(() => sandbox.close());

test('no command on the account shows or writes a secret, whatever becomes of it', async () => {
  const keys = join(temporaryFolder(), 'keys');
  const env = {
    DERIBIT_KEYS_DIR: keys,
    DERIBIT_KEYS_URL: sandbox.wsUrl,
    DERIBIT_CLIENT_ID: sandbox.clientId,
    DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
    DERIBIT_KEYS_PASSPHRASE: PASSPHRASE,
    DERIBIT_TFA_SECRET: SEED,
  };
  const shown: string[] = [];
  const run = async (...argv: readonly string[]) => {
    for (const form of [['--verbose'], ['--json']]) {
      const { stdout, stderr } = await cli([...argv, ...form, '--yes'], { env });
      shown.push(stdout, stderr);
    }
  };
  await run('generate', 'bot', '--encrypt');
  await run('register', 'bot', '--scope', 'trade:read');
  for (const fault of ['none', 'garbage', 'wrong-fingerprint', 'error:13004', 'cut-after+3']) {
    sandbox.setFaults(fault === 'none' ? [] : [fault]);
    await run('api-keys', 'list');
    await run('api-keys', 'rename', 'bot', 'x');
    await run('rotate', 'bot');
    await run('rotate', 'bot', '--abort');
  }
  const files = readdirSync(keys).filter((file) => !file.endsWith('.pem'));
  expect(files).toContain('audit.jsonl');
  const written = files.map((file) => readFileSync(join(keys, file), 'utf8'));
  const text = [...shown, ...written].join('\n');
  expect(text).toContain('ERR_');
  for (const secret of [sandbox.clientSecret, PASSPHRASE, SEED, 'PRIVATE KEY']) expect(text).not.toContain(secret);
});
