import { writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readJournal } from '../../../src/keystore/journal.js';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { listAccountKeys } from '../../../src/workflows/account/api-keys.js';
import { changeKey } from '../../../src/workflows/account/change-api-key.js';
import type { AccountLogin, WorkflowContext } from '../../../src/workflows/context.js';
import { temporaryFolder } from '../../support/cli.js';
import { credentialsOf, filesOf, keyOf, openDesk } from '../../support/desk.js';
import {
  Crash,
  expectSettled,
  loginOf,
  makeKey,
  openRotationWorld,
  type RotationWorld,
} from '../../support/rotation-world.js';
import { withRequests } from '../../support/world.js';

let sandbox: Sandbox;
let world: RotationWorld;
beforeEach(async () => {
  sandbox = await startSandbox();
  world = openRotationWorld(sandbox, `${temporaryFolder()}/keys`);
});
afterEach(() => sandbox.close());

/** WorkflowContext whose transport answers one method otherwise than the exchange does. */
function answering(method: string, alter: (result: unknown) => unknown): WorkflowContext {
  return withRequests(world.context, async (asked, send) => (asked === method ? alter(await send()) : send()));
}

const change = async (
  which: string,
  wanted: Parameters<typeof changeKey>[1]['change'],
  context: WorkflowContext = world.context,
) => {
  const target = (await listAccountKeys(world.context, world.login)).find(({ name }) => name === which);
  if (target === undefined) throw new Error('the key is not on the list');
  return changeKey(context, { login: world.login, target, change: wanted });
};

/** Dies at the nth write of a rotation. */
async function dieAt(write: number, when: 'before' | 'after' = 'after'): Promise<void> {
  world.writes = 0;
  world.crash = { at: write, when };
  await expect(world.rotate('bot')).rejects.toBeInstanceOf(Crash);
  world.crash = null;
}

describe('a successor that was registered by a run that died', () => {
  const dieBeforePromotion = async () => {
    for (let write = 1; ; write += 1) {
      await dieAt(write, 'before').catch(() => {});
      world.crash = null;
      const journal = await readJournal(world.store, 'bot');
      const made = journal && (await world.store.read(journal.successor).catch(() => null));
      if (journal?.stage === 'begun' && made?.state === 'registered') return { journal, made };
      if (write > 20) throw new Error('never came that far');
    }
  };

  test('is proved anew before it is promoted', async () => {
    const { fingerprint } = await makeKey(world, 'bot', 'trade:read');
    const { journal, made } = await dieBeforePromotion();
    const found = (await listAccountKeys(world.context, world.login)).find((key) => key.clientId === made.clientId);
    if (found === undefined) throw new Error('it is not there');
    await changeKey(world.context, { login: world.login, target: found, change: { do: 'disable' } });
    await expect(world.rotate('bot')).rejects.toMatchObject({ code: 'ERR_PROOF_FAILED' });
    expect((await world.store.read('bot')).clientId).toBe(journal.previous.clientId);
    await changeKey(world.context, { login: world.login, target: found, change: { do: 'enable' } });
    await world.rotate('bot');
    await expectSettled(world, 'bot', fingerprint);
  });

  test('is removed by an abort, whose key may have gone in the meantime', async () => {
    const { fingerprint } = await makeKey(world, 'bot', 'trade:read');
    const { made } = await dieBeforePromotion();
    const found = (await listAccountKeys(world.context, world.login)).find((key) => key.clientId === made.clientId);
    if (found === undefined) throw new Error('it is not there');
    await changeKey(world.context, { login: world.login, target: found, change: { do: 'remove' } });
    expect(await world.abort('bot')).toMatchObject({ state: 'aborted', previousClientId: made.clientId });
    await expectSettled(world, 'bot', fingerprint);
  });
});

test('a rotation that died before its successor was made is not gone on with in another account', async () => {
  await makeKey(world, 'bot', 'trade:read');
  await dieAt(1);
  const outsider = sandbox.addKey({ accountId: sandbox.accountIds[1] ?? 0 });
  const login: AccountLogin = {
    ...world.login,
    credentials: credentialsOf({ ...sandbox, clientId: outsider.client_id, clientSecret: outsider.client_secret }),
  };
  await expect(world.rotate('bot', { login })).rejects.toMatchObject({
    code: 'ERR_NOT_ON_EXCHANGE',
    hint: expect.stringContaining('log in to the account'),
  });
  await expect(world.abort('bot', login)).resolves.toMatchObject({ state: 'aborted' });
});

test('a promoted successor that another key was put in the place of stops the rotation', async () => {
  const { clientId } = await makeKey(world, 'bot', 'trade:read');
  await world.rotate('bot', { graceMs: 1_000_000 });
  sandbox.setFaults(['wrong-fingerprint@private/list_api_keys']);
  await expect(world.rotate('bot', { graceMs: 0 })).rejects.toMatchObject({
    code: 'ERR_PROOF_FAILED',
    message: expect.stringContaining('fingerprint'),
  });
  expect(keyOf(sandbox, clientId)?.enabled).toBe(true);
});

test('what the exchange has is taken over, not what is on record, and a key without a label gets one', async () => {
  const publicKey = (await makeUnsent('bot')).publicKey;
  const key = sandbox.addKey({ publicKey, maxScope: 'trade:read account:read' });
  const record = await world.store.read('bot');
  const { environment } = world.login.endpoint;
  const stale = { state: 'registered', environment, url: sandbox.httpUrl, scope: 'trade:read_write' } as const;
  await world.store.withLock('bot', (locked) =>
    locked.save({ ...record, ...stale, clientId: key.client_id, keyId: key.id }),
  );
  const { clientId } = await world.rotate('bot');
  expect(keyOf(sandbox, clientId ?? '')).toMatchObject({ max_scope: 'account:read trade:read', name: 'bot' });
  expect(world.notes[0]).toContain('not the one on record (trade:read_write)');
});

async function makeUnsent(name: string): Promise<{ publicKey: string }> {
  return openDesk(sandbox, world.store.folder).json<{ publicKey: string }>(['generate', name]);
}

test('an exchange that does not disable the old key is not believed', async () => {
  const { clientId } = await makeKey(world, 'bot', 'trade:read');
  await world.rotate('bot', { graceMs: 1_000_000 });
  const context = answering('private/disable_api_key', (result) => ({ ...(result as object), enabled: true }));
  const { rotate } = await import('../../../src/workflows/rotation/rotate.js');
  const request = {
    name: 'bot',
    graceMs: 0,
    login: () => Promise.resolve(world.login),
    makeSuccessor: () => Promise.reject(new Error('not now')),
  };
  await expect(rotate(context, request)).rejects.toMatchObject({ code: 'ERR_PROOF_FAILED' });
  expect(keyOf(sandbox, clientId)).toBeDefined();
});

test('an answer about another key, label, state or list is no proof of a change', async () => {
  await makeKey(world, 'bot', 'trade:read');
  const lie = (method: string, fields: object) =>
    answering(`private/${method}`, (result) => ({ ...(result as object), ...fields }));
  for (const [wanted, context, what] of [
    [{ do: 'disable' }, lie('disable_api_key', { client_id: 'somebody' }), 'the key'],
    [{ do: 'enable' }, lie('enable_api_key', { enabled: false }), 'the state'],
    [{ do: 'rename', label: 'x' }, lie('change_api_key_name', { name: 'y' }), 'the label'],
    [{ do: 'edit', ipWhitelist: ['127.0.0.1'] }, lie('edit_api_key', { ip_whitelist: [] }), 'the whitelist'],
    [{ do: 'edit', features: [] }, lie('edit_api_key', { enabled_features: ['block_trade_approval'] }), 'the features'],
  ] as const) {
    await expect(change('bot', wanted, context)).rejects.toMatchObject({
      code: 'ERR_PROOF_FAILED',
      message: expect.stringContaining(what),
    });
  }
});

test('a subaccount that turns out to be another account is left at once', async () => {
  const context = answering('private/get_account_summary', (result) => ({ ...(result as object), id: 1000 }));
  const login = { ...world.login, subaccount: sandbox.accountIds[1] };
  await expect(listAccountKeys(context, login)).rejects.toMatchObject({ code: 'ERR_PROOF_FAILED' });
  expect(sandbox.calls.some(({ method }) => method === 'private/list_api_keys')).toBe(false);
});

test('a private key file that is no text is not carried along', async () => {
  const { fingerprint } = await makeKey(world, 'bot', 'trade:read');
  await world.rotate('bot', { graceMs: 1_000_000 });
  const journal = await readJournal(world.store, 'bot');
  const { privateKey } = filesOf(world.store.folder, 'bot');
  await writeFile(privateKey, Buffer.from([0xff, 0xfe, 0x00]));
  await expect(world.abort('bot')).rejects.toMatchObject({ code: 'ERR_KEY_UNREADABLE' });
  expect(await readJournal(world.store, 'bot')).toEqual(journal);
  expect((await world.store.read(journal?.archive ?? '')).fingerprint).toBe(fingerprint);
});

test('a record that is damaged is not taken for a client id, and an audit log’s damaged lines are counted', async () => {
  await makeKey(world, 'bot', 'trade:read');
  const desk = openDesk(sandbox, world.store.folder);
  await writeFile(filesOf(world.store.folder, 'bot').record, '{}');
  const result = await desk.run(['api-keys', 'enable', 'bot']);
  expect([result.exitCode, result.error().code]).toEqual([3, 'ERR_RECORD_DAMAGED']);
  const before = (await desk.json<unknown[]>(['audit'])).length;
  await writeFile(`${world.store.folder}/audit.jsonl`, 'not json\n', { flag: 'a' });
  expect(await desk.json<unknown[]>(['audit'])).toHaveLength(before);
  expect(await openDesk(sandbox).json(['audit'])).toEqual([]);
});

test('a rotating key that logs in for itself is followed by its successor as the login', async () => {
  const { clientId, fingerprint } = await makeKey(world, 'bot', 'account:read_write');
  const login = await loginOf(world, 'bot');
  const done = await world.rotate('bot', { login });
  const asked = sandbox.calls.filter(({ method }) => /disable|remove/.test(method)).map((call) => call.clientId);
  expect([done.previousClientId, asked]).toEqual([clientId, [done.clientId, done.clientId]]);
  await expectSettled(world, 'bot', fingerprint);
});

test('words, features and whitelist entries that are new to this version are carried over as the exchange shows them', async () => {
  const words = 'options:read perpetuals';
  const added = { enabled_features: ['brand_new'], ip_whitelist: ['126.23.12.x/24'] };
  await makeKey(world, 'bot', 'trade:read');
  const sent: Readonly<Record<string, unknown>>[] = [];
  /** As an exchange that knows more than the sandbox. */
  const newer = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(newer);
    if (typeof value !== 'object' || value === null || !('max_scope' in value)) return value;
    const key = value as { readonly max_scope: string; readonly client_id: string };
    return key.client_id === sandbox.clientId ? key : { ...key, max_scope: `${key.max_scope} ${words}`, ...added };
  };
  const known = (params: Readonly<Record<string, unknown>>) => {
    const { enabled_features: _features, ip_whitelist: _list, ...rest } = params;
    return rest.max_scope === undefined ? rest : { ...rest, max_scope: 'trade:read' };
  };
  const future = openRotationWorld(sandbox, world.store.folder, {
    around: (context) =>
      withRequests(context, async (method, send, params) => {
        if (/(create|edit)_api_key$/.test(method)) sent.push(params);
        const result = await send(known(params));
        if (method !== 'public/auth') return newer(result);
        const { scope, ...login } = result as { readonly scope: string };
        return { ...login, scope: `${scope} ${words}` };
      }),
  });
  expect(await future.rotate('bot')).toMatchObject({ state: 'done' });
  const scope = `${words} trade:read`;
  expect(sent).toMatchObject([
    { max_scope: scope, enabled_features: ['brand_new'] },
    { max_scope: expect.stringContaining('perpetuals'), ip_whitelist: ['126.23.12.x/24'] },
  ]);
  expect(await world.store.read('bot')).toMatchObject({
    state: 'registered',
    scope,
    features: ['brand_new'],
    ipWhitelist: ['126.23.12.x/24'],
  });
});
