import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import type { AccountKey } from '../../../src/workflows/account/api-keys.js';
import { cli } from '../../support/cli.js';
import { type Desk, keyOf, openDesk, recordOf } from '../../support/desk.js';

let sandbox: Sandbox;
let desk: Desk;

beforeEach(async () => {
  sandbox = await startSandbox();
  desk = openDesk(sandbox);
});
afterEach(() => sandbox.close());

const list = () => desk.json<AccountKey[]>(['api-keys', 'list']);

describe.each(['http', 'ws'] as const)('over %s', (kind) => {
  beforeEach(() => {
    desk = openDesk(sandbox, desk.folder, { via: kind });
  });

  test('the list shows each key with what is remarkable about it', async () => {
    const bot = await desk.register('bot', 'trade:read_write', '--ip', '127.0.0.1');
    sandbox.addKey({ name: 'theirs', maxScope: 'wallet:read_write' });
    await desk.json(['api-keys', 'disable', 'bot', '--yes']);
    const keys = await list();
    expect(keys.map(({ name, label, marks }) => ({ name, label, marks }))).toEqual([
      {
        name: null,
        label: 'bootstrap',
        marks: ['login', 'stranger', 'symmetric', 'over-powered', 'no-whitelist'],
      },
      { name: 'bot', label: 'bot', marks: ['disabled'] },
      { name: null, label: 'theirs', marks: ['stranger', 'symmetric', 'over-powered', 'no-whitelist'] },
    ]);
    const record = await recordOf(desk.folder, 'bot');
    expect(keys[1]).toMatchObject({
      keyId: bot.keyId,
      clientId: bot.clientId,
      scope: 'trade:read_write',
      enabled: false,
      ipWhitelist: ['127.0.0.1'],
      features: [],
      fingerprint: record.fingerprint,
      createdAt: expect.stringMatching(/^\d{4}-.*Z$/),
    });
    expect(keys[0]?.fingerprint).toBeNull();
  });

  test('a change by name, client id or key id is made, proved and recorded', async () => {
    const { clientId, keyId } = await desk.register('bot', 'trade:read_write');
    expect(await desk.json(['api-keys', 'rename', 'bot', 'paris'])).toMatchObject({
      keyId,
      label: 'paris',
      name: 'bot',
    });
    expect(await recordOf(desk.folder, 'bot')).toMatchObject({ label: 'paris' });

    expect(await desk.json(['api-keys', 'scope', clientId, 'trade:read  account:read'])).toMatchObject({
      scope: 'account:read trade:read',
    });
    expect(await recordOf(desk.folder, 'bot')).toMatchObject({ scope: 'account:read trade:read', state: 'registered' });

    const edited = await desk.json([
      ...['api-keys', 'edit', String(keyId), '--feature', 'block_trade_approval'],
      ...['--ip', '127.0.0.1', '--ip', '10.0.0.0/8', '--label', 'rome'],
    ]);
    expect(edited).toMatchObject({
      label: 'rome',
      scope: 'account:read trade:read',
      features: ['block_trade_approval'],
      ipWhitelist: ['127.0.0.1', '10.0.0.0/8'],
    });
    expect(await recordOf(desk.folder, 'bot')).toMatchObject({
      label: 'rome',
      features: ['block_trade_approval'],
      ipWhitelist: ['127.0.0.1', '10.0.0.0/8'],
    });
    expect(await desk.json(['api-keys', 'edit', 'bot', '--no-ip', '--no-feature'])).toMatchObject({
      features: [],
      ipWhitelist: [],
      label: 'rome',
    });

    expect(await desk.json(['api-keys', 'disable', `client-id:${clientId}`, '--yes'])).toMatchObject({
      enabled: false,
    });
    expect((await desk.run(['auth', 'bot'])).exitCode).toBe(5);
    expect(await desk.json(['api-keys', 'enable', `id:${keyId}`])).toMatchObject({ enabled: true });
    expect((await desk.run(['auth', 'bot'])).exitCode).toBe(0);

    expect(await desk.json(['api-keys', 'remove', 'bot', '--yes'])).toMatchObject({ clientId, removed: true });
    expect(keyOf(sandbox, clientId)).toBeUndefined();
    expect(await recordOf(desk.folder, 'bot')).toMatchObject({ state: 'retired', clientId });
    expect(await readFile(`${desk.folder}/bot.pem`, 'utf8')).toContain('PRIVATE KEY');

    const actions = (await desk.json<{ action: string; name: string; outcome: string }[]>(['audit']))
      .filter(({ name }) => name === 'bot')
      .map(({ action, outcome }) => `${action} ${outcome}`);
    const changes = ['rename', 'scope', 'edit', 'edit', 'disable', 'enable', 'remove'].map((action) => `${action} ok`);
    expect(actions.slice(-changes.length)).toEqual(changes);
  });
});

test('a name of the keystore wins over a client id and a key id', async () => {
  const one = await desk.register('one', 'trade:read');
  await desk.json(['generate', String(one.keyId)]);
  const other = await desk.json<{ keyId: number }>(['register', String(one.keyId), '--scope', 'trade:read']);
  expect(await desk.json(['api-keys', 'rename', String(one.keyId), 'by_name'])).toMatchObject({ keyId: other.keyId });
  expect(await desk.json(['api-keys', 'rename', `id:${one.keyId}`, 'by_id'])).toMatchObject({ keyId: one.keyId });
  const { exitCode, stderr } = await cli(['api-keys', 'rename', String(one.keyId), 'again'], {
    env: {
      DERIBIT_KEYS_DIR: desk.folder,
      DERIBIT_KEYS_URL: desk.url,
      DERIBIT_CLIENT_ID: sandbox.clientId,
      DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
    },
  });
  expect({ exitCode, stderr }).toMatchObject({ exitCode: 0, stderr: expect.stringContaining(`say id:${one.keyId}`) });
});

test('what is on no list is told as such', async () => {
  await desk.register('bot', 'trade:read');
  for (const which of ['nobody', 'id:999', 'client-id:zzzzzzzz', 'a b\u0007']) {
    const result = await desk.run(['api-keys', 'enable', which]);
    expect([which, result.exitCode, result.error().code]).toEqual([which, 5, 'ERR_NOT_ON_EXCHANGE']);
    expect(result.stderr).not.toContain('\u0007');
  }
  await desk.json(['generate', 'unsent']);
  expect((await desk.run(['api-keys', 'enable', 'unsent'])).error().code).toBe('ERR_NOT_ON_EXCHANGE');
});

test('what cannot be undone needs --yes where nobody can be asked, and changes nothing without it', async () => {
  const { clientId } = await desk.register('bot', 'trade:read');
  for (const argv of [
    ['api-keys', 'disable', 'bot'],
    ['api-keys', 'remove', 'bot'],
    ['api-keys', 'disable', '--all-but', 'bot'],
  ]) {
    const result = await desk.run(argv);
    expect([result.exitCode, result.error().code]).toEqual([2, 'ERR_USAGE']);
  }
  expect(keyOf(sandbox, clientId)?.enabled).toBe(true);
  expect(await recordOf(desk.folder, 'bot')).toMatchObject({ state: 'registered' });
});

test('acting on the key that is logged in is warned of and confirmed', async () => {
  const scope = 'account:read_write trade:read';
  await desk.register('admin', scope);
  const as = ['--as', 'admin'];
  const own = (...argv: string[]) => cli([...argv, ...as], { env: { DERIBIT_KEYS_DIR: desk.folder } });
  for (const [argv, warning] of [
    [['api-keys', 'scope', 'admin', 'trade:read'], 'not be able to manage keys again'],
    [['api-keys', 'edit', 'admin', '--ip', '203.0.113.9'], 'from an address outside the list'],
    [['api-keys', 'disable', 'admin'], 'not be able to log in again'],
    [['api-keys', 'remove', 'admin'], 'not be able to log in again'],
  ] as const) {
    const result = await own(...argv);
    expect([result.exitCode, result.stderr]).toEqual([2, expect.stringContaining(warning)]);
  }
  expect((await own('api-keys', 'rename', 'admin', 'root')).exitCode).toBe(0);
  expect((await own('api-keys', 'scope', 'admin', 'account:read_write')).exitCode).toBe(0);
  const removed = await own('api-keys', 'remove', 'admin', '--yes');
  expect([removed.exitCode, removed.stdout]).toEqual([0, expect.stringMatching(/^removed admin/)]);
  expect(await recordOf(desk.folder, 'admin')).toMatchObject({ state: 'retired' });
});

test('taking away the last key that manages keys is warned of', async () => {
  const { clientId } = await desk.register('admin', 'account:read_write');
  await desk.json(['api-keys', 'disable', '--all-but', 'admin', '--yes']);
  expect(keyOf(sandbox, sandbox.clientId)?.enabled).toBe(false);
  const result = await cli(['api-keys', 'disable', 'admin', '--as', 'admin', '--yes'], {
    env: { DERIBIT_KEYS_DIR: desk.folder },
  });
  expect(result.stderr).toContain('no other enabled key of the account can manage keys');
  expect(keyOf(sandbox, clientId)?.enabled).toBe(false);
});

describe('the emergency brake', () => {
  test('disables every other key, the most powerful first and the own login last', async () => {
    const { clientId } = await desk.register('bot', 'trade:read_write');
    await desk.register('safe', 'account:read_write');
    const rich = sandbox.addKey({ name: 'rich', maxScope: 'wallet:read_write' });
    const results = await desk.json<AccountKey[]>(['api-keys', 'disable', '--all-but', 'safe', '--yes']);
    expect(results.map((one) => one.clientId)).toEqual([rich.client_id, clientId, sandbox.clientId]);
    expect(results.every(({ enabled }) => !enabled)).toBe(true);
    expect(
      sandbox
        .keys()
        .filter(({ enabled }) => enabled)
        .map(({ name }) => name),
    ).toEqual(['safe']);
    const again = await desk.json(['api-keys', 'disable', '--all-but', 'safe', '--yes', '--as', 'safe'], {
      login: null,
    });
    expect(again).toEqual([]);
  });

  test('goes on where one key fails, and says so', async () => {
    await desk.register('one', 'trade:read');
    await desk.register('two', 'trade:read');
    await desk.register('safe', 'account:read_write');
    sandbox.setFaults(['error@private/disable_api_key:11094x1']);
    const result = await desk.run(['api-keys', 'disable', '--all-but', 'safe', '--all-but', sandbox.clientId, '--yes']);
    expect([result.exitCode, result.error().code]).toEqual([5, 'ERR_RPC']);
    expect(result.json<{ name: string; error: unknown }[]>()).toMatchObject([
      { name: 'one', enabled: true, error: { code: 'ERR_RPC' } },
      { name: 'two', enabled: false, error: null },
    ]);
  });

  test('does not move for a key that is not there', async () => {
    await desk.register('bot', 'trade:read');
    const result = await desk.run(['api-keys', 'disable', '--all-but', 'nobody', '--yes']);
    expect(result.error().code).toBe('ERR_NOT_ON_EXCHANGE');
    expect(sandbox.keys().every(({ enabled }) => enabled)).toBe(true);
    expect((await desk.run(['api-keys', 'disable'])).exitCode).toBe(2);
    expect((await desk.run(['api-keys', 'disable', 'bot', '--all-but', 'bot'])).exitCode).toBe(2);
  });
});

test('an answer that shows something else than was asked for is refused and not recorded', async () => {
  await desk.register('bot', 'account:read trade:read_write');
  const before = await recordOf(desk.folder, 'bot');
  sandbox.setFaults(['other-scope@private/change_scope_in_api_key']);
  const result = await desk.run(['api-keys', 'scope', 'bot', 'trade:read']);
  expect([result.exitCode, result.error().code]).toEqual([1, 'ERR_PROOF_FAILED']);
  expect(result.error().message).toContain('the scope');
  expect(await recordOf(desk.folder, 'bot')).toEqual(before);
  const entries = await desk.json<{ action: string; outcome: string }[]>(['audit']);
  expect(entries.at(-1)).toMatchObject({ action: 'scope', outcome: 'ERR_PROOF_FAILED' });
});

test('values that the exchange would not take are refused before anything is sent', async () => {
  await desk.register('bot', 'trade:read');
  const calls = sandbox.calls.length;
  for (const argv of [
    ['rename', 'bot', 'not a label'],
    ['scope', 'bot', 'everything'],
    ['edit', 'bot'],
    ['edit', 'bot', '--ip', '300.1.1.1'],
    ['edit', 'bot', '--feature', 'flying'],
    ['edit', 'bot', '--scope', ''],
  ]) {
    const result = await desk.run(['api-keys', ...argv]);
    expect([argv, result.exitCode]).toEqual([argv, 2]);
  }
  expect(sandbox.calls.length).toBe(calls);
});

test('a removal whose answer is lost is looked after, and can be made again', async () => {
  await desk.register('bot', 'trade:read');
  sandbox.setFaults(['cut-after@private/remove_api_keyx1']);
  expect(await desk.json(['api-keys', 'remove', 'bot', '--yes'])).toMatchObject({ removed: true });
  expect(await recordOf(desk.folder, 'bot')).toMatchObject({ state: 'retired' });

  const { clientId } = await desk.register('bot2', 'trade:read');
  sandbox.setFaults(['cut-after@private/remove_api_keyx1', 'cut-before@private/list_api_keys+1']);
  const lost = await desk.run(['api-keys', 'remove', 'bot2', '--yes']);
  expect([lost.exitCode, lost.error().hint]).toEqual([4, expect.stringContaining('it does no harm')]);
  expect(await recordOf(desk.folder, 'bot2')).toMatchObject({ state: 'registered' });
  sandbox.clearFaults();
  const again = await desk.json(['api-keys', 'remove', 'bot2', '--yes']);
  expect(again).toMatchObject({ name: 'bot2', clientId, removed: true });
  expect(await recordOf(desk.folder, 'bot2')).toMatchObject({ state: 'retired', clientId });
});

test('a key that is on another account is not taken for removed', async () => {
  await desk.register('bot', 'trade:read');
  const outsider = sandbox.addKey({ name: 'other', accountId: sandbox.accountIds[1] ?? 0 });
  const result = await desk.run(['api-keys', 'remove', 'bot', '--yes'], {
    env: { DERIBIT_CLIENT_ID: outsider.client_id, DERIBIT_CLIENT_SECRET: outsider.client_secret },
  });
  expect(result.error().code).toBe('ERR_NOT_ON_EXCHANGE');
  expect(await recordOf(desk.folder, 'bot')).toMatchObject({ state: 'registered' });
});

test('a login without account:read_write is told what it lacks', async () => {
  await desk.register('reader', 'account:read');
  await desk.register('bot', 'trade:read');
  const asReader = (...argv: string[]) => desk.run(['api-keys', ...argv, '--as', 'reader'], { login: null });
  expect((await asReader('list')).exitCode).toBe(0);
  const refused = await asReader('enable', 'bot');
  expect([refused.exitCode, refused.error().code]).toEqual([5, 'ERR_UNAUTHORIZED']);
  const blind = await desk.run(['api-keys', 'list', '--as', 'bot'], { login: null });
  expect([blind.exitCode, blind.error().hint]).toEqual([5, expect.stringContaining('account:read')]);
});

test('people get a table, and the fields of the key that was changed', async () => {
  await desk.register('bot', 'trade:read');
  const env = {
    DERIBIT_KEYS_DIR: desk.folder,
    DERIBIT_KEYS_URL: desk.url,
    DERIBIT_CLIENT_ID: sandbox.clientId,
    DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
  };
  const listed = await cli(['api-keys', 'list'], { env });
  expect(listed.stdout).toMatch(/^ID +CLIENT ID +LABEL +NAME +SCOPE +WHITELIST +MARKS\n/);
  expect(listed.stdout).toMatch(/bot +trade:read +any +no-whitelist/);
  expect(listed.stderr).toContain('2 keys; Deribit documents at most 8');
  expect((await cli(['api-keys', 'rename', 'bot', 'b2'], { env })).stdout).toMatch(/label +b2/);
  const braked = await cli(['api-keys', 'disable', '--all-but', sandbox.clientId, '--yes'], { env });
  expect(braked.stdout).toMatch(/^disabled {2}bot \(/);
  expect((await cli(['api-keys', 'disable', '--all-but', sandbox.clientId], { env })).stdout).toContain('nothing');
  const audit = await cli(['audit'], { env });
  expect(audit.stdout).toMatch(/^TIME +ACTION +NAME/);
});
