// Keystores of growing size: what each key costs, beside what it costs in the smallest. `KEYS=1000,10000` sets the sizes.
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { row } from './measure.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const SIZES = (process.env.KEYS ?? '250,1000').split(',').map(Number);
const ENTRY = `
export { fingerprint } from './src/crypto/fingerprint.ts';
export { parsePublicKey } from './src/crypto/formats/index.ts';
export { Secret } from './src/crypto/secret.ts';
export { localSigner } from './src/crypto/signer.ts';
export { ExchangeClock } from './src/deribit/clock.ts';
export { writeBackup } from './src/keystore/backup.ts';
export { openKeystore } from './src/keystore/keystore.ts';
export { openPrivateKey } from './src/keystore/open-key.ts';
export { localRecord, serialiseRecord } from './src/keystore/record.ts';
export { restoreBackup } from './src/keystore/restore.ts';
export { readPublicKey } from './src/keystore/stored-keys.ts';
export { doctor } from './src/workflows/checks/doctor.ts';
`;

async function load(folder) {
  const outfile = join(folder, 'keystore.mjs');
  await build({
    absWorkingDir: root,
    stdin: { contents: ENTRY, resolveDir: root, loader: 'ts' },
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    alias: {
      '#engine': join(root, 'src/crypto/engine/native.ts'),
      '#platform': join(root, 'src/deribit/platform/node.ts'),
    },
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    logLevel: 'error',
  });
  return import(outfile);
}

/** Writes a keystore of `count` keys as the package does, without its locks and flushes. */
async function fill(keys, folder, count) {
  mkdirSync(folder, { mode: 0o700 });
  for (let at = 0; at < count; at += 1) {
    const name = `key-${String(at).padStart(6, '0')}`;
    const pair = generateKeyPairSync('ed25519');
    const publicKey = pair.publicKey.export({ type: 'spki', format: 'pem' });
    const fingerprint = keys.fingerprint(await keys.parsePublicKey(publicKey));
    const fields = { name, algorithm: 'ed25519', bits: null, fingerprint, publicKey, encrypted: false };
    const record = keys.localRecord({ ...fields, createdAt: new Date().toISOString() });
    const write = (suffix, content) => writeFileSync(join(folder, `${name}${suffix}`), content, { mode: 0o600 });
    write('.pem', pair.privateKey.export({ type: 'pkcs8', format: 'pem' }));
    write('.pub.pem', publicKey);
    write('.json', keys.serialiseRecord(record));
  }
}

async function timesOf(keys, folder, count) {
  const store = keys.openKeystore(join(folder, `keys-${count}`));
  const backup = join(folder, `${count}.age`);
  const passphrase = new keys.Secret('correct horse');
  const times = {};
  const measure = async (what, work) => {
    const startMs = performance.now();
    await work();
    times[what] = performance.now() - startMs;
  };
  await measure('list', () => store.list());
  const { records } = await store.list();
  await measure('open and prove', async () => {
    for (const record of records) {
      await keys.readPublicKey(store, record);
      await keys.openPrivateKey(store, record);
    }
  });
  await measure('doctor --offline', async () => {
    const nowMs = Date.now;
    const context = {
      store,
      nowMs,
      clock: new keys.ExchangeClock({ nowMs, monotonicMs: () => performance.now() }),
      signerOf: async (record) => keys.localSigner(await keys.openPrivateKey(store, record)),
      onNote() {},
    };
    const request = { names: [], login: async () => null, target: {}, maxAgeMs: 1e12, offline: true };
    const { ok, findings } = await keys.doctor(context, request);
    if (!ok || findings.length < count)
      throw new Error(`doctor: ${findings.length} findings, ${ok ? 'fine' : 'not fine'}`);
  });
  await measure('backup', () => keys.writeBackup(store, { path: backup, passphrase }));
  const other = keys.openKeystore(join(folder, `restored-${count}`));
  await measure('restore', () => keys.restoreBackup(other, { path: backup, passphrase }));
  return times;
}

export async function bench() {
  const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-bench-'));
  try {
    const keys = await load(folder);
    const measured = [];
    for (const count of SIZES) {
      await fill(keys, join(folder, `keys-${count}`), count);
      const times = await timesOf(keys, folder, count);
      measured.push({ count, times, mib: process.memoryUsage().rss / 1024 / 1024 });
    }
    const [least, ...others] = measured;
    return others.flatMap(({ count, times, mib }) =>
      Object.entries(times).map(([what, ms]) => {
        const [each, eachOfLeast] = [ms / count, least.times[what] / least.count];
        const rate = `${each.toFixed(2)} : ${eachOfLeast.toFixed(2)} ms a key, ${Math.round(1000 / each)}/s, ${Math.round(mib)} MiB`;
        return row(
          `${what} of ${count} keys, a key beside one of ${least.count}`,
          each / eachOfLeast,
          { atMost: 2 },
          rate,
        );
      }),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
