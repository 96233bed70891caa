import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Remark, type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { bootstrap, ed25519, post, record, Socket, signed, token } from '../client.js';

let folder: string;
let stateFile: string;
let sandbox: Sandbox;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sandbox-'));
  stateFile = join(folder, 'state.json');
  sandbox = await startSandbox({ stateFile, subaccounts: 2 });
});
afterEach(async () => {
  await sandbox.close();
  rmSync(folder, { recursive: true });
});

async function reopen(): Promise<void> {
  await sandbox.close();
  sandbox = await startSandbox({ stateFile, port: 0 });
}

it('keeps accounts, keys and lasting tokens, but none of a connection', async () => {
  const access = await token(sandbox);
  const session = record((await post(sandbox, 'public/auth', bootstrap(sandbox, 'session:s'))).result);
  const socket = await Socket.open(sandbox);
  const bound = record((await socket.request('public/auth', bootstrap(sandbox)))?.result);
  const pair = ed25519();
  const params = { max_scope: 'trade:read wallet:none', public_key: pair.pem, name: 'kept' };
  const key = record((await post(sandbox, 'private/create_api_key', params, access)).result);
  const change = { id: key.id, max_scope: params.max_scope, ip_whitelist: ['127.0.0.1'] };
  await post(sandbox, 'private/edit_api_key', change, access);
  const before = [sandbox.keys(), sandbox.accountIds, sandbox.clientId, sandbox.clientSecret];
  await reopen();
  expect([sandbox.keys(), sandbox.accountIds, sandbox.clientId, sandbox.clientSecret]).toEqual(before);
  expect((await post(sandbox, 'private/get_subaccounts', {}, access)).error).toBeUndefined();
  expect((await post(sandbox, 'private/get_subaccounts', {}, String(bound.access_token))).error?.code).toBe(13_009);
  const refresh = { grant_type: 'refresh_token', refresh_token: session.refresh_token };
  expect(record((await post(sandbox, 'public/auth', refresh)).result).sid).toBe(session.sid);
  const login = await post(sandbox, 'public/auth', signed(String(key.client_id), pair.privateKey));
  expect(login.error).toBeUndefined();
});

it('never uses the id of a removed key again, and forgets the bootstrap key once it is removed', async () => {
  const { id } = sandbox.addKey({});
  const access = await token(sandbox);
  await post(sandbox, 'private/remove_api_key', { id }, access);
  await post(sandbox, 'private/remove_api_key', { id: 1 }, access);
  await reopen();
  expect(sandbox.keys()).toEqual([]);
  expect((await post(sandbox, 'public/auth', bootstrap(sandbox))).error?.code).toBe(13_004);
  expect(sandbox.addKey({}).id).toBe(id + 1);
});

it('has a key on disk before the answer leaves', async () => {
  const access = await token(sandbox);
  const key = record((await post(sandbox, 'private/create_api_key', { max_scope: 'trade:read' }, access)).result);
  expect(readFileSync(stateFile, 'utf8')).toContain(String(key.client_id));
});

it('is readable by its owner only, and leaves no other file behind', async () => {
  await token(sandbox);
  await sandbox.close();
  expect(statSync(stateFile).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder)).toEqual(['state.json']);
});

it('keeps tokens that were given a moment ago, without being closed', async () => {
  const access = await token(sandbox);
  while (!readFileSync(stateFile, 'utf8').includes(access)) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(readFileSync(stateFile, 'utf8')).toContain(access);
});

const storedKey = {
  id: 1,
  accountId: 1000,
  clientId: 'somebody',
  secret: 'secret',
  publicKey: null,
  isDefault: false,
  timestampMs: 0,
  maxScope: 'trade:read',
  enabled: true,
  name: '',
  features: [],
  ipWhitelist: [],
};

function document(changes: object): string {
  const complete = {
    version: 1,
    nextKeyId: 2,
    bootstrapClientId: 'somebody',
    subaccounts: 0,
    keys: [storedKey],
    grants: [],
  };
  return JSON.stringify({ ...complete, ...changes });
}

it('that another program wrote is accepted if it is complete', async () => {
  const file = join(folder, 'other.json');
  writeFileSync(file, document({}));
  const other = await startSandbox({ stateFile: file });
  expect([other.clientId, other.keys().length]).toEqual(['somebody', 1]);
  await other.close();
});

it.each([
  ['{', 'is not JSON'],
  ['[]', 'is of another version'],
  ['{"version":2}', 'is of another version'],
  ['{"version":1}', 'is incomplete'],
  [document({ subaccounts: 1e9 }), 'is incomplete'],
  [document({ subaccounts: -1 }), 'is incomplete'],
  [document({ nextKeyId: 'x' }), 'is incomplete'],
  [document({ bootstrapClientId: undefined }), 'is incomplete'],
  [document({ keys: [null] }), 'is incomplete'],
  [document({ keys: [{ ...storedKey, id: '1' }] }), 'is incomplete'],
  [document({ keys: [{ ...storedKey, clientId: 5 }] }), 'is incomplete'],
  [document({ keys: [{ ...storedKey, ipWhitelist: ['nowhere'] }] }), 'is incomplete'],
  [document({ keys: [{ ...storedKey, accountId: 7 }] }), 'cannot be understood'],
  [document({ keys: [{ ...storedKey, secret: '', publicKey: 'x' }] }), 'cannot be understood'],
  [document({ grants: [{ clientId: 'somebody' }] }), 'is incomplete'],
])('that holds %s is refused', async (text, what) => {
  const file = join(folder, 'other.json');
  writeFileSync(file, text);
  const refusal = { code: 'ERR_STATE_FILE', message: expect.stringContaining(what), hint: expect.any(String) };
  await expect(startSandbox({ stateFile: file })).rejects.toMatchObject(refusal);
  expect(readFileSync(file, 'utf8')).toBe(text);
});

it.skipIf(process.platform === 'win32')('that is a pipe is refused, and does not hang the process', async () => {
  const pipe = join(folder, 'pipe');
  spawnSync('mkfifo', ['-m', '600', pipe]);
  await expect(startSandbox({ stateFile: pipe })).rejects.toMatchObject({
    code: 'ERR_STATE_FILE',
    message: `the state file ${pipe} cannot be read`,
  });
});

it('that cannot be read or written is refused', async () => {
  for (const file of [folder, join(folder, 'missing', 'state.json')]) {
    await expect(startSandbox({ stateFile: file })).rejects.toMatchObject({ code: 'ERR_STATE_FILE' });
  }
});

it('that cannot be written any more fails the change, not the process', async () => {
  const broken = mkdtempSync(join(tmpdir(), 'sandbox-'));
  const other = await startSandbox({ stateFile: join(broken, 'state.json') });
  const access = await token(other);
  rmSync(broken, { recursive: true });
  await token(other);
  const create = () => post(other, 'private/create_api_key', { max_scope: 'trade:read' }, access);
  await expect.poll(async () => (await create()).error?.code, { timeout: 30_000 }).toBe(-32_603);
  await expect(other.close()).rejects.toMatchObject({ code: 'ERR_STATE_FILE' });
});

it('on a disk that fills up in the middle of a write stays as it was', async () => {
  const module = join(folder, 'state-file.mjs');
  const source = fileURLToPath(new URL('../../../src/sandbox/core/state-file.ts', import.meta.url));
  await build({
    entryPoints: [source],
    outfile: module,
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'error',
  });
  const file = join(folder, 'full.json');
  writeFileSync(file, 'old');
  const script = `
    import { writeState } from ${JSON.stringify(module)};
    try { writeState(${JSON.stringify(file)}, 'x'.repeat(8000)); } catch (error) { console.log(error.code); }`;
  const command = 'ulimit -f 4 && exec "$0" --input-type=module -e "$1"';
  const { stdout } = spawnSync('bash', ['-c', command, process.execPath, script]);
  expect(stdout.toString()).toBe('ERR_STATE_FILE\n');
  expect(readFileSync(file, 'utf8')).toBe('old');
  expect(readdirSync(folder).sort()).toEqual(['full.json', 'state-file.mjs', 'state.json']);
});

describe('the port', () => {
  it('is that of the last run unless another is named, and never another one because that is taken', async () => {
    const file = join(folder, 'port.json');
    const first = await startSandbox({ stateFile: file });
    const { httpUrl } = first;
    await first.close();
    const second = await startSandbox({ stateFile: file });
    expect(second.httpUrl).toBe(httpUrl);
    const state = readFileSync(file, 'utf8');
    await expect(startSandbox({ stateFile: file })).rejects.toMatchObject({
      code: 'ERR_LISTEN',
      message: expect.stringContaining(new URL(httpUrl).port),
    });
    expect(readFileSync(file, 'utf8')).toBe(state);
    await second.close();
    const elsewhere = await startSandbox({ stateFile: file, port: 0 });
    await elsewhere.close();
  });
});

it('without one, says once of each unknown client id that keys of an earlier run are gone', async () => {
  const remarks: Remark[] = [];
  const forgetful = await startSandbox({ onRemark: (remark) => remarks.push(remark) });
  const login = { grant_type: 'client_credentials', client_id: 'of_yesterday', client_secret: 'x' };
  for (let i = 0; i < 2; i++) expect((await post(forgetful, 'public/auth', login)).error?.code).toBe(13_004);
  await post(forgetful, 'public/auth', { ...login, client_id: forgetful.clientId });
  expect(remarks).toEqual([
    { kind: 'unknown-client', text: expect.stringMatching(/"of_yesterday"; keys of an earlier run are gone/) },
  ]);
  await forgetful.close();
});
