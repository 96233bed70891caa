import { fileURLToPath } from 'node:url';
import { createContext, runInContext } from 'node:vm';
import { build } from 'esbuild';
import { beforeAll, expect, test } from 'vitest';

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

// What a browser offers of its own; no process, no Buffer, no require.
const WEB_GLOBALS = { atob, btoa, crypto, TextEncoder, TextDecoder, setTimeout, clearTimeout, URL };

let code = '';
let inputs: readonly string[] = [];
let imports: Readonly<Record<string, readonly { readonly path: string; readonly kind: string }[]>> = {};

beforeAll(async () => {
  const { outputFiles, metafile } = await build({
    entryPoints: [path('../../src/crypto/index.ts')],
    bundle: true,
    write: false,
    metafile: true,
    format: 'iife',
    globalName: 'deribitKeys',
    platform: 'browser',
    target: 'es2022',
    alias: { '#engine': path('../../src/crypto/engine/portable.ts') },
    logLevel: 'silent',
  });
  code = outputFiles[0]?.text ?? '';
  inputs = Object.keys(metafile.inputs);
  imports = Object.fromEntries(Object.entries(metafile.inputs).map(([input, each]) => [input, each.imports]));
});

test('the bundle for browsers holds the portable engine and nothing of Node', () => {
  expect(inputs.some((input) => input.endsWith('engine/portable.ts'))).toBe(true);
  expect(inputs.filter((input) => /engine\/native|^node:/.test(input))).toEqual([]);
  expect(code).not.toMatch(/["'`]node:/);
});

test('a program that only needs the fingerprint bundles neither node-forge nor the readers of formats', async () => {
  const { outputFiles, metafile } = await build({
    stdin: {
      contents: "export { fingerprint } from './index.js';",
      resolveDir: path('../../src/crypto'),
    },
    bundle: true,
    write: false,
    metafile: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    alias: { '#engine': path('../../src/crypto/engine/portable.ts') },
    logLevel: 'silent',
  });
  const used = Object.entries(Object.values(metafile.outputs)[0]?.inputs ?? {}).filter(
    ([, { bytesInOutput }]) => bytesInOutput > 0,
  );
  expect(used.map(([input]) => input).filter((input) => /node-forge|formats\/|engine\//.test(input))).toEqual([]);
  expect(outputFiles[0]?.contents.length).toBeLessThan(12_000);
});

test('node-forge is loaded only for what WebCrypto does not have', () => {
  const importers = inputs.filter((input) => input.startsWith('src/'));
  expect(importers.length).toBeGreaterThan(20);
  const staticForge = Object.entries(imports).filter(
    ([input, kinds]) =>
      input.startsWith('src/') &&
      kinds.some(({ path: to, kind }) => to.includes('node-forge') && kind !== 'dynamic-import'),
  );
  expect(staticForge.map(([input]) => input)).toEqual(['src/crypto/engine/portable-forge.ts']);
  const loaders = Object.entries(imports).flatMap(([, kinds]) =>
    kinds.filter(({ path: to }) => to.endsWith('portable-forge.ts')),
  );
  expect(loaders.every(({ kind }) => kind === 'dynamic-import')).toBe(true);
});

test('the bundle generates, loads, signs and verifies with only the globals of a browser', async () => {
  const context = createContext({ ...WEB_GLOBALS });
  runInContext('globalThis.self = globalThis; globalThis.window = globalThis;', context);
  runInContext(code, context);
  const result: unknown = await runInContext(
    `(async () => {
      const results = [];
      for (const options of [{}, { type: 'rsa', bits: 2048 }]) {
        const key = await deribitKeys.generateKeyPair(options);
        const loaded = await deribitKeys.parsePrivateKey(await deribitKeys.serialisePrivateKey(key, { format: 'pkcs8' }));
        const message = new TextEncoder().encode('1576074319000\\n' + deribitKeys.randomNonce() + '\\n');
        const signature = await deribitKeys.localSigner(loaded).sign(message);
        results.push([
          deribitKeys.fingerprint(loaded) === deribitKeys.fingerprint(key.publicKey),
          await deribitKeys.verifySignature(key.publicKey, message, signature),
          await deribitKeys.verifySignature(key.publicKey, message.slice(1), signature),
        ]);
      }
      return JSON.stringify(results);
    })()`,
    context,
  );
  expect(result).toBe('[[true,true,false],[true,true,false]]');
});

test('the bundle reads back every format that it writes, encrypted ones too', async () => {
  const context = createContext({ ...WEB_GLOBALS });
  runInContext('globalThis.self = globalThis; globalThis.window = globalThis;', context);
  runInContext(code, context);
  const result: unknown = await runInContext(
    `(async () => {
      const key = await deribitKeys.generateKeyPair({ type: 'rsa', bits: 2048 });
      const passphrase = 'correct horse';
      const ways = [{ format: 'pkcs8', passphrase }, { format: 'openssh', passphrase }];
      for (const format of ['pkcs8', 'pkcs1', 'openssh', 'jwk', 'der']) ways.push({ format });
      const read = [];
      for (const way of ways) {
        const written = await deribitKeys.serialisePrivateKey(key, way);
        const loaded = await deribitKeys.parsePrivateKey(written, { passphrase });
        if (loaded.publicKey.equals(key.publicKey)) read.push(way.format);
      }
      for (const format of ['spki', 'ssh', 'jwk', 'der', 'pkcs1']) {
        const written = await deribitKeys.serialisePublicKey(key.publicKey, { format });
        if ((await deribitKeys.parsePublicKey(written)).equals(key.publicKey)) read.push(format);
      }
      return read.join();
    })()`,
    context,
  );
  expect(result).toBe('pkcs8,openssh,pkcs8,pkcs1,openssh,jwk,der,spki,ssh,jwk,der,pkcs1');
});
