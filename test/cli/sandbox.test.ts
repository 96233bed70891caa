import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type CliResult, cli, temporaryFolder } from '../support/cli.js';

interface Started {
  readonly first: Readonly<Record<string, string | null>>;
  /** Ends it, and tells what it printed. */
  stop(): Promise<CliResult>;
}

/** Runs `sandbox --json …` until it is stopped. */
async function startSandboxCommand(...argv: readonly string[]): Promise<Started> {
  const abort = new AbortController();
  let told: (line: string) => void = () => {};
  const line = new Promise<string>((resolve) => {
    told = resolve;
  });
  const running = cli(['sandbox', '--json', ...argv], {
    signal: abort.signal,
    onStdout: (text) => text.includes('\n') && told(text),
  });
  const first = JSON.parse(await Promise.race([line, running.then(({ stderr }) => Promise.reject(new Error(stderr)))]));
  const stop = () => {
    abort.abort();
    return running;
  };
  return { first, stop };
}

/** The variables that an env file exports. */
function variablesOf(file: string): Record<string, string> {
  const lines = readFileSync(file, 'utf8').matchAll(/^export (\w+)='?(.*?)'?$/gm);
  return Object.fromEntries([...lines].map(([, name, value]) => [name, value]));
}

it('writes files with which a key is made, linked, and makes another, as the README tells it', async () => {
  const folder = join(temporaryFolder(), 'sandbox');
  const { first, stop } = await startSandboxCommand('--init', folder);
  const env = variablesOf(join(folder, 'env'));
  const json = async (...argv: readonly string[]) => {
    const result = await cli([...argv, '--json'], { env });
    expect(result, argv.join(' ')).toMatchObject({ exitCode: 0 });
    return result.json<Record<string, string>>();
  };
  expect(env).toMatchObject({ DERIBIT_KEYS_URL: first.wsUrl, ADMIN_ID: first.clientId });
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  for (const name of ['env', 'secret.txt', 'state.json']) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
  await json('generate', 'bot');
  const { clientId, fingerprint } = await json('sandbox', 'add-key', join(folder, 'keys/bot.pub.pem'));
  expect(fingerprint).toMatch(/^[0-9a-f]{2}(:[0-9a-f]{2}){15}$/);
  await json('link', 'bot', '--client-id', String(clientId));
  await json('generate', 'reader');
  const admin = ['--client-id', env.ADMIN_ID ?? '', '--client-secret-file', join(folder, 'secret.txt')];
  await json('register', 'reader', '--scope', 'account:read', ...admin);

  expect((await stop()).exitCode).toBe(0);
  const again = await startSandboxCommand('--init', folder);
  expect(again.first).toEqual(first);
  await json('auth', 'bot');
  await json('auth', 'reader');
  await again.stop();
});

it('writes the seed of a second factor and a certificate where they are used', async () => {
  const folder = temporaryFolder();
  const { first, stop } = await startSandboxCommand('--init', folder, '--tfa-secret', 'JBSWY3DPEHPK3PXP', '--tls');
  expect(first).toMatchObject({ wsUrl: expect.stringMatching(/^wss:/), caFile: join(folder, 'ca.pem') });
  expect(readFileSync(join(folder, 'tfa-secret.txt'), 'utf8')).toBe('JBSWY3DPEHPK3PXP\n');
  expect(variablesOf(join(folder, 'env'))).toMatchObject({
    DERIBIT_TFA_SECRET: 'JBSWY3DPEHPK3PXP',
    DERIBIT_KEYS_CA_FILE: first.caFile,
  });
  await stop();
  const plain = await startSandboxCommand('--init', folder);
  expect(existsSync(join(folder, 'tfa-secret.txt'))).toBe(false);
  await plain.stop();
});

it('overwrites no file that it did not write', async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'secret.txt'), 'of something else');
  const refused = await cli(['sandbox', '--init', folder, '--json']);
  expect(refused.exitCode).toBe(2);
  expect(refused.error()).toMatchObject({ code: 'ERR_USAGE', hint: expect.stringContaining('--init') });
  expect(readFileSync(join(folder, 'secret.txt'), 'utf8')).toBe('of something else');
  const file = join(folder, 'file');
  writeFileSync(file, '');
  expect((await cli(['sandbox', '--init', join(file, 'x'), '--json'])).error().code).toBe('ERR_KEYSTORE_IO');
});

it('is refused on a state that another one uses, and on a port that is taken, and changes nothing then', async () => {
  const folder = join(temporaryFolder(), 'sandbox');
  const running = await startSandboxCommand('--init', folder);
  const before = () => ['env', 'state.json', 'secret.txt'].map((name) => readFileSync(join(folder, name), 'utf8'));
  const files = before();
  for (const argv of [
    ['--init', folder],
    ['--init', folder, '--port', '0'],
    ['--state', join(folder, 'state.json')],
  ]) {
    const second = await cli(['sandbox', ...argv, '--json']);
    expect([second.exitCode, second.stdout]).toEqual([1, '']);
    expect(second.error()).toMatchObject({ code: 'ERR_LOCKED', hint: expect.stringContaining('--init') });
  }
  await running.stop();
  expect(readdirSync(folder).sort()).toEqual(['env', 'secret.txt', 'state.json']);

  const { port } = new URL(String(running.first.httpUrl));
  const inTheWay = await startSandboxCommand('--port', port);
  const refused = await cli(['sandbox', '--init', folder, '--json']);
  expect(refused.exitCode).toBe(1);
  expect(refused.error()).toMatchObject({
    code: 'ERR_LISTEN',
    message: expect.stringContaining(port),
    hint: expect.stringContaining('--port'),
  });
  expect(before()).toEqual(files);
  const moved = await startSandboxCommand('--init', folder, '--port', '0');
  expect(moved.first.httpUrl).not.toBe(running.first.httpUrl);
  await moved.stop();
  await inTheWay.stop();
});

it.skipIf(process.platform !== 'linux')('names the folder that cannot be made, and leaves none behind', async () => {
  for (const folder of ['/proc/x', '/proc/x/y']) {
    const { exitCode, ...refused } = await cli(['sandbox', '--init', folder, '--json']);
    expect(exitCode).toBe(1);
    expect(refused.error()).toMatchObject({ code: 'ERR_KEYSTORE_IO', message: expect.stringContaining(folder) });
    expect(refused.error().hint).toMatch(/^name another folder/);
  }
  const folder = join(temporaryFolder(), 'new');
  const refused = await cli(['sandbox', '--init', folder, '--fault', 'silnt', '--json']);
  expect([refused.exitCode, existsSync(folder)]).toEqual([2, false]);
});

it('says that keys are gone when it stops, unless its state is kept', async () => {
  const abort = new AbortController();
  const stopSoon = { signal: abort.signal, onStdout: () => abort.abort() };
  expect((await cli(['sandbox'], stopSoon)).stderr).toContain('its keys are gone when it stops');
  const kept = new AbortController();
  const state = join(temporaryFolder(), 'state.json');
  const { stderr } = await cli(['sandbox', '--state', state], { signal: kept.signal, onStdout: () => kept.abort() });
  expect(stderr).not.toContain('gone');
});

it('names a login with a key of an earlier run', async () => {
  const abort = new AbortController();
  let url = '';
  const running = cli(['sandbox'], {
    signal: abort.signal,
    onStdout: (text) => {
      const [found = ''] = /http:\/\/\S+/.exec(text) ?? [];
      if (url !== '' || found === '') return;
      url = found;
      const params = 'grant_type=client_credentials&client_id=of_yesterday&client_secret=x';
      void fetch(`${url}/public/auth?${params}`).finally(() => abort.abort());
    },
  });
  const { stderr } = await running;
  expect(stderr).toContain('no API key has the client id "of_yesterday"; keys of an earlier run are gone');
});

it('adds keys to sandboxes only, and only to those that take them', async () => {
  const folder = temporaryFolder();
  const { first, stop } = await startSandboxCommand();
  const env = { DERIBIT_KEYS_DIR: join(folder, 'keys'), DERIBIT_KEYS_URL: String(first.wsUrl) };
  await cli(['generate', 'bot'], { env });
  const file = join(folder, 'keys/bot.pub.pem');
  const closed = await cli(['sandbox', 'add-key', file, '--json'], { env });
  expect(closed.error()).toMatchObject({ code: 'ERR_RPC', hint: 'start it with --init <folder> or --fault-api' });
  const real = await cli(['sandbox', 'add-key', file, '--json'], { env: { ...env, DERIBIT_KEYS_URL: '' } });
  expect(real.error()).toMatchObject({ code: 'ERR_USAGE', message: expect.stringContaining('is not a sandbox') });
  await stop();
  const open = await startSandboxCommand('--fault-api');
  const piped = { env: { ...env, DERIBIT_KEYS_URL: String(open.first.httpUrl) }, stdin: readFileSync(file) };
  const added = await cli(['sandbox', 'add-key', '-', '--scope', 'trade:read', '--label', 'bot_1'], piped);
  expect([added.exitCode, added.stdout]).toEqual([0, expect.stringMatching(/^[A-Za-z0-9_-]{8,}\n$/)]);
  const unknown = await cli(['sandbox', 'add-key', file, '--scope', 'trade:reed', '--json'], piped);
  expect(unknown.exitCode).toBe(2);
  expect(unknown.error()).toMatchObject({
    code: 'ERR_USAGE',
    hint: expect.stringContaining('did you mean trade:read'),
  });
  await open.stop();
});
