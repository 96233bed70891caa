import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import type { AccountKey } from '../../../src/workflows/account/api-keys.js';
import { type Desk, keyOf, openDesk, recordOf } from '../../support/desk.js';

let sandbox: Sandbox;
let desk: Desk;
let sub: number;

describe.each(['http', 'ws'] as const)('over %s', (kind) => {
  beforeEach(async () => {
    sandbox = await startSandbox({ subaccounts: 2 });
    desk = openDesk(sandbox, undefined, { via: kind });
    sub = sandbox.accountIds[1] ?? 0;
  });
  afterEach(() => sandbox.close());

  const inSub = () => ['--subaccount', String(sub)];

  test('a key is registered in a subaccount, and later commands on it go there by themselves', async () => {
    const { clientId } = await desk.register('bot', 'trade:read_write', ...inSub());
    expect(keyOf(sandbox, clientId)?.accountId).toBe(sub);
    expect(await recordOf(desk.folder, 'bot')).toMatchObject({ subaccount: sub, state: 'registered' });
    expect(await desk.json(['verify', 'bot'])).toMatchObject([{ ok: true }]);
    expect((await desk.json<AccountKey[]>(['api-keys', 'list', ...inSub()])).map(({ name }) => name)).toEqual(['bot']);
    expect((await desk.json<AccountKey[]>(['api-keys', 'list'])).map(({ label }) => label)).toEqual(['bootstrap']);
    expect(await desk.json(['api-keys', 'rename', 'bot', 'renamed'])).toMatchObject({ label: 'renamed', name: 'bot' });
    const rotation = await desk.json<{ clientId: string }>(['rotate', 'bot']);
    expect(keyOf(sandbox, rotation.clientId)).toMatchObject({ accountId: sub, name: 'renamed' });
    expect(keyOf(sandbox, clientId)).toBeUndefined();
    expect(await recordOf(desk.folder, 'bot')).toMatchObject({ subaccount: sub });
    await desk.json(['api-keys', 'remove', 'bot', '--yes']);
    expect(sandbox.keys().filter(({ accountId }) => accountId === sub)).toEqual([]);
  });

  test('an admin key of the subaccount manages it without going through the main account', async () => {
    await desk.register('subadmin', 'account:read_write trade:read', ...inSub());
    await desk.json(['generate', 'bot']);
    const asAdmin = { login: null } as const;
    await desk.json(['register', 'bot', '--scope', 'trade:read', '--as', 'subadmin'], asAdmin);
    expect(await recordOf(desk.folder, 'bot')).toMatchObject({ subaccount: sub });
    await desk.json(['api-keys', 'rename', 'bot', 'by_admin', '--as', 'subadmin', ...inSub()], asAdmin);
    expect(await desk.json(['rotate', 'subadmin', '--as', 'subadmin'], asAdmin)).toMatchObject({ state: 'done' });
    expect(sandbox.calls.filter(({ method }) => method === 'public/exchange_token').length).toBe(1);
  });

  test('a subaccount that is not there, or another than the record’s, is refused', async () => {
    await desk.register('bot', 'trade:read', ...inSub());
    const missing = await desk.run(['api-keys', 'list', '--subaccount', '4711']);
    expect([missing.exitCode, missing.error().code]).toEqual([5, 'ERR_RPC']);
    const other = await desk.run(['api-keys', 'disable', 'bot', '--yes', '--subaccount', '1002']);
    expect([other.exitCode, other.error().message]).toEqual([2, expect.stringContaining(String(sub))]);
    expect((await desk.run(['api-keys', 'list', '--subaccount', 'x'])).exitCode).toBe(2);
  });

  test('an interrupted registration is ended in the subaccount where it was started', async () => {
    await desk.json(['generate', 'bot']);
    sandbox.setFaults(['cut-after@private/create_api_keyx1']);
    const argv = ['register', 'bot', '--scope', 'trade:read'];
    expect((await desk.run([...argv, ...inSub()])).exitCode).toBe(4);
    sandbox.clearFaults();
    const elsewhere = await desk.run(argv);
    expect([elsewhere.exitCode, elsewhere.error().hint]).toEqual([2, expect.stringContaining(`--subaccount ${sub}`)]);
    expect(await desk.json([...argv, ...inSub()])).toMatchObject({ adopted: true });
    expect(sandbox.keys().filter(({ accountId }) => accountId === sub)).toHaveLength(1);
  });

  test('a linked key is proved to belong to the subaccount, where its scope lets it look', async () => {
    const publicKeyOf = async (name: string) => (await desk.json<{ publicKey: string }>(['generate', name])).publicKey;
    const reader = sandbox.addKey({ publicKey: await publicKeyOf('reader'), maxScope: 'account:read', accountId: sub });
    const trader = sandbox.addKey({ publicKey: await publicKeyOf('trader'), maxScope: 'trade:read', accountId: sub });
    const link = (name: string, clientId: string, subaccount: number) =>
      desk.run(['link', name, '--client-id', clientId, '--subaccount', String(subaccount)]);
    const wrong = await link('reader', reader.client_id, 1002);
    expect([wrong.exitCode, wrong.error().code]).toEqual([1, 'ERR_PROOF_FAILED']);
    expect(await recordOf(desk.folder, 'reader')).toMatchObject({ state: 'local', subaccount: null });
    expect((await link('reader', reader.client_id, sub)).exitCode).toBe(0);
    expect(await recordOf(desk.folder, 'reader')).toMatchObject({ state: 'registered', subaccount: sub });
    expect((await link('trader', trader.client_id, sub)).exitCode).toBe(0);
    expect(await recordOf(desk.folder, 'trader')).toMatchObject({ subaccount: sub });
    expect(await desk.json(['verify', '--all'])).toMatchObject([{ ok: true }, { ok: true }]);
  });
});
