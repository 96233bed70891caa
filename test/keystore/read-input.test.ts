import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, createWriteStream, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { localSigner } from '../../src/crypto/signer.js';
import { readAudit } from '../../src/keystore/audit-log.js';
import { createBreather } from '../../src/keystore/files.js';
import { openPrivateKey } from '../../src/keystore/open-key.js';
import { describeSharedFile, readInput, readPrivateFile } from '../../src/keystore/permissions.js';
import { loadSigner } from '../../src/workflows/library.js';
import { cli, temporaryFolder } from '../support/cli.js';
import { codeOf, errorOf } from '../support/outcomes.js';
import { builtProgram, canRun } from '../support/program.js';
import { addKey, newStore } from './support.js';

const hasBash = await canRun('bash', '-c', 'cat <(true)');
const program = builtProgram();

function makeFifo(): string {
  const path = join(temporaryFolder(), 'pipe');
  execFileSync('mkfifo', ['-m', '600', path]);
  return path;
}

describe.skipIf(process.platform === 'win32')('a file that the user names', () => {
  it('is read up to its largest size', async () => {
    const path = join(temporaryFolder(), 'file');
    writeFileSync(path, 'text');
    expect(String(await readInput(path, { maxBytes: 4 }))).toBe('text');
    expect((await errorOf(readInput(path, { maxBytes: 3 }))).message).toContain('4 bytes');
  });

  it('can be a pipe, whose writer comes late and writes in pieces', async () => {
    const path = makeFifo();
    const reading = readInput(path);
    const writer = spawn('sh', ['-c', 'sleep 0.1; (printf one; sleep 0.1; printf two) > "$0"', path]);
    expect(String(await reading)).toBe('onetwo');
    writer.kill();
  });

  it('is refused as a pipe that holds too much', async () => {
    const path = makeFifo();
    const reading = errorOf(readInput(path, { maxBytes: 10 }));
    const writer = createWriteStream(path);
    writer.on('error', () => {});
    writer.end('x'.repeat(11));
    expect((await reading).message).toContain('more than 10 bytes');
  });

  it('is refused as a pipe that nobody writes to, after a while', async () => {
    const path = makeFifo();
    const real = performance.now.bind(performance);
    const startMs = real();
    vi.spyOn(performance, 'now').mockImplementation(() => startMs + (real() - startMs) * 100);
    expect((await errorOf(readInput(path))).message).toContain('nothing was written to it for 10 s');
    vi.restoreAllMocks();
  });

  it('ends the wait for a pipe when the user interrupts it', async () => {
    const abort = new AbortController();
    const reading = codeOf(readInput(makeFifo(), { signal: abort.signal }));
    abort.abort();
    expect(await reading).toBe('ERR_INTERRUPTED');
  });

  it('is refused as a folder or an endless device', async () => {
    const folder = join(temporaryFolder(), 'folder');
    mkdirSync(folder);
    expect((await errorOf(readInput(folder))).message).toContain('is a folder');
    expect((await errorOf(readInput('/dev/zero'))).message).toContain('more than');
    expect(String(await readInput('/dev/null'))).toBe('');
  });

  it('can be a private key in a pipe that only its owner can read', async () => {
    const store = newStore();
    const { key } = await addKey(store, 'bot');
    const path = makeFifo();
    const loading = loadSigner({ file: path });
    spawn('sh', ['-c', 'cat "$1" > "$0"', path, store.files('bot').privateKey]);
    expect((await loading).publicKey.equals(localSigner(key).publicKey)).toBe(true);
    chmodSync(path, 0o644);
    expect(await codeOf(readPrivateFile(path))).toBe('ERR_PERMISSIONS');
  });
});

describe.skipIf(!hasBash)('a process substitution (needs bash)', () => {
  it.each([
    ['a key', 'import new <(cat "$KEY")'],
    ['a key by /dev/stdin', 'import new /dev/stdin < <(cat "$KEY")'],
    ['a passphrase', 'generate new --encrypt --passphrase-file <(printf "correct horse")'],
  ])('is read as %s', async (_what, words) => {
    const store = newStore();
    await addKey(store, 'bot');
    const env = { ...process.env, KEY: store.files('bot').privateKey, DERIBIT_KEYS_DIR: store.folder };
    const { status, stderr } = spawnSync('bash', ['-c', `"${process.execPath}" "${program.path}" ${words}`], {
      env,
      encoding: 'utf8',
      timeout: 20_000,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    expect(`${status} ${stderr}`).toMatch(/^0 /);
    expect((await store.list()).records.map(({ name }) => name)).toEqual(['bot', 'new']);
  });
});

describe.skipIf(process.platform === 'win32')('a secret that other users can read', () => {
  it('is told about when a private key is imported from it', async () => {
    const store = newStore();
    await addKey(store, 'bot');
    const path = join(temporaryFolder(), 'shared.pem');
    execFileSync('cp', [store.files('bot').privateKey, path]);
    chmodSync(path, 0o644);
    const shared = await cli(['import', 'one', path, '--keys-dir', store.folder]);
    expect(shared.exitCode).toBe(0);
    expect(shared.stderr).toContain(`other users can read ${path} (mode 0644): chmod 600 ${path}`);
    chmodSync(path, 0o600);
    expect((await cli(['import', 'two', path, '--keys-dir', store.folder])).stderr).not.toContain('other users');
  });

  it('is told about only if it is a file that this user can change', async () => {
    const { statSync } = await import('node:fs');
    const path = join(temporaryFolder(), 'secret');
    writeFileSync(path, 'x');
    const told = (mode: number) => {
      chmodSync(path, mode);
      return describeSharedFile(path, statSync(path)) !== null;
    };
    expect([0o644, 0o640, 0o660, 0o444, 0o600, 0o400].map(told)).toEqual([true, true, true, false, false, false]);
    expect(describeSharedFile(path, statSync('/dev/null'))).toBeNull();
  });
});

describe.skipIf(process.platform === 'win32')('a pipe in the place of a file of the keystore', () => {
  it('is refused at once and by its name, where a private key should be', async () => {
    const store = newStore();
    await addKey(store, 'bot');
    const { privateKey } = store.files('bot');
    rmSync(privateKey);
    execFileSync('mkfifo', ['-m', '600', privateKey]);
    const error = await errorOf(store.read('bot').then((record) => openPrivateKey(store, record)));
    expect(error).toMatchObject({ code: 'ERR_KEY_UNREADABLE' });
    expect(error.message).toBe(`${privateKey} is a pipe, not a regular file`);
  });

  it('is refused at once and by its name, where the audit log should be', async () => {
    const store = newStore();
    await addKey(store, 'bot');
    const log = join(store.folder, 'audit.jsonl');
    rmSync(log);
    execFileSync('mkfifo', ['-m', '600', log]);
    for (const work of [() => store.audit({ action: 'test' }), () => readAudit(store.folder)]) {
      const error = await errorOf(work());
      expect(error.message).toBe(`${log} is a pipe, not a regular file`);
      expect(error.hint).toContain('put a regular file in its place');
    }
  });
});

it('a loop over many keys lets signals and timers through', async () => {
  const breathe = createBreather();
  let heard = false;
  setImmediate(() => {
    heard = true;
  });
  const startMs = performance.now();
  while (!heard && performance.now() - startMs < 10_000) await breathe();
  expect(heard).toBe(true);
});
