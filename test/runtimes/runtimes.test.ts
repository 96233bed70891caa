import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKeyPair } from '../../src/crypto/generate.js';
import { encodePrivateKeyPem, encodePublicKeyPem } from '../../src/crypto/key-pem.js';
import { startSandbox } from '../../src/sandbox/index.js';
import { unusedPort } from '../deribit/servers.js';
import { hasOpenssl, selfSigned, tlsExchange } from '../deribit/tls.js';
import { afterTest } from '../support/after-test.js';

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

describe.each(runtimes)('on $name', ({ command, words }) => {
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
});
