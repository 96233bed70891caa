import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { temporaryFolder } from '../support/cli.js';
import { codeOf, errorOf } from '../support/outcomes.js';
import { newStore } from './support.js';

const broken = vi.hoisted(() => ({
  link: null as string | null,
  rename: null as string | null,
  sync: null as string | null,
  write: null as string | null,
}));

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const failing = (call: 'link' | 'rename') => (from: string, to: string) => {
    const code = broken[call];
    return code === null ? real[call](from, to) : Promise.reject(Object.assign(new Error(code), { code }));
  };
  const open: typeof real.open = async (...words) => {
    const handle = await real.open(...words);
    const refuse = (code: string) => () => Promise.reject(Object.assign(new Error(code), { code }));
    if (broken.sync !== null) handle.sync = refuse(broken.sync);
    if (broken.write !== null) handle.writeFile = refuse(broken.write);
    return handle;
  };
  return { ...real, open, link: failing('link'), rename: failing('rename') };
});

const { errnoOf, explaining, fileError } = await import('../../src/keystore/file-errors.js');
const { createFile, readFileOrNull, replaceFile } = await import('../../src/keystore/files.js');
const { takeLock } = await import('../../src/keystore/lock.js');
const { generate } = await import('../../src/keystore/stored-keys.js');

afterEach(() => {
  broken.link = null;
  broken.rename = null;
  broken.sync = null;
  broken.write = null;
});

describe('a file', () => {
  it('is made completely or not at all, and never over another', async () => {
    const path = join(temporaryFolder(), 'file');
    await createFile(path, 'one', 0o644);
    expect(statSync(path).mode & 0o777).toBe(0o644);
    expect(await codeOf(createFile(path, 'two'))).toBe('ERR_NAME_TAKEN');
    expect(readFileSync(path, 'utf8')).toBe('one');
    expect(readdirSync(join(path, '..'))).toEqual(['file']);
  });

  it('is not made over a link that leads nowhere', async () => {
    const folder = temporaryFolder();
    symlinkSync('nowhere', join(folder, 'link'));
    expect(await codeOf(createFile(join(folder, 'link'), 'x'))).toBe('ERR_NAME_TAKEN');
    expect(readdirSync(folder)).toEqual(['link']);
  });

  it('that another process makes in between is not overwritten', async () => {
    const folder = temporaryFolder();
    broken.link = 'EEXIST';
    expect(await codeOf(createFile(join(folder, 'file'), 'x'))).toBe('ERR_NAME_TAKEN');
    expect(readdirSync(folder)).toEqual([]);
  });

  it('that cannot be written to its end is not left half', async () => {
    const folder = temporaryFolder();
    broken.sync = 'ENOSPC';
    for (const write of [createFile, replaceFile]) {
      expect((await errorOf(write(join(folder, 'file'), 'x'))).message).toContain('the disk is full');
    }
    expect(readdirSync(folder)).toEqual([]);
  });

  it('is replaced completely or not at all', async () => {
    const path = join(temporaryFolder(), 'file');
    writeFileSync(path, 'one');
    broken.rename = 'EIO';
    expect((await errorOf(replaceFile(path, 'two'))).message).toContain('the device reports an error');
    expect(readFileSync(path, 'utf8')).toBe('one');
    expect(readdirSync(join(path, '..'))).toEqual(['file']);
    broken.rename = null;
    await replaceFile(path, 'two');
    expect(readFileSync(path, 'utf8')).toBe('two');
  });

  it('is read up to its largest size, and only a file is', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'file'), 'text');
    expect(String(await readFileOrNull(join(folder, 'file'), 4))).toBe('text');
    expect((await errorOf(readFileOrNull(join(folder, 'file'), 3))).message).toContain('4 bytes');
    expect(await readFileOrNull(join(folder, 'none'))).toBe(null);
    mkdirSync(join(folder, 'folder'));
    expect((await errorOf(readFileOrNull(join(folder, 'folder')))).message).toContain('not a regular file');
    expect((await errorOf(readFileOrNull('/dev/zero'))).message).toContain('not a regular file');
  });

  it('that the system refuses is told in words', async () => {
    const refused = (code: string) => fileError(Object.assign(new Error('x'), { code }), 'write', '/a/b').message;
    expect(refused('ENOSPC')).toBe('cannot write /a/b: the disk is full');
    expect(refused('EDQUOT')).toContain('quota');
    expect(refused('EWHATEVER')).toBe('cannot write /a/b: EWHATEVER');
    expect(fileError('odd', 'write', '/a/b').message).toContain('refused');
    expect(errnoOf('odd')).toBe('');
    const own = await errorOf(explaining('write', '/a/b', () => readFileOrNull('/dev/zero')));
    expect(own.message).toContain('/dev/zero');
  });
});

describe('on a file system without hard links', () => {
  it('keys are stored, and names stay taken', async () => {
    broken.link = 'EPERM';
    const store = newStore();
    await generate(store, 'bot', { type: 'ed25519' });
    expect(readdirSync(store.folder).sort()).toEqual([
      '.gitignore',
      'audit.jsonl',
      'bot.json',
      'bot.pem',
      'bot.pub.pem',
    ]);
    expect(await codeOf(generate(store, 'bot', { type: 'ed25519' }))).toBe('ERR_NAME_TAKEN');
    expect(await codeOf(createFile(store.files('bot').record, 'x'))).toBe('ERR_NAME_TAKEN');
  });

  it('a lock keeps others out', async () => {
    broken.link = 'ENOTSUP';
    const folder = temporaryFolder();
    const lock = await takeLock(folder, 'bot', { waitMs: 50 });
    expect(await codeOf(takeLock(folder, 'bot', { waitMs: 50 }))).toBe('ERR_LOCKED');
    await lock.check();
    await lock.release();
    expect(readdirSync(folder)).toEqual([]);
    symlinkSync('nowhere', join(folder, '.bot.lock'));
    expect(await codeOf(takeLock(folder, 'bot', { waitMs: 50 }))).toBe('ERR_LOCKED');
    mkdirSync(join(folder, 'below'), { mode: 0o700 });
    broken.write = 'EIO';
    expect(await codeOf(takeLock(join(folder, 'below'), 'bot', { waitMs: 50 }))).toBe('ERR_KEYSTORE_IO');
    expect(readdirSync(join(folder, 'below'))).toEqual([]);
  });
});

it('a lock that the system refuses is told in words', async () => {
  broken.link = 'EACCES';
  const folder = temporaryFolder();
  expect((await errorOf(takeLock(folder, 'bot', { waitMs: 50 }))).message).toContain('permission denied');
  expect(readdirSync(folder)).toEqual([]);
});

describe('the error of a file system', () => {
  const of = (code: string, path: string) => fileError(Object.assign(new Error('x'), { code }), 'write', path);

  it.each([
    ['ENOENT', /check the path, or make its folder \(mkdir -p '\/no where'\)/],
    ['ENOTDIR', /check the path/],
    ['ENOSPC', /free some space/],
    ['EROFS', /name a place that can be written/],
    ['EBUSY', /fix that, then run the same command again/],
  ])('%s says what to do', (code, hint) => {
    expect(of(code, '/no where/file').hint).toMatch(hint);
  });

  it.skipIf(process.platform === 'win32')('for what belongs to another user says who could', () => {
    const geteuid = vi.spyOn(process, 'geteuid').mockReturnValue(12_345);
    const error = of('EACCES', '/etc/passwd');
    geteuid.mockRestore();
    expect(error.message).toBe('cannot write /etc/passwd: permission denied (/etc/passwd belongs to the user root)');
    expect(error.hint).toContain('run it as the user root, or name a file or folder of your own');
  });
});
