import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../src/sandbox/index.js';
import { hasCcxt } from '../integrations/ccxt-package.js';
import { cli, temporaryFolder } from '../support/cli.js';
import { builtProgram, canRun, runProcess } from '../support/program.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const ccxtEntry = pathToFileURL(join(root, 'test/fixtures/ccxt/node_modules/ccxt/js/ccxt.js')).href;
const has = {
  shell: (await canRun('jq', '--version')) && (await canRun('curl', '--version')),
  python: await canRun('python3', '--version'),
  go: await canRun('go', 'version'),
};

/** The examples of the library, with `deribit-keys` as it stands: inside the package, so that its dependencies are found. */
const bundles = mkdtempSync(join(root, 'node_modules', '.examples-'));
afterAll(() => rmSync(bundles, { recursive: true, force: true }));

async function bundled(example: string): Promise<string> {
  const outfile = join(bundles, example.replace(/\.m?[jt]s$/, '.mjs'));
  await build({
    entryPoints: [join(root, 'examples', example)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    alias: {
      'deribit-keys': join(root, 'src/index.ts'),
      'deribit-keys/ccxt': join(root, 'src/integrations/ccxt/with-signer.ts'),
      '#engine': join(root, 'src/crypto/engine/native.ts'),
      '#platform': join(root, 'src/deribit/platform/node.ts'),
      ccxt: ccxtEntry,
    },
    external: [ccxtEntry],
    logLevel: 'error',
  });
  return outfile;
}

describe('an example does what its page says:', () => {
  const program = builtProgram();
  let sandbox: Sandbox;
  let env: Record<string, string>;
  let clientId: string;

  beforeAll(() => {
    for (const [tool, there] of Object.entries({ ...has, ccxt: hasCcxt })) {
      if (!there) process.stderr.write(`examples: ${tool} is not here, its examples are skipped\n`);
    }
  });

  beforeEach(async () => {
    sandbox = await startSandbox();
    const keys = join(temporaryFolder(), 'keys');
    const settings = { DERIBIT_KEYS_DIR: keys, DERIBIT_KEYS_URL: sandbox.wsUrl };
    const admin = { DERIBIT_CLIENT_ID: sandbox.clientId, DERIBIT_CLIENT_SECRET: sandbox.clientSecret };
    expect(await cli(['generate', 'bot'], { env: settings })).toMatchObject({ exitCode: 0 });
    const registered = await cli(['register', 'bot', '--scope', 'account:read trade:read_write', '--json'], {
      env: { ...settings, ...admin },
    });
    clientId = registered.json<{ clientId: string }>().clientId;
    env = {
      ...settings,
      CLIENT_ID: clientId,
      KEY_FILE: join(keys, 'bot.pem'),
      DERIBIT_KEYS: `${process.execPath} ${program.path}`,
    };
  });
  afterEach(() => sandbox.close());

  const loggedIn = () =>
    sandbox.calls.some((call) => call.method === 'public/auth' && call.clientId === clientId && call.outcome === 'ok');

  it('bot.ts logs in, watches, and ends by itself', async () => {
    const end = await runProcess(process.execPath, [await bundled('bot.ts')], {
      env: { ...env },
    });
    expect(end).toMatchObject({ exitCode: 0, stderr: '' });
    expect(end.stdout).toMatch(/^equity: 10 BTC\n(index: [\d.]+\n){3}closed\n$/);
  });

  it.skipIf(!hasCcxt)('ccxt-bot.mjs reads its balance and authenticates', async () => {
    const end = await runProcess(process.execPath, [await bundled('ccxt-bot.mjs')], { env });
    expect(end).toMatchObject({ exitCode: 0, stdout: 'balance: 10 BTC\nauthenticated over WebSocket\n' });
  });

  it.skipIf(!has.shell)('login.sh logs in by sign and curl', async () => {
    const end = await runProcess('sh', [join(root, 'examples/login.sh'), 'bot'], { env });
    expect(end).toEqual({ exitCode: 0, signal: null, stdout: 'equity: 10 BTC\n', stderr: '' });
    expect(loggedIn()).toBe(true);
  });

  it.skipIf(!has.shell)('login.sh ends with an error where the login is refused', async () => {
    sandbox.setFaults(['refuse-login']);
    const end = await runProcess('sh', [join(root, 'examples/login.sh'), 'bot'], { env });
    expect(end.exitCode).not.toBe(0);
    expect(end.stderr).toContain('13004');
  });

  it.skipIf(!has.shell)('login.sh ends with an error where nothing answers', async () => {
    await sandbox.close();
    const end = await runProcess('sh', [join(root, 'examples/login.sh'), 'bot'], { env });
    expect(end.exitCode).not.toBe(0);
    expect(end.stdout).toBe('');
  });

  it.skipIf(!has.python)('token.py takes a token from the program', async () => {
    const end = await runProcess('python3', [join(root, 'examples/token.py'), 'bot'], { env });
    expect(end).toEqual({ exitCode: 0, signal: null, stdout: 'equity: 10 BTC\n', stderr: '' });
  });

  it.skipIf(!has.python)('auth_server.py takes a token from the auth server', async () => {
    const server = spawn(process.execPath, [program.path, 'auth-server', 'bot', '--json'], {
      env: { PATH: process.env.PATH ?? '', ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const first = await new Promise<string>((resolve) => server.stdout.once('data', (text) => resolve(String(text))));
      const { url, secretFile } = JSON.parse(first) as { url: string; secretFile: string };
      const end = await runProcess('python3', [join(root, 'examples/auth_server.py'), 'bot', url, secretFile], { env });
      expect(end).toEqual({ exitCode: 0, signal: null, stdout: 'equity: 10 BTC\n', stderr: '' });
    } finally {
      server.kill('SIGINT');
      await new Promise((resolve) => server.once('close', resolve));
    }
  });

  it.skipIf(!has.go)('exec.go takes its token from the environment', async () => {
    const words = ['exec', 'bot', '--', 'go', 'run', join(root, 'examples/exec.go')];
    const end = await runProcess(process.execPath, [program.path, ...words], { env });
    expect(end).toMatchObject({ exitCode: 0, stdout: 'equity: 10 BTC\n' });
  });
});
