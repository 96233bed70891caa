import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKeyPair } from '../../src/crypto/generate.js';
import { encodePrivateKeyPem, encodePublicKeyPem } from '../../src/crypto/pem.js';
import { startSandbox } from '../../src/sandbox/index.js';
import { unusedPort } from '../deribit/servers.js';
import { hasOpenssl, selfSigned, tlsExchange } from '../deribit/tls.js';
import { afterTest } from '../support/after-test.js';
import { cli, temporaryFolder } from '../support/cli.js';
import { builtProgram, runProcess } from '../support/program.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const fixture = (path: string) => join(root, 'test/fixtures/runtimes/node_modules', path);

/** How each runtime is called; Bun and Deno are packages of the fixture. */
const runtimes = [
  { name: 'Node.js', command: process.execPath, words: [] },
  { name: 'Bun', command: fixture('bun/bin/bun.exe'), words: [] },
  {
    name: 'Deno',
    command: fixture('.bin/deno'),
    words: ['run', '--no-prompt', '--allow-all', '--node-modules-dir=manual'],
  },
];

/** Inside the package, so that its dependencies are found. */
const folder = mkdtempSync(join(root, 'node_modules', '.runtimes-'));
const program = join(folder, 'program.mjs');
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(async () => {
  await build({
    entryPoints: [fileURLToPath(new URL('program.ts', import.meta.url))],
    outfile: program,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    alias: {
      '#engine': join(root, 'src/crypto/engine/native.ts'),
      '#platform': join(root, 'src/deribit/platform/node.ts'),
    },
    define: { 'import.meta.dirname': JSON.stringify(join(root, 'dist')) },
    logLevel: 'error',
  });
  for (const { name, command } of runtimes) {
    if (!existsSync(command)) process.stderr.write(`${name} is not installed in test/fixtures/runtimes: skipped\n`);
  }
});

const cliProgram = builtProgram();

/** A keystore with the registered key "bot". */
async function registeredKey() {
  const sandbox = await startSandbox();
  afterTest(() => sandbox.close());
  const keysDir = join(temporaryFolder(), 'keys');
  const env = {
    DERIBIT_KEYS_DIR: keysDir,
    DERIBIT_KEYS_URL: sandbox.wsUrl,
    DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
  };
  await cli(['generate', 'bot'], { env });
  const register = ['register', 'bot', '--client-id', sandbox.clientId, '--scope', 'trade:read'];
  expect((await cli(register, { env })).exitCode).toBe(0);
  return { keysDir };
}

describe.each(runtimes)('on $name', ({ name, command, words }) => {
  it.skipIf(!existsSync(command))('no request is repeated, and network options are kept or refused', async () => {
    const sandbox = await startSandbox({
      faults: ['cut-after@private/buy', 'cut-after@private/create_api_key'],
    });
    afterTest(() => sandbox.close());
    const pair = await generateKeyPair();
    const { client_id: clientId } = sandbox.addKey({ publicKey: encodePublicKeyPem(pair.publicKey) });
    const keysBefore = sandbox.keys().length;
    const certificate = hasOpenssl ? selfSigned('IP:127.0.0.1') : null;
    const deadPort = await unusedPort();
    const input = {
      wsUrl: sandbox.wsUrl,
      httpUrl: sandbox.httpUrl,
      httpsUrl: certificate === null ? null : `https://127.0.0.1:${await tlsExchange(certificate)}`,
      ca: certificate?.cert ?? '',
      deadPort,
      clientId,
      pem: encodePrivateKeyPem(pair),
    };
    const proxy = `http://127.0.0.1:${deadPort}`;
    const { stdout, stderr } = await promisify(execFile)(command, [...words, program, JSON.stringify(input)], {
      env: {
        PATH: process.env.PATH,
        HOME: folder,
        NODE_USE_ENV_PROXY: '1',
        HTTP_PROXY: proxy,
        HTTPS_PROXY: proxy,
        http_proxy: proxy,
        https_proxy: proxy,
      },
      timeout: 60_000,
    });
    expect(stderr).toBe('');
    const overTls = { ca: 'ok "answered"', 'no ca': 'ERR_NETWORK false', 'dead proxy': 'ERR_NETWORK false' };
    expect(JSON.parse(stdout)).toEqual({
      'http buy': 'ERR_OUTCOME_UNKNOWN true',
      'http create': 'ERR_OUTCOME_UNKNOWN true',
      'ws buy': 'ERR_OUTCOME_UNKNOWN true',
      'ws create': 'ERR_OUTCOME_UNKNOWN true',
      'ws channel': 'ticker.BTC-PERPETUAL.raw',
      'nothing listens': 'ERR_NETWORK false',
      'nothing listens, ws': 'ERR_NETWORK false',
      ...(certificate === null
        ? {}
        : Object.fromEntries(
            ['https', 'wss'].flatMap((scheme) =>
              Object.entries(overTls).map(([name, result]) => [`${scheme} ${name}`, result]),
            ),
          )),
    });
    const sent = (method: string) => sandbox.calls.filter((call) => call.method === method).length;
    expect(sent('private/buy')).toBe(2);
    expect(sent('private/create_api_key')).toBe(2);
    expect(sandbox.keys().length).toBe(keysBefore + 2);
  });

  it.skipIf(!existsSync(command))('exec passes signals on, and ends as its child does', async () => {
    const { keysDir } = await registeredKey();
    const run = (script: string, onStderr?: (text: string, pid: number) => void) =>
      runProcess(command, [...words, cliProgram.path, 'exec', 'bot', '--', 'sh', '-c', script], {
        env: { DERIBIT_KEYS_DIR: keysDir },
        ...(onStderr === undefined ? {} : { onStderr }),
      });
    let sent = false;
    const handled = await run('trap "exit 3" TERM; echo ready >&2; while :; do sleep 0.05; done', (text, pid) => {
      if (sent || !text.includes('ready')) return;
      sent = true;
      process.kill(pid, 'SIGTERM');
    });
    expect(handled).toMatchObject({ exitCode: 3, stderr: 'ready\n' });
    expect((await run('kill -TERM $$')).exitCode).toBe(143);
  });

  // for Node.js it is a test of the server's own
  it.skipIf(!existsSync(command) || name === 'Node.js')(
    'the auth server ends requests that stop half-way',
    async () => {
      const { keysDir } = await registeredKey();
      const port = await unusedPort();
      const child = spawn(command, [...words, cliProgram.path, 'auth-server', 'bot', '--listen', `127.0.0.1:${port}`], {
        env: { PATH: process.env.PATH ?? '', HOME: folder, DERIBIT_KEYS_DIR: keysDir },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const ended = once(child, 'exit');
      afterTest(async () => {
        child.kill('SIGKILL');
        await ended;
      });
      await once(child.stdout, 'data');
      const head = 'POST /v1/bot/token HTTP/1.1\r\nHost: 127.0.0.1\r\n';
      const answers = ['', head.slice(0, 20), head].map(async (text) => {
        const socket = connect({ port, host: '127.0.0.1' });
        socket.write(text);
        let answer = '';
        for await (const chunk of socket.setEncoding('utf8')) answer += chunk;
        return answer;
      });
      for (const answer of await Promise.all(answers)) expect(answer).toMatch(/^(HTTP\/1\.1 408 |$)/);
      const waiting = connect({ port, host: '127.0.0.1' });
      waiting.on('error', () => {});
      await once(waiting, 'connect');
      waiting.write(head);
      child.kill('SIGTERM');
      expect(await ended).toEqual([0, null]);
    },
  );
});
