import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { fingerprint } from '../../src/crypto/fingerprint.js';
import { generateKeyPair } from '../../src/crypto/generate.js';
import { encodePrivateKeyPem, encodePublicKeyPem } from '../../src/crypto/pem.js';
import { startSandbox } from '../../src/sandbox/index.js';
import { afterTest } from '../support/after-test.js';
import type { WebInput, WebResult } from './web-program.js';

const path = (file: string) => fileURLToPath(new URL(file, import.meta.url));

/** Bundles web-program.ts as browsers and workers get the library. */
export async function buildWebProgram(outfile: string): Promise<void> {
  await build({
    entryPoints: [path('web-program.ts')],
    outfile,
    bundle: true,
    platform: 'browser',
    format: 'esm',
    target: 'es2022',
    alias: {
      '#engine': path('../../src/crypto/engine/portable.ts'),
      '#platform': path('../../src/deribit/platform/web.ts'),
    },
    logLevel: 'error',
  });
}

/** An exchange, and what the library should find there. */
export async function webExchange(): Promise<{ readonly input: WebInput; readonly expected: WebResult }> {
  const sandbox = await startSandbox();
  afterTest(() => sandbox.close());
  const pair = await generateKeyPair();
  const { client_id: clientId } = sandbox.addKey({ publicKey: encodePublicKeyPem(pair.publicKey) });
  return {
    input: { url: sandbox.wsUrl, clientId, pem: encodePrivateKeyPem(pair) },
    expected: {
      ed25519: true,
      rsa: true,
      fingerprint: fingerprint(pair.publicKey),
      equity: 'number',
      channel: 'ticker.BTC-PERPETUAL.raw',
    },
  };
}
