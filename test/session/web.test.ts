import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createContext, runInContext } from 'node:vm';
import { build } from 'esbuild';
import { beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { generateKeyPair } from '../../src/crypto/generate.js';
import { encodePrivateKeyPem, encodePublicKeyPem } from '../../src/crypto/pem.js';
import { startSandbox } from '../../src/sandbox/index.js';
import type * as SessionModule from '../../src/session/index.js';
import { afterTest } from '../support/after-test.js';
import { thrownBy } from '../support/outcomes.js';

const path = (file: string) => fileURLToPath(new URL(`../../${file}`, import.meta.url));

/** What a browser and a worker have; nothing of Node.js. */
const globals = {
  ...{ AbortController, AbortSignal, Blob, TextDecoder, TextEncoder, URL, URLSearchParams, WebSocket },
  ...{ atob, btoa, clearTimeout, crypto, fetch, performance, queueMicrotask, setTimeout, structuredClone },
};

let code = '';
beforeAll(async () => {
  const { outputFiles } = await build({
    stdin: {
      contents: `
        import { parsePrivateKey } from './src/crypto/formats/parse.ts';
        import { localSigner } from './src/crypto/signer.ts';
        export * from './src/session/index.ts';
        export const loadKey = async (pem) => localSigner(await parsePrivateKey(pem));`,
      resolveDir: path('.'),
      loader: 'ts',
    },
    bundle: true,
    platform: 'browser',
    format: 'iife',
    globalName: 'lib',
    alias: { '#engine': path('src/crypto/engine/portable.ts'), '#platform': path('src/deribit/platform/web.ts') },
    write: false,
    logLevel: 'error',
  });
  code = outputFiles[0]?.text ?? '';
});

/** The session module as a page without Node.js has it. */
function page(): typeof SessionModule & { loadKey(pem: string): Promise<SessionModule.SessionOptions['signer']> } {
  const context = createContext({ ...globals });
  runInContext(`${code};globalThis.lib = lib;`, context);
  return runInContext('lib', context);
}

async function exchange() {
  const sandbox = await startSandbox();
  afterTest(() => sandbox.close());
  const pair = await generateKeyPair();
  const { client_id: clientId } = sandbox.addKey({ publicKey: encodePublicKeyPem(pair.publicKey) });
  return { sandbox, clientId, pem: encodePrivateKeyPem(pair) };
}

describe('a session in a browser or worker', () => {
  test('over WebSocket logs in, subscribes, comes back after a cut, and closes', async () => {
    const { sandbox, clientId, pem } = await exchange();
    const { openSession, loadKey } = page();
    const session = await openSession({ url: sandbox.wsUrl, clientId, signer: await loadKey(pem) });
    afterTest(() => session.close());
    expect(await session.request('private/get_account_summary', { currency: 'BTC' })).toHaveProperty('equity');
    const heard = new Promise((resolve) => {
      void session.subscribe('ticker.BTC-PERPETUAL.raw', resolve);
    });
    expect(await heard).toMatchObject({ channel: 'ticker.BTC-PERPETUAL.raw' });
    const back = new Promise((resolve) => session.on('reconnect', resolve));
    sandbox.dropConnections();
    await back;
    expect(await session.request('private/get_account_summary', { currency: 'BTC' })).toHaveProperty('equity');
    await session.close();
    expect(await session.closed).toBeNull();
  });

  test('over HTTP reads, and refuses what its fetch might send twice', async () => {
    const { sandbox, clientId, pem } = await exchange();
    const { openSession, loadKey } = page();
    const session = await openSession({ url: sandbox.httpUrl, clientId, signer: await loadKey(pem) });
    expect(await session.request('private/get_account_summary', { currency: 'BTC' })).toHaveProperty('equity');
    const refused = await thrownBy(session.request('private/buy', { instrument_name: 'BTC-PERPETUAL', amount: 10 }));
    expect(refused).toMatchObject({ code: 'ERR_USAGE', maybeSent: false, hint: expect.stringContaining('wss:') });
    await session.close();
    expect(sandbox.calls.some(({ method }) => method === 'private/buy')).toBe(false);
  });

  test('refuses options that only Node.js can keep', async () => {
    const { sandbox, clientId, pem } = await exchange();
    const { openSession, loadKey } = page();
    const signer = await loadKey(pem);
    for (const option of [{ proxy: 'http://127.0.0.1:1' }, { ca: 'pem' }]) {
      for (const url of [sandbox.wsUrl, sandbox.httpUrl]) {
        expect(await thrownBy(openSession({ url, clientId, signer, ...option }))).toMatchObject({ code: 'ERR_USAGE' });
      }
    }
  });

  test('is an entry of the package, and bundles nothing of Node.js', () => {
    const { exports, imports } = JSON.parse(readFileSync(path('package.json'), 'utf8'));
    expect(exports['./session'].import.default).toBe('./dist/session/index.js');
    expect(imports['#platform'].default).toBe('./dist/deribit/platform/web.js');
    expect(code).not.toMatch(/require\("(node:|ws|undici|https-proxy-agent)/);
    expect(code.length).toBeGreaterThan(10_000);
  });
});
