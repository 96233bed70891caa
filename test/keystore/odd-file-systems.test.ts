import { chmodSync, existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { isDeribitKeysError } from '../../src/errors.js';
import { temporaryFolder } from '../support/cli.js';
import { codeOf, errorOf } from '../support/outcomes.js';
import { filesOf, filesOfKey, newStore } from './support.js';

/*
 * File systems that do not do as they are told: one that ignores modes (WSL's /mnt/c, Docker Desktop, FAT), and one that
 * fails as the log of a change is dropped.
 */

const odd = vi.hoisted(() => ({ ignoresModes: false, keepsCommits: false }));

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const { basename } = await import('node:path');
  const { chmodSync: chmod } = await import('node:fs');
  const open: typeof real.open = async (path, ...words) => {
    const handle = await real.open(path, ...words);
    if (odd.ignoresModes && typeof words[0] === 'string') chmod(String(path), 0o777);
    return handle;
  };
  const mkdir = async (path: string, options: object) => {
    const made = await real.mkdir(path, options);
    if (odd.ignoresModes) chmod(path, 0o777);
    return made;
  };
  const isCommit = (path: string) => odd.keepsCommits && /^\..*\.commit$/.test(basename(path));
  const fail = () => Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' }));
  return {
    ...real,
    open,
    mkdir,
    rename: (from: string, to: string) => (isCommit(from) ? fail() : real.rename(from, to)),
    rm: (path: string, options: object) => (isCommit(path) ? fail() : real.rm(path, options)),
  };
});

const { generate } = await import('../../src/keystore/stored-keys.js');
const { openPrivateKey } = await import('../../src/keystore/open-key.js');

afterEach(() => {
  odd.ignoresModes = false;
  odd.keepsCommits = false;
});

describe.skipIf(process.platform === 'win32')('a folder that ignores file modes', () => {
  it('is refused before a key is in it, with what to do', async () => {
    odd.ignoresModes = true;
    const store = newStore();
    const error = await errorOf(generate(store, 'bot', { type: 'ed25519' }));
    expect(error.code).toBe('ERR_PERMISSIONS');
    expect(error.message).toContain(store.folder);
    expect(error.message).toContain('0777');
    for (const way of ['--keys-dir', 'metadata', '--allow-insecure-permissions']) expect(error.hint).toContain(way);
    expect(filesOf(store)).toEqual([]);
  });

  it('is taken by choice, and so is the key in it', async () => {
    odd.ignoresModes = true;
    const store = newStore({ anyMode: true });
    const record = await generate(store, 'bot', { type: 'ed25519' });
    expect(statSync(store.files('bot').privateKey).mode & 0o777).toBe(0o777);
    expect(await codeOf(openPrivateKey(store, record))).toBe('ERR_PERMISSIONS');
    await openPrivateKey(store, record, { permissions: 'any' });
  });

  it('is not one that others can list', async () => {
    const store = newStore();
    await generate(store, 'one', { type: 'ed25519' });
    chmodSync(store.folder, 0o755);
    await generate(store, 'two', { type: 'ed25519' });
  });
});

describe('a change that is done, but whose log cannot be dropped', () => {
  it('is a success, and the next command drops the log', async () => {
    const store = newStore();
    odd.keepsCommits = true;
    const record = await generate(store, 'bot', { type: 'ed25519' });
    expect(readdirSync(store.folder)).toContain('.bot.commit');
    await openPrivateKey(store, record);
    odd.keepsCommits = false;
    await store.tidy();
    expect(filesOf(store)).toEqual(filesOfKey('bot'));
    expect(await store.read('bot')).toEqual(record);
  });
});

describe('a folder that cannot be made', () => {
  it.skipIf(process.platform !== 'linux')('below /proc is an error, not an endless wait', async () => {
    const store = newStore();
    const { openKeystore } = await import('../../src/keystore/keystore.js');
    for (const folder of ['/proc/nope', '/proc/nope/below/it']) {
      const error = await errorOf(generate(openKeystore(folder), 'bot', { type: 'ed25519' }));
      expect(error.code).toBe('ERR_KEYSTORE_IO');
      expect(error.message).toContain(folder);
    }
    expect(existsSync(store.folder)).toBe(false);
  });

  it('because a file is in the way is an error that names it, and folders above it are made', async () => {
    const folder = temporaryFolder();
    const { openKeystore } = await import('../../src/keystore/keystore.js');
    const store = openKeystore(join(folder, 'a', 'b', 'keys'));
    await generate(store, 'bot', { type: 'ed25519' });
    expect(statSync(join(folder, 'a', 'b')).mode & 0o777).toBe(0o700);
    const below = openKeystore(join(store.files('bot').record, 'keys'));
    expect(await codeOf(generate(below, 'bot', { type: 'ed25519' }))).toBe('ERR_KEYSTORE_IO');
  });

  it('because the working directory was deleted is wrong usage', async () => {
    const { openKeystore } = await import('../../src/keystore/keystore.js');
    const cwd = vi.spyOn(process, 'cwd').mockImplementation(() => {
      throw Object.assign(new Error('uv_cwd'), { code: 'ENOENT' });
    });
    const opened = () => openKeystore('keys');
    expect(await codeOf(async () => opened())).toBe('ERR_USAGE');
    cwd.mockRestore();
    expect(isDeribitKeysError(opened)).toBe(false);
  });
});
