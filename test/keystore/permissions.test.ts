import { chmodSync, chownSync, lchownSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { generateKeyPair } from '../../src/crypto/generate.js';
import { encodePrivateKeyPem } from '../../src/crypto/pem.js';
import { type PermissionPolicy, readPrivateFile } from '../../src/keystore/permissions.js';
import { loadSigner } from '../../src/workflows/library.js';
import { cli, temporaryFolder } from '../support/cli.js';
import { errorOf } from '../support/outcomes.js';
import { addKey, isRoot, newStore } from './support.js';

const OTHER_USER = 12_345;

function keyFile(mode: number, folderMode = 0o700): string {
  const folder = join(temporaryFolder(), 'folder');
  mkdirSync(folder);
  const path = join(folder, 'key.pem');
  writeFileSync(path, 'the key');
  chmodSync(path, mode);
  chmodSync(folder, folderMode);
  return path;
}

const verdictOf = async (path: string, policy?: PermissionPolicy) => {
  try {
    return (await readPrivateFile(path, policy)).toString();
  } catch {
    return (await errorOf(readPrivateFile(path, policy))).code;
  }
};

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a private key’s file', () => {
  it.each([0o600, 0o400, 0o700, 0o500])('of mode %o is read', async (mode) => {
    expect(await verdictOf(keyFile(mode))).toBe('the key');
  });

  it.each([0o644, 0o640, 0o604, 0o660, 0o602, 0o601, 0o777])(
    'of mode %o is refused with the chmod to run',
    async (mode) => {
      const path = keyFile(mode);
      const error = await errorOf(readPrivateFile(path));
      expect(error.code).toBe('ERR_PERMISSIONS');
      expect(error.message).toContain(`0${mode.toString(8)}`);
      expect(error.hint).toContain(`chmod 600 ${path}`);
      expect(await verdictOf(path, 'any')).toBe('the key');
    },
  );

  it('gets a chmod that a shell takes, whatever its name', async () => {
    const path = join(temporaryFolder(), `it's a "key".pem`);
    writeFileSync(path, '', { mode: 0o644 });
    expect((await errorOf(readPrivateFile(path))).hint).toContain(`'\\''s a "key".pem'`);
  });

  it('that is not there, is a folder, or is too large, is told by its path', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'large'), Buffer.alloc(65 * 1024), { mode: 0o600 });
    mkdirSync(join(folder, 'folder'), { mode: 0o700 });
    for (const file of ['none', 'none/below', 'folder', 'large']) {
      const error = await errorOf(readPrivateFile(join(folder, file)));
      expect(error.code).toBe('ERR_KEY_UNREADABLE');
      expect(error.message).toContain(join(folder, file));
    }
  });

  it.each([
    [0o777, 'ERR_PERMISSIONS'],
    [0o772, 'ERR_PERMISSIONS'],
    [0o1777, 'the key'],
    [0o755, 'the key'],
    [0o770, 'the key'],
  ])('in a folder of mode %o: %s', async (mode, verdict) => {
    const path = keyFile(0o600, mode);
    expect(await verdictOf(path)).toBe(verdict);
    expect(await verdictOf(path, 'any')).toBe('the key');
  });

  it('behind a symbolic link is judged by itself, and by the folder that it is in', async () => {
    const link = join(temporaryFolder(), 'link.pem');
    symlinkSync(keyFile(0o600), link);
    expect(await verdictOf(link)).toBe('the key');
    const loose = join(temporaryFolder(), 'loose.pem');
    symlinkSync(keyFile(0o644), loose);
    expect(await verdictOf(loose)).toBe('ERR_PERMISSIONS');
    const swappable = join(temporaryFolder(), 'swappable.pem');
    symlinkSync(keyFile(0o600, 0o777), swappable);
    expect(await verdictOf(swappable)).toBe('ERR_PERMISSIONS');
  });

  it('is not checked on a platform without modes', async () => {
    vi.spyOn(process, 'platform', 'get').mockReturnValue('win32');
    expect(await verdictOf(keyFile(0o644))).toBe('the key');
  });
});

describe.skipIf(!isRoot)('with other users’ files (needs root)', () => {
  const me = (uid: number) => vi.spyOn(process as { geteuid(): number }, 'geteuid').mockReturnValue(uid);

  it.each([
    [0o400, 'strict', 'the key'],
    [0o440, 'strict', 'ERR_PERMISSIONS'],
    [0o440, 'mounted', 'the key'],
    [0o640, 'mounted', 'the key'],
    [0o444, 'mounted', 'ERR_PERMISSIONS'],
    [0o460, 'mounted', 'ERR_PERMISSIONS'],
    [0o444, 'any', 'the key'],
  ] as const)('a mount of root’s, mode %o, read with the policy %s: %s', async (mode, policy, verdict) => {
    // as Kubernetes lays it out: key.pem -> ..data/key.pem, ..data -> ..2026_11_23
    const mount = join(temporaryFolder(), 'mount');
    mkdirSync(join(mount, '..2026_11_23'), { recursive: true });
    writeFileSync(join(mount, '..2026_11_23/key.pem'), 'the key');
    chmodSync(join(mount, '..2026_11_23/key.pem'), mode);
    symlinkSync('..2026_11_23', join(mount, '..data'));
    symlinkSync('..data/key.pem', join(mount, 'key.pem'));
    chmodSync(mount, 0o1777);
    me(OTHER_USER);
    expect(await verdictOf(join(mount, 'key.pem'), policy)).toBe(verdict);
  });

  it('says which option takes a mounted key', async () => {
    expect((await errorOf(readPrivateFile(keyFile(0o440)))).hint).toContain('--allow-mounted');
    const { hint } = await errorOf(readPrivateFile(keyFile(0o444)));
    expect(hint).not.toContain('--allow-mounted');
    for (const setting of ['defaultMode: 0440', 'mode: 0400']) expect(hint).toContain(setting);
  });

  it('a group may read a file of one’s own neither as a mount nor otherwise', async () => {
    const path = keyFile(0o440);
    chownSync(path, OTHER_USER, OTHER_USER);
    me(OTHER_USER);
    for (const policy of ['strict', 'mounted'] as const) expect(await verdictOf(path, policy)).toBe('ERR_PERMISSIONS');
  });

  it('a file, a folder and a link of another user are refused, each by name', async () => {
    const file = keyFile(0o600);
    chownSync(file, OTHER_USER, OTHER_USER);
    expect((await errorOf(readPrivateFile(file))).message).toMatch(
      /private key .* belongs to another user \(uid 12345\)/,
    );

    const inFolder = keyFile(0o600);
    chownSync(join(inFolder, '..'), OTHER_USER, OTHER_USER);
    expect((await errorOf(readPrivateFile(inFolder))).message).toMatch(/folder .* belongs to another user/);

    const link = join(temporaryFolder(), 'link.pem');
    symlinkSync(keyFile(0o600), link);
    lchownSync(link, OTHER_USER, OTHER_USER);
    expect((await errorOf(readPrivateFile(link))).message).toMatch(/symbolic link of another user/);

    for (const path of [file, inFolder, link]) expect(await verdictOf(path, 'any')).toBe('the key');
  });
});

describe('commands and bots', () => {
  it('no private key is written to a folder in which other users can replace it', async () => {
    const folder = temporaryFolder();
    chmodSync(folder, 0o777);
    const generated = await cli(['generate', 'bot', '--keys-dir', folder]);
    expect(generated.exitCode).toBe(3);
    expect(generated.stderr).toContain(`anyone can replace files in the folder ${folder} (mode 0777)`);
    expect(generated.stderr).toContain(`run: chmod go-w ${folder}`);
    expect(readdirSync(folder).filter((file) => file.startsWith('bot'))).toEqual([]);
    const told = await cli(['generate', 'bot', '--keys-dir', folder, '--allow-insecure-permissions']);
    expect(told.exitCode).toBe(0);
    chmodSync(folder, 0o755);
    expect((await cli(['generate', 'second', '--keys-dir', folder])).exitCode).toBe(0);
  });

  it('a stored key that others can read signs only with --allow-insecure-permissions', async () => {
    const store = newStore();
    await addKey(store, 'bot');
    const path = store.files('bot').privateKey;
    chmodSync(path, 0o644);
    const sign = ['sign', 'bot', '--client-id', 'AbCdEf12', '--keys-dir', store.folder];
    const refused = await cli([...sign, '--json']);
    expect(refused.exitCode).toBe(3);
    expect(refused.stdout).toBe('');
    expect(refused.error()).toMatchObject({ code: 'ERR_PERMISSIONS', hint: `run: chmod 600 ${path}` });
    expect((await cli([...sign, '--allow-mounted'])).exitCode).toBe(3);
    const signed = await cli([...sign, '--allow-insecure-permissions']);
    expect(signed.exitCode).toBe(0);
    expect(signed.json()).toMatchObject({ client_id: 'AbCdEf12' });
  });

  it.skipIf(!isRoot)('a stored key that is a link to a mount signs with --allow-mounted (needs root)', async () => {
    const store = newStore();
    const { key } = await addKey(store, 'bot');
    const { privateKey } = store.files('bot');
    const { rmSync } = await import('node:fs');
    const mounted = keyFile(0o440, 0o755);
    writeFileSync(mounted, encodePrivateKeyPem(key));
    rmSync(privateKey);
    symlinkSync(mounted, privateKey);
    const sign = ['sign', 'bot', '--client-id', 'AbCdEf12', '--keys-dir', store.folder];
    expect((await cli(sign)).exitCode).toBe(3);
    expect((await cli([...sign, '--allow-mounted'])).exitCode).toBe(0);
    expect((await cli([...sign, '--allow-insecure-permissions'])).exitCode).toBe(0);
    await expect(loadSigner({ file: privateKey })).rejects.toMatchObject({ code: 'ERR_PERMISSIONS' });
    expect((await loadSigner({ file: privateKey, permissions: 'mounted' })).algorithm).toBe('ed25519');
    chmodSync(mounted, 0o400);
    expect((await cli(sign)).exitCode).toBe(0);
    expect((await loadSigner({ file: privateKey })).algorithm).toBe('ed25519');
  });

  it('a bot’s key file is checked in the same way', async () => {
    const path = keyFile(0o600);
    writeFileSync(path, encodePrivateKeyPem(await generateKeyPair({ type: 'ed25519' })));
    expect((await loadSigner({ file: path })).algorithm).toBe('ed25519');
    chmodSync(path, 0o640);
    await expect(loadSigner({ file: path })).rejects.toMatchObject({ code: 'ERR_PERMISSIONS' });
    expect((await loadSigner({ file: path, permissions: 'any' })).algorithm).toBe('ed25519');
  });
});
