import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { openKeystore } from '../../src/keystore/keystore.js';
import { openPrivateKey } from '../../src/keystore/open-key.js';
import { cli, temporaryFolder } from '../support/cli.js';
import { builtProgram, canRun, type ProcessEnd, runProcess } from '../support/program.js';
import { isRoot } from './support.js';

vi.setConfig({ testTimeout: 120_000 });

const program = builtProgram();
const hasStrace = await canRun('strace', '-f', 'true');
const hasSetpriv = isRoot && (await canRun('setpriv', '--reuid=12345', '--clear-groups', 'true'));

const run = (keysDir: string, ...args: readonly string[]) => cli([...args, '--keys-dir', keysDir, '--json']);
const runOwnProcess = (keysDir: string, ...args: readonly string[]) =>
  runProcess(process.execPath, [program.path, ...args, '--keys-dir', keysDir, '--json']);

/** The error of a command that must have failed, with one document on stderr and nothing on stdout. */
function failure(end: Pick<ProcessEnd, 'stdout' | 'stderr'>): { code: string; message: string; hint: string } {
  expect(end.stdout).toBe('');
  const { error } = JSON.parse(end.stderr) as { error: { code: string; message: string; hint: string } };
  return error;
}

function snapshot(folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => {
    return statSync(join(folder, file)).isFile() && !file.endsWith('.gitignore');
  });
  return Object.fromEntries(files.sort().map((file) => [file, readFileSync(join(folder, file), 'latin1')]));
}

const mounts: string[] = [];
afterEach(() => {
  for (const folder of mounts.splice(0)) spawnSync('umount', ['-l', folder]);
});

function mountSmall(options: string): string | null {
  const folder = join(temporaryFolder(), 'disk');
  mkdirSync(folder);
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder]).status !== 0) return null;
  mounts.push(folder);
  return folder;
}

const canMount = isRoot && (await canRun('unshare', '--mount', 'true'));

describe.skipIf(!canMount)('a disk that is full (needs root, to mount one)', () => {
  it('stops generate at whatever page it comes, with nothing changed, and generate works once there is room', async () => {
    const disk = mountSmall('size=80k,nr_inodes=64');
    if (disk === null) return expect.unreachable('the mount was refused');
    const filler = join(disk, 'filler');
    const codes: (number | null)[] = [];
    // from no page free to enough
    for (let pages = 0; pages <= 18; pages += 1) {
      const keys = join(disk, `keys${pages}`);
      writeFileSync(filler, '');
      const free = spawnSync('stat', ['-f', '-c', '%a', disk], { encoding: 'utf8' });
      writeFileSync(filler, Buffer.alloc(Math.max(0, (Number(free.stdout) - pages) * 4096)));
      const end = await run(keys, 'generate', 'bot');
      codes.push(end.exitCode);
      if (end.exitCode === 0) {
        expect((await openKeystore(keys).list()).records).toHaveLength(1);
      } else {
        const { code, message, hint } = failure(end);
        expect(`${pages} pages: ${code}`).toBe(`${pages} pages: ERR_KEYSTORE_IO`);
        expect(message).toContain('the disk is full');
        expect(hint).toContain('nothing was changed');
        const { 'audit.jsonl': log = '', ...files } = existsSync(keys) ? snapshot(keys) : {};
        expect(files).toEqual({});
        expect(log).not.toContain('\n');
        writeFileSync(filler, '');
        expect((await run(keys, 'generate', 'bot')).exitCode).toBe(0);
      }
      spawnSync('rm', ['-rf', keys]);
    }
    expect(codes[0]).toBe(1);
    expect(codes.at(-1)).toBe(0);
  });

  it('stops passphrase with the old key intact', async () => {
    const disk = mountSmall('size=256k,nr_inodes=128');
    if (disk === null) return expect.unreachable('the mount was refused');
    const keys = join(disk, 'keys');
    const secret = join(temporaryFolder(), 'secret');
    writeFileSync(secret, 'correct horse\n');
    await run(keys, 'generate', 'bot');
    const before = snapshot(keys);
    const filler = join(disk, 'filler');
    for (const pages of [0, 1, 2, 3]) {
      writeFileSync(filler, '');
      const free = spawnSync('stat', ['-f', '-c', '%a', disk], { encoding: 'utf8' });
      writeFileSync(filler, Buffer.alloc((Number(free.stdout) - pages) * 4096));
      const end = await run(keys, 'passphrase', 'bot', '--new-passphrase-file', secret);
      expect(failure(end).message).toContain('the disk is full');
      expect(snapshot(keys)).toEqual(before);
    }
  });

  it('that is read-only is one clear error, and reading works', async () => {
    const disk = mountSmall('size=256k');
    if (disk === null) return expect.unreachable('the mount was refused');
    const keys = join(disk, 'keys');
    await run(keys, 'generate', 'bot');
    const before = snapshot(keys);
    spawnSync('mount', ['-o', 'remount,ro', disk]);
    for (const args of [
      ['generate', 'new'],
      ['import', 'new', join(keys, 'bot.pem')],
      ['remove', 'bot'],
      ['passphrase', 'bot', '--remove'],
    ]) {
      const end = await run(keys, ...args);
      expect(end.exitCode).toBe(1);
      const { code, message } = failure(end);
      expect(code).toBe('ERR_KEYSTORE_IO');
      expect(message).toContain('the file system is read-only');
    }
    for (const args of [
      ['list'],
      ['show', 'bot'],
      ['fingerprint', 'bot'],
      ['sign', 'bot', '--client-id', 'x'],
      ['export', 'bot', '--public'],
      ['verify', 'bot'],
    ]) {
      const end = await run(keys, ...args);
      expect(`${args[0]}: ${end.exitCode} ${end.stderr}`).toBe(`${args[0]}: 0 `);
    }
    expect(snapshot(keys)).toEqual(before);
  });
});

describe.skipIf(!hasSetpriv)('another user’s keystore (needs root and setpriv)', () => {
  const asAnotherUser = (keysDir: string, ...args: readonly string[]) =>
    runProcess('setpriv', [
      '--reuid=12345',
      '--regid=12345',
      '--clear-groups',
      process.execPath,
      program.path,
      ...args,
      '--keys-dir',
      keysDir,
      '--json',
    ]);

  it('is one clear error for every command, and nothing is changed', async () => {
    const top = temporaryFolder();
    chmodSync(top, 0o755);
    chmodSync(join(program.path, '..'), 0o755);
    const keys = join(top, 'keys');
    await run(keys, 'generate', 'bot');
    const before = snapshot(keys);
    for (const args of [['generate', 'new'], ['list'], ['sign', 'bot', '--client-id', 'x'], ['remove', 'bot']]) {
      const end = await asAnotherUser(keys, ...args);
      expect([1, 3]).toContain(end.exitCode);
      expect(failure(end).message).toContain('permission denied');
    }
    // may look in, may not write
    chmodSync(keys, 0o755);
    const refused = await asAnotherUser(keys, 'generate', 'new');
    expect(failure(refused)).toMatchObject({ code: 'ERR_KEYSTORE_IO' });
    expect(failure(refused).message).toMatch(/permission denied .*belongs to the user root/);
    expect(snapshot(keys)).toEqual(before);
  });

  it('with a key that is readable for all is still not signed with', async () => {
    const top = temporaryFolder();
    chmodSync(top, 0o755);
    chmodSync(join(program.path, '..'), 0o755);
    const keys = join(top, 'keys');
    await run(keys, 'generate', 'bot');
    chmodSync(keys, 0o755);
    for (const file of readdirSync(keys)) chmodSync(join(keys, file), 0o644);
    const end = await asAnotherUser(keys, 'sign', 'bot', '--client-id', 'x');
    expect(end.exitCode).toBe(3);
    expect(failure(end).code).toBe('ERR_PERMISSIONS');
    chownSync(join(keys, 'bot.pem'), 12_345, 12_345);
    chmodSync(join(keys, 'bot.pem'), 0o600);
    expect((await asAnotherUser(keys, 'sign', 'bot', '--client-id', 'x')).exitCode).toBe(0);
  });
});

describe.skipIf(!hasStrace)('a device that fails (needs strace)', () => {
  /** Runs with one thread for files, so that calls have an order, and makes the `nth` call of that name fail. */
  const failing = (call: string, nth: number, errno: string, keysDir: string, ...args: readonly string[]) =>
    runProcess(
      'strace',
      ['-f', '-qq', '-o', '/dev/null', '-e', `trace=${call}`, '-e', `inject=${call}:error=${errno}:when=${nth}`].concat(
        [process.execPath, program.path, ...args, '--keys-dir', keysDir, '--json'],
      ),
      { env: { UV_THREADPOOL_SIZE: '1' } },
    );

  it.each([
    ['fsync', 'EIO'],
    ['link', 'ENOSPC'],
    ['rename', 'EIO'],
    ['mkdir', 'ENOSPC'],
  ])('at each %s with %s leaves the key complete or absent, and says what to do', async (call, errno) => {
    let failures = 0;
    for (let nth = 1; ; nth += 1) {
      const keys = join(temporaryFolder(), 'keys');
      const end = await failing(call, nth, errno, keys, 'generate', 'bot');
      const store = openKeystore(keys);
      if (end.exitCode === 0) {
        expect((await store.list()).records).toHaveLength(1);
        break;
      }
      failures += 1;
      const { code, hint } = failure(end);
      expect(code).toBe('ERR_KEYSTORE_IO');
      await store.tidy();
      const { records, damaged } = await store.list();
      expect(damaged).toEqual([]);
      if (records[0] !== undefined) await openPrivateKey(store, records[0]);
      const left = existsSync(keys)
        ? readdirSync(keys).filter((file) => file !== '.gitignore' && file !== 'audit.jsonl')
        : [];
      expect(left).toEqual(records.length === 0 ? [] : ['bot.json', 'bot.pem', 'bot.pub.pem']);
      if (hint.includes('nothing was changed')) expect(records).toEqual([]);
      const again = await run(keys, 'generate', 'bot');
      expect(again.exitCode).toBe(records.length === 0 ? 0 : 1);
    }
    expect(failures).toBeGreaterThan(0);
  });
});

it('two processes that generate the same name at once: one wins, the other says so', async () => {
  for (let round = 0; round < 5; round += 1) {
    const keys = join(temporaryFolder(), 'keys');
    const ends = await Promise.all([1, 2, 3].map(() => runOwnProcess(keys, 'generate', 'bot')));
    expect(ends.map(({ exitCode }) => exitCode).sort()).toEqual([0, 1, 1]);
    for (const end of ends.filter(({ exitCode }) => exitCode === 1)) {
      expect(['ERR_NAME_TAKEN', 'ERR_LOCKED']).toContain(failure(end).code);
    }
    const winner = ends.find(({ exitCode }) => exitCode === 0);
    const { fingerprint } = JSON.parse(winner?.stdout ?? '') as { fingerprint: string };
    const store = openKeystore(keys);
    expect((await store.read('bot')).fingerprint).toBe(fingerprint);
    await openPrivateKey(store, await store.read('bot'));
    expect(readdirSync(keys).sort()).toEqual(['.gitignore', 'audit.jsonl', 'bot.json', 'bot.pem', 'bot.pub.pem']);
  }
});

it('two processes that import the same name at once: one wins, the other says so', async () => {
  const source = join(temporaryFolder(), 'keys');
  await run(source, 'generate', 'a');
  await run(source, 'generate', 'b');
  const keys = join(temporaryFolder(), 'keys');
  const ends = await Promise.all(
    ['a', 'b'].map((name) => runOwnProcess(keys, 'import', 'bot', join(source, `${name}.pem`))),
  );
  expect(ends.map(({ exitCode }) => exitCode).sort()).toEqual([0, 1]);
  const store = openKeystore(keys);
  await openPrivateKey(store, await store.read('bot'));
});
