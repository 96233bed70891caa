import { execFileSync, spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Secret } from '../../../src/crypto/secret.js';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import type { Rotation } from '../../../src/workflows/rotation/rotate.js';
import { cli, temporaryFolder } from '../../support/cli.js';
import { type Desk, filesOf, keyOf, openDesk, recordOf } from '../../support/desk.js';
import { expectSettled, loginOf, makeKey, openRotationWorld } from '../../support/rotation-world.js';
import { onTerminal } from '../../support/terminal.js';

let sandbox: Sandbox;
let desk: Desk;
beforeEach(async () => {
  sandbox = await startSandbox();
  desk = openDesk(sandbox);
});
afterEach(() => sandbox.close());

const rotation = (argv: readonly string[], options?: Parameters<Desk['json']>[1]) =>
  desk.json<Rotation>(['rotate', ...argv], options);
const names = async () => (await desk.json<{ name: string }[]>(['list'])).map(({ name }) => name);
const methods = () => sandbox.calls.map(({ method }) => method.replace(/^\w+\//, ''));

describe.each(['http', 'ws'] as const)('over %s', (kind) => {
  beforeEach(() => {
    desk = openDesk(sandbox, desk.folder, { via: kind });
  });

  test('a successor with the same scope, features, whitelist and label takes over, and the old key goes', async () => {
    const options = ['--label', 'lisbon', '--feature', 'block_trade_approval', '--ip', '127.0.0.1'];
    const old = await desk.register('bot', 'account:read trade:read_write', ...options);
    const oldPem = await readFile(filesOf(desk.folder, 'bot').privateKey);
    const before = await recordOf(desk.folder, 'bot');
    const done = await rotation(['bot']);
    expect(Object.keys(done).slice(0, 2)).toEqual(['name', 'state']);
    expect(done).toMatchObject({
      name: 'bot',
      state: 'done',
      previousClientId: old.clientId,
      previousFingerprint: before.fingerprint,
      graceUntil: null,
    });
    expect(done.previousName).toMatch(/^bot\.\d{8}T\d{6}Z$/);
    expect(keyOf(sandbox, old.clientId)).toBeUndefined();
    expect(keyOf(sandbox, done.clientId ?? '')).toMatchObject({
      name: 'lisbon',
      max_scope: 'account:read trade:read_write',
      enabled: true,
      enabled_features: ['block_trade_approval'],
      ip_whitelist: ['127.0.0.1'],
      client_secret: done.fingerprint,
    });
    expect(await recordOf(desk.folder, 'bot')).toMatchObject({
      state: 'registered',
      clientId: done.clientId,
      fingerprint: done.fingerprint,
      label: 'lisbon',
      url: before.url,
      environment: before.environment,
      algorithm: 'ed25519',
    });
    const kept = filesOf(desk.folder, done.previousName ?? '');
    expect(await readFile(kept.privateKey)).toEqual(oldPem);
    expect((await stat(kept.privateKey)).mode & 0o777).toBe(0o600);
    expect((await stat(filesOf(desk.folder, 'bot').privateKey)).mode & 0o777).toBe(0o600);
    expect(await recordOf(desk.folder, done.previousName ?? '')).toMatchObject({
      state: 'retired',
      clientId: old.clientId,
    });
    expect(await desk.json(['verify', 'bot'])).toMatchObject([{ ok: true }]);
    expect((await names()).sort()).toEqual(['bot', done.previousName]);
    expect(readdirSync(desk.folder).filter((file) => file.startsWith('.') && file !== '.gitignore')).toEqual([]);
  });

  test('the rotating key itself may be the login, where its scope allows', async () => {
    await desk.register('admin', 'account:read_write trade:read');
    const asItself = await rotation(['admin', '--as', 'admin'], { login: null });
    expect(asItself.state).toBe('done');
    const without = await rotation(['admin'], { login: null });
    expect(without).toMatchObject({ state: 'done', previousClientId: asItself.clientId });
    await desk.register('trader', 'trade:read_write');
    const refused = await desk.run(['rotate', 'trader'], { login: null });
    expect([refused.exitCode, refused.error().code]).toEqual([5, 'ERR_UNAUTHORIZED']);
    expect(sandbox.keys()).toHaveLength(3);
  });
});

test('the old key stays enabled during the grace, and goes when it is over', async () => {
  let clockMs = Date.now();
  const world = openRotationWorld(sandbox, desk.folder, { nowMs: () => clockMs });
  const { clientId, fingerprint } = await makeKey(world, 'bot', 'trade:read');
  const first = await world.rotate('bot', { graceMs: 3_600_000 });
  expect(first).toMatchObject({ state: 'grace', graceUntil: new Date(clockMs + 3_600_000).toISOString() });
  expect(keyOf(sandbox, clientId)?.enabled).toBe(true);
  clockMs += 3_599_999;
  const calls = sandbox.calls.length;
  expect(await world.rotate('bot')).toEqual(first);
  expect(sandbox.calls.length).toBe(calls);
  const archived = await world.store.read(first.previousName ?? '');
  expect(archived).toMatchObject({ state: 'retired', clientId });
  clockMs += 1;
  expect(await world.rotate('bot')).toMatchObject({ state: 'done', clientId: first.clientId });
  await expectSettled(world, 'bot', fingerprint);
});

test('a key that is not registered is refused in words, with the command that registers it', async () => {
  await desk.json(['generate', 'r1']);
  const refused = await desk.fails(['rotate', 'r1']);
  expect(refused).toMatchObject({
    code: 'ERR_STATE',
    message: 'the key "r1" is not registered: only a registered key can be rotated',
    hint: expect.stringContaining('register r1 --scope'),
  });
});

test('list and show tell of the grace of the old key, and of nothing once it is over', async () => {
  const old = await desk.register('bot');
  const { previousName, graceUntil } = await rotation(['bot', '--grace', '36h']);
  const underWay = { stage: 'promoted', previousName, previousClientId: old.clientId, graceUntil };
  expect((await desk.json(['show', 'bot'])).rotation).toEqual(underWay);
  expect((await desk.json(['show', previousName ?? ''])).rotation).toEqual(underWay);
  const words = `the old key ${old.clientId} (${previousName}) stays enabled until ${graceUntil}`;
  const people = { env: desk.env };
  expect((await cli(['show', 'bot'], people)).stdout).toContain(words);
  const list = await cli(['list'], people);
  expect(list.stderr.split('\n').filter((line) => line.includes(words))).toHaveLength(1);
  await rotation(['bot', '--grace', '0s']);
  const records = await desk.json<{ rotation: unknown }[]>(['list']);
  expect(records.map(({ rotation: none }) => none)).toEqual([null, null]);
});

test('the grace can be ended early or made longer, and gone back from', async () => {
  const old = await desk.register('bot', 'trade:read');
  const begun = await rotation(['bot', '--grace', '36h']);
  expect(Date.parse(begun.graceUntil ?? '') - Date.now()).toBeGreaterThan(35.9 * 3_600_000);
  expect((await rotation(['bot', '--grace', '90d'])).graceUntil).not.toBe(begun.graceUntil);
  const aborted = await rotation(['bot', '--abort']);
  expect(aborted).toMatchObject({
    state: 'aborted',
    clientId: old.clientId,
    previousClientId: begun.clientId,
    previousFingerprint: begun.fingerprint,
  });
  expect(keyOf(sandbox, begun.clientId ?? '')).toBeUndefined();
  expect(await names()).toEqual(['bot']);
  expect(await recordOf(desk.folder, 'bot')).toMatchObject({ state: 'registered', clientId: old.clientId });
  expect(await desk.json(['verify', 'bot'])).toMatchObject([{ ok: true }]);
  await rotation(['bot', '--grace', '1w']);
  expect(await rotation(['bot', '--grace', '0s'])).toMatchObject({ state: 'done', previousClientId: old.clientId });
});

test('an old key that was disabled on the way is enabled again by --abort', async () => {
  const old = await desk.register('bot', 'trade:read');
  sandbox.setFaults(['cut-before@private/remove_api_keyx1']);
  const cut = await desk.run(['rotate', 'bot']);
  expect([cut.exitCode, cut.error().hint]).toEqual([4, expect.stringContaining('rotate bot --abort undoes it')]);
  expect(keyOf(sandbox, old.clientId)?.enabled).toBe(false);
  expect(await rotation(['bot', '--abort'])).toMatchObject({ state: 'aborted', clientId: old.clientId });
  expect(keyOf(sandbox, old.clientId)?.enabled).toBe(true);
  expect(sandbox.keys()).toHaveLength(2);
});

test('there is no way back once the old key is removed, and the rotation is then ended', async () => {
  await desk.register('bot', 'trade:read');
  sandbox.setFaults(['cut-after@private/remove_api_keyx1']);
  expect((await desk.run(['rotate', 'bot'])).exitCode).toBe(4);
  const late = await desk.run(['rotate', 'bot', '--abort']);
  expect([late.exitCode, late.error().message]).toEqual([1, expect.stringContaining('cannot be aborted')]);
  expect(late.error().hint).toBe('finish the rotation with: deribit-keys rotate bot');
  expect(await rotation(['bot'])).toMatchObject({ state: 'done' });
  const none = await desk.run(['rotate', 'bot', '--abort']);
  expect([none.exitCode, none.error().code]).toEqual([1, 'ERR_STATE']);
});

describe('what kind of key follows', () => {
  test('is the same as before where nothing is said, and what was chosen else', async () => {
    await desk.json(['generate', 'bot', '--type', 'rsa', '--bits', '2048']);
    await desk.json(['register', 'bot', '--scope', 'trade:read']);
    await rotation(['bot']);
    expect(await recordOf(desk.folder, 'bot')).toMatchObject({ algorithm: 'rsa', bits: 2048 });
    await rotation(['bot', '--type', 'ed25519']);
    expect(await recordOf(desk.folder, 'bot')).toMatchObject({ algorithm: 'ed25519', bits: null });
    await rotation(['bot', '--type', 'rsa', '--bits', '2048']);
    expect(await recordOf(desk.folder, 'bot')).toMatchObject({ algorithm: 'rsa', bits: 2048 });
    expect(await desk.json(['verify', 'bot'])).toMatchObject([{ ok: true }]);
  });

  test('cannot be changed once the successor is being made', async () => {
    await desk.register('bot', 'trade:read');
    sandbox.setFaults(['cut-before@private/create_api_keyx1']);
    expect((await desk.run(['rotate', 'bot'])).exitCode).toBe(4);
    const other = await desk.run(['rotate', 'bot', '--type', 'rsa']);
    expect([other.exitCode, other.error().message]).toEqual([1, expect.stringContaining('ed25519')]);
    expect(await rotation(['bot', '--type', 'ed25519'])).toMatchObject({ state: 'done' });
  });

  test('must make sense', async () => {
    await desk.register('bot', 'trade:read');
    for (const argv of [
      ['bot', '--bits', '2048'],
      ['bot', '--bits', '1024'],
      ['bot', '--grace', 'soon'],
      ['bot', '--older-than', '1d'],
      ['bot', '--all'],
      ['bot', '--abort', '--grace', '1d'],
      [],
    ]) {
      expect([argv, (await desk.run(['rotate', ...argv])).exitCode]).toEqual([argv, 2]);
    }
    expect(await names()).toEqual(['bot']);
  });
});

describe('an encrypted key', () => {
  const env = { DERIBIT_KEYS_PASSPHRASE: 'the right one' };

  test('has a successor under the same passphrase, and stays as it is under its new name', async () => {
    await desk.json(['generate', 'bot', '--encrypt'], { env });
    await desk.json(['register', 'bot', '--scope', 'trade:read'], { env });
    const done = await rotation(['bot'], { env });
    for (const name of ['bot', done.previousName ?? '']) {
      const { privateKey } = filesOf(desk.folder, name);
      expect(await readFile(privateKey, 'utf8')).toContain('BEGIN ENCRYPTED PRIVATE KEY');
      expect(await recordOf(desk.folder, name)).toMatchObject({ encrypted: true });
      const shown = execFileSync('openssl', ['pkey', '-in', privateKey, '-passin', 'pass:the right one', '-pubout']);
      expect(shown.toString()).toBe(await readFile(filesOf(desk.folder, name).publicKey, 'utf8'));
    }
  });

  test('is not rotated under a wrong passphrase or none: nothing is made', async () => {
    await desk.json(['generate', 'bot', '--encrypt'], { env });
    await desk.json(['register', 'bot', '--scope', 'trade:read'], { env });
    const wrong = await desk.run(['rotate', 'bot'], { env: { DERIBIT_KEYS_PASSPHRASE: 'another one' } });
    expect([wrong.exitCode, wrong.error().code]).toEqual([3, 'ERR_PASSPHRASE_WRONG']);
    const none = await desk.run(['rotate', 'bot']);
    expect([none.exitCode, none.error().code]).toEqual([3, 'ERR_PASSPHRASE_REQUIRED']);
    expect(await names()).toEqual(['bot']);
    expect(sandbox.keys()).toHaveLength(2);
    const { privateKey } = filesOf(desk.folder, 'bot');
    expect(readdirSync(desk.folder).some((file) => file.includes('rotation'))).toBe(false);
    expect(await readFile(privateKey, 'utf8')).toContain('ENCRYPTED');
  });

  test('is asked for its passphrase once', async () => {
    await desk.json(['generate', 'bot', '--encrypt'], { env });
    await desk.json(['register', 'bot', '--scope', 'account:read_write trade:read'], { env });
    const result = await onTerminal(
      ['rotate', 'bot', '--as', 'bot'],
      { DERIBIT_KEYS_DIR: desk.folder },
      () => 'the right one',
    );
    expect([result.exitCode, result.asked]).toEqual([0, 1]);
    expect(result.stdout).toMatch(/state +done/);
  });
});

describe('before anything is made, it is looked at whether', () => {
  const untouched = async (code: string, argv: readonly string[] = ['rotate', 'bot']) => {
    const keys = JSON.stringify(sandbox.keys());
    const files = readdirSync(desk.folder);
    const result = await desk.run(argv);
    expect(result.error().code).toBe(code);
    expect(JSON.stringify(sandbox.keys())).toBe(keys);
    expect(readdirSync(desk.folder)).toEqual(files);
    return result;
  };

  test('the account has room for a successor', async () => {
    await desk.register('bot', 'trade:read');
    for (let count = 0; count < 6; count += 1) sandbox.addKey({ name: `k${count}` });
    expect(sandbox.keys()).toHaveLength(8);
    const { message, hint } = (await untouched('ERR_RPC')).error();
    expect(message).toContain('no room');
    expect(hint).not.toContain('under way');
  });

  test('the key is enabled on the exchange', async () => {
    await desk.register('bot', 'trade:read');
    await desk.json(['api-keys', 'disable', 'bot', '--yes']);
    await untouched('ERR_STATE');
  });

  test('the login may make a key of that scope', async () => {
    await desk.register('bot', 'wallet:read_write trade:read');
    await desk.register('admin', 'account:read_write');
    const result = await untouched('ERR_UNAUTHORIZED', ['rotate', 'bot', '--as', 'admin']);
    expect(result.exitCode).toBe(5);
  });

  test('the account has the key, and has the right one', async () => {
    const { clientId } = await desk.register('bot', 'trade:read');
    sandbox.setFaults(['wrong-fingerprint@private/list_api_keys']);
    await untouched('ERR_PROOF_FAILED');
    sandbox.clearFaults();
    const outsider = sandbox.addKey({ accountId: sandbox.accountIds[1] ?? 0 });
    const other = await desk.run(['rotate', 'bot'], {
      env: { DERIBIT_CLIENT_ID: outsider.client_id, DERIBIT_CLIENT_SECRET: outsider.client_secret },
    });
    expect(other.error().code).toBe('ERR_NOT_ON_EXCHANGE');
    expect(keyOf(sandbox, clientId)?.enabled).toBe(true);
  });

  test('the private key is a file of the keystore, and not a link to one elsewhere', async () => {
    await desk.register('bot', 'trade:read');
    const { privateKey } = filesOf(desk.folder, 'bot');
    const elsewhere = join(temporaryFolder(), 'bot.pem');
    await rename(privateKey, elsewhere);
    await symlink(elsewhere, privateKey);
    const { message } = (await untouched('ERR_STATE')).error();
    expect(message).toContain('symbolic link');
  });

  test('the key is a registered one', async () => {
    await desk.json(['generate', 'bot']);
    await untouched('ERR_STATE');
    expect((await desk.run(['rotate', 'nobody'])).exitCode).toBe(3);
    expect((await desk.run(['rotate', 'nobody', '--abort'])).exitCode).toBe(3);
  });
});

describe('a rotation that was interrupted', () => {
  const begin = async (fault: string) => {
    const old = await desk.register('bot', 'trade:read');
    sandbox.setFaults([fault]);
    expect((await desk.run(['rotate', 'bot'])).exitCode).toBe(4);
    sandbox.clearFaults();
    return old;
  };

  test('never makes a second successor', async () => {
    await begin('cut-after@private/create_api_keyx1');
    expect(sandbox.keys()).toHaveLength(3);
    expect(await rotation(['bot'])).toMatchObject({ state: 'done' });
    expect(methods().filter((method) => method === 'create_api_key')).toHaveLength(2);
    expect(sandbox.keys()).toHaveLength(2);
  });

  test('does not go on, and does not go back, in another account', async () => {
    const old = await begin('cut-after@private/create_api_keyx1');
    const outsider = sandbox.addKey({ accountId: sandbox.accountIds[1] ?? 0 });
    const env = { DERIBIT_CLIENT_ID: outsider.client_id, DERIBIT_CLIENT_SECRET: outsider.client_secret };
    for (const argv of [
      ['rotate', 'bot'],
      ['rotate', 'bot', '--abort'],
      ['rotate', 'bot'],
    ]) {
      const result = await desk.run(argv, { env });
      expect([argv, result.error().code]).toEqual([argv, 'ERR_NOT_ON_EXCHANGE']);
    }
    expect((await names()).some((name) => name.startsWith('bot.next-'))).toBe(true);
    expect(sandbox.keys()).toHaveLength(4);
    // the abort was started: it is ended before another rotation begins
    const done = await rotation(['bot']);
    expect(done).toMatchObject({ state: 'done', previousClientId: old.clientId });
    expect(sandbox.keys()).toHaveLength(3);
  });

  test('keeps the old key where the successor is no longer complete', async () => {
    const { clientId } = await desk.register('bot', 'trade:read');
    const begun = await rotation(['bot', '--grace', '1h']);
    await desk.json(['api-keys', 'disable', begun.clientId ?? '', '--yes']);
    const refused = await desk.run(['rotate', 'bot', '--grace', '0s']);
    expect(refused.error().code).toBe('ERR_PROOF_FAILED');
    expect(keyOf(sandbox, clientId)?.enabled).toBe(true);
    expect(await rotation(['bot', '--abort'])).toMatchObject({ state: 'aborted', clientId });
  });

  test('is not begun twice at a time', async () => {
    await desk.register('bot', 'trade:read');
    sandbox.setFaults(['delay@private/create_api_key:4000x1']);
    const [first, second] = await Promise.all([desk.run(['rotate', 'bot']), desk.run(['rotate', 'bot'])]);
    expect([first.exitCode, second.exitCode].sort()).toEqual([0, 1]);
    expect((first.exitCode === 0 ? second : first).error().code).toBe('ERR_LOCKED');
    expect(sandbox.keys()).toHaveLength(2);
  });

  test('whose journal is damaged is not guessed at', async () => {
    await begin('cut-before@private/create_api_keyx1');
    await writeFile(join(desk.folder, '.bot.rotation.json'), '{"schema":1}');
    const result = await desk.run(['rotate', 'bot']);
    expect([result.exitCode, result.error().code]).toEqual([3, 'ERR_RECORD_DAMAGED']);
  });
});

test('a whitelist that this address is not in keeps the login from being proved, and is told', async () => {
  const { clientId } = await desk.register('bot', 'trade:read', '--ip', '203.0.113.7');
  const world = openRotationWorld(sandbox, desk.folder);
  const begun = await world.rotate('bot', { graceMs: 3_600_000 });
  expect(begun.state).toBe('grace');
  expect(world.notes).toEqual(['creating the successor …']);
  await world.rotate('bot', { graceMs: 0 });
  expect(world.notes.at(-1)).toContain('may not be in its whitelist');
  expect(keyOf(sandbox, clientId)).toBeUndefined();
});

test('a successor that the exchange records wrongly is removed again, and the old key stays', async () => {
  const { clientId } = await desk.register('bot', 'trade:read');
  sandbox.setFaults(['swap-key@private/create_api_keyx1']);
  const result = await desk.run(['rotate', 'bot']);
  expect([result.exitCode, result.error().code]).toEqual([1, 'ERR_PROOF_FAILED']);
  expect(sandbox.keys()).toHaveLength(2);
  expect(keyOf(sandbox, clientId)?.enabled).toBe(true);
  expect(await rotation(['bot'])).toMatchObject({ state: 'done', previousClientId: clientId });
});

test('old pairs of the same second, and those of long names, get names of their own', async () => {
  const clockMs = Date.now();
  const world = openRotationWorld(sandbox, desk.folder, { nowMs: () => clockMs });
  const long = 'x'.repeat(64);
  await makeKey(world, long, 'trade:read');
  const first = await world.rotate(long);
  const second = await world.rotate(long);
  expect(first.previousName).toHaveLength(64);
  expect(second.previousName).toMatch(/Z-2$/);
  expect(new Set([first.previousName, second.previousName, long]).size).toBe(3);
  expect((await world.store.list()).records).toHaveLength(3);
});

test('neither key of a rotation that is under way leaves the keystore', async () => {
  await desk.register('bot', 'trade:read');
  const { previousName } = await rotation(['bot', '--grace', '1h']);
  for (const name of ['bot', previousName ?? '']) {
    const result = await desk.run(['remove', name, '--purge', '--yes']);
    expect([result.exitCode, result.error().message]).toEqual([1, expect.stringContaining('rotation')]);
  }
  await rotation(['bot', '--grace', '0s']);
  expect((await desk.run(['remove', previousName ?? '', '--yes'])).exitCode).toBe(0);
});

describe('rotate --all', () => {
  test('takes the keys of a certain age, the oldest first and the login last, and sums up', async () => {
    await desk.register('admin', 'account:read_write trade:read_write');
    await desk.register('old', 'trade:read');
    await desk.register('young', 'trade:read');
    for (const [name, days] of [
      ['admin', 100],
      ['old', 95],
    ] as const) {
      const record = await recordOf(desk.folder, name);
      const registeredAt = new Date(Date.now() - days * 86_400_000).toISOString();
      await writeFile(filesOf(desk.folder, name).record, JSON.stringify({ ...record, registeredAt }));
    }
    const all = ['rotate', '--all', '--as', 'admin'];
    const first = await desk.json<Rotation[]>([...all, '--older-than', '90d'], { login: null });
    expect(first.map(({ name, state }) => `${name} ${state}`)).toEqual(['old done', 'admin done']);
    expect(await desk.json(all, { login: null })).toEqual([]);
    const verified = await desk.json<{ ok: boolean }[]>(['verify', 'admin', 'old', 'young', '--as', 'admin']);
    expect(verified.map(({ ok }) => ok)).toEqual([true, true, true]);
  });

  test('ends rotations that are under way, goes on where one fails, and then exits with 1', async () => {
    await desk.register('one', 'trade:read');
    await desk.register('two', 'trade:read');
    await desk.register('three', 'trade:read');
    await rotation(['one', '--grace', '1h']);
    sandbox.setFaults(['error@private/create_api_key:11094x1']);
    const result = await desk.run(['rotate', '--all', '--older-than', '0s']);
    expect(result.exitCode).toBe(1);
    expect(result.json<unknown>()).toMatchObject([
      { name: 'two', state: 'failed', error: { code: 'ERR_RPC', hint: expect.stringContaining('under way') } },
      { name: 'three', state: 'done' },
      { name: 'one', state: 'grace' },
    ]);
    const people = await cli(['rotate', '--all', '--older-than', '9w', '--grace', '0s'], {
      env: {
        DERIBIT_KEYS_DIR: desk.folder,
        DERIBIT_KEYS_URL: desk.url,
        DERIBIT_CLIENT_ID: sandbox.clientId,
        DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
      },
    });
    expect([people.exitCode, people.stderr]).toEqual([
      0,
      expect.stringContaining('1 rotated, 1 in their grace period, 0 failed'),
    ]);
    // the grace of another key stays as it is, the key that is worked on is named, and a table has them all
    expect(people.stderr).toMatch(/rotating "two" \(\d of 2\)/);
    expect(people.stdout).toMatch(/^NAME +STATE +CLIENT ID +REPLACES +OLD PAIR$/m);
    expect(people.stdout).toMatch(/^one +grace until /m);
    expect(people.stdout).toMatch(/^two +done +/m);
    expect(await rotation(['one', '--grace', '0s'])).toMatchObject({ state: 'done' });
    expect(sandbox.keys()).toHaveLength(4);
  });

  test('does without a login where the keys can manage themselves', async () => {
    await desk.register('admin', 'account:read_write trade:read');
    await desk.register('trader', 'trade:read');
    const result = await desk.run(['rotate', '--all', '--older-than', '0s'], { login: null });
    expect(result.json<unknown>()).toMatchObject([
      { name: 'admin', state: 'done' },
      { name: 'trader', state: 'failed', error: { code: 'ERR_UNAUTHORIZED' } },
    ]);
  });
});

test('rotate --all says which keys it leaves out because they belong elsewhere, and why', async () => {
  await desk.register('here', 'trade:read');
  await desk.register('there', 'trade:read');
  const record = await recordOf(desk.folder, 'there');
  const url = 'wss://exchange.example/ws/api/v2';
  await writeFile(filesOf(desk.folder, 'there').record, JSON.stringify({ ...record, url }));
  const env = {
    DERIBIT_KEYS_DIR: desk.folder,
    DERIBIT_KEYS_URL: desk.url,
    DERIBIT_CLIENT_ID: sandbox.clientId,
    DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
  };
  const young = await cli(['rotate', '--all'], { env });
  expect([young.exitCode, young.stdout]).toEqual([0, '']);
  expect(young.stderr).toContain('is old enough');
  expect(young.stderr).not.toContain('left out');
  const asJson = await desk.json<Rotation[]>(['rotate', '--all', '--older-than', '0s']);
  expect(asJson.map(({ name }) => name)).toEqual(['here']);
  const people = await cli(['rotate', '--all', '--older-than', '0s'], { env });
  expect(people.exitCode).toBe(0);
  expect(people.stderr).toContain(`left out: "there" is registered at ${url}, not at ${desk.url}\n`);
  expect(people.stderr).toContain('1 rotated');
});

test('rotate --all lets the message of a failure steer no terminal', async () => {
  await desk.register('bot', 'trade:read');
  const record = await recordOf(desk.folder, 'bot');
  const clientId = 'AbCd\u001b]0;owned\u0007\nFAILED   nobody';
  await writeFile(filesOf(desk.folder, 'bot').record, JSON.stringify({ ...record, clientId }));
  const env = {
    DERIBIT_KEYS_DIR: desk.folder,
    DERIBIT_CLIENT_ID: sandbox.clientId,
    DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
  };
  const { exitCode, stdout } = await cli(['rotate', '--all', '--older-than', '0s', '--url', desk.url], { env });
  expect(exitCode).toBe(1);
  expect(stdout).toMatch(/\nFAILED {3}bot: .*AbCd\\x1b\]0;owned\\x07\\nFAILED {3}nobody.*\n+$/);
  expect(stdout.trimEnd().split('\n')).toHaveLength(3);
});

test('the own key, gone back from in its grace, logs in for its own rescue', async () => {
  const world = openRotationWorld(sandbox, desk.folder, { passphrase: new Secret('x').reveal() });
  const { clientId, fingerprint } = await makeKey(world, 'admin', 'account:read_write trade:read');
  await world.rotate('admin', { graceMs: 1_000_000, login: await loginOf(world, 'admin') });
  expect(await world.abort('admin', await loginOf(world, 'admin'))).toMatchObject({ clientId });
  await expectSettled(world, 'admin', fingerprint);
});

test('rotate --all reads the client secret once, and without a target goes where each key belongs', async () => {
  await desk.register('one', 'account:read_write');
  await desk.register('two', 'trade:read');
  const fifo = join(temporaryFolder(), 'secret');
  execFileSync('mkfifo', [fifo]);
  const writer = spawn('sh', ['-c', 'cat > "$0"', fifo], { stdio: ['pipe', 'ignore', 'inherit'] });
  writer.stdin.end(sandbox.clientSecret);
  const argv = ['rotate', '--all', '--older-than', '0s', '--json', '--client-id', sandbox.clientId];
  const running = cli([...argv, '--client-secret-file', fifo, '--url', desk.url], {
    env: { DERIBIT_KEYS_DIR: desk.folder },
  });
  expect((await running).json<Rotation[]>().map(({ state }) => state)).toEqual(['done', 'done']);
  const alone = await cli(['rotate', '--all', '--older-than', '0s', '--json'], {
    env: { DERIBIT_KEYS_DIR: desk.folder },
  });
  expect(alone.json<Rotation[]>().map(({ name, state }) => `${name} ${state}`)).toEqual(['one done', 'two failed']);
});
