import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../src/sandbox/index.js';
import { bootstrap, ed25519, get, post, record, rsa, Socket, signed, token } from './client.js';

let sandbox: Sandbox;
beforeEach(async () => {
  sandbox = await startSandbox();
});
afterEach(() => sandbox.close());

describe.each([
  ['Ed25519', ed25519],
  ['RSA', rsa],
])('an asymmetric key (%s)', (_name, makePair) => {
  it('is registered over HTTP and logs in over WebSocket', async () => {
    const pair = makePair();
    const created = await post(
      sandbox,
      'private/create_api_key',
      { max_scope: 'trade:read_write account:read', name: 'bot_1', public_key: pair.pem },
      await token(sandbox),
    );
    const key = record(created.result);
    expect(key.public_key).toBe(pair.pem.trim().replaceAll('\n', ' '));
    expect(key.client_secret).toMatch(/^[0-9a-f]{2}(:[0-9a-f]{2}){15}$/);
    const socket = await Socket.open(sandbox);
    const login = await socket.request('public/auth', signed(String(key.client_id), pair.privateKey));
    expect(record(login?.result).scope).toBe('account:read connection mainaccount trade:read_write');
    const summary = await socket.request('private/get_account_summary', { currency: 'BTC' });
    expect(record(summary?.result).equity).toBe(10);
    socket.close();
  });
});

it('answers with the documented fingerprint', async () => {
  const pem = [
    '-----BEGIN PUBLIC KEY-----',
    'MCowBQYDK2VwAyEAM7FWhKquNqLmTOV4hfYT5r3AjrYiORTT6Tn5HIfFNV8=',
    '-----END PUBLIC KEY-----',
  ].join('\n');
  const params = { max_scope: 'trade:read', public_key: pem };
  const { result } = await post(sandbox, 'private/create_api_key', params, await token(sandbox));
  expect(record(result).client_secret).toBe('9c:6d:c9:02:fd:9f:75:6e:14:bb:71:c5:74:95:86:c8');
});

it('cuts before and after handling, and shows which in the calls', async () => {
  const socket = await Socket.open(sandbox);
  await socket.request('public/auth', bootstrap(sandbox));
  sandbox.setFaults(['cut-before@private/create_api_keyx1']);
  expect(await socket.request('private/create_api_key', { max_scope: 'trade:read' })).toBeUndefined();
  expect(sandbox.keys()).toHaveLength(1);
  sandbox.setFaults(['cut-after@private/create_api_keyx1']);
  const access = await token(sandbox);
  await expect(post(sandbox, 'private/create_api_key', { max_scope: 'trade:read' }, access)).rejects.toThrow();
  expect(sandbox.keys()).toHaveLength(2);
  const outcomes = sandbox.calls.filter((call) => call.method === 'private/create_api_key');
  expect(outcomes.map(({ outcome }) => outcome)).toEqual(['cut-before', 'cut-after:ok']);
});

it('answers GET without an id', async () => {
  const answer = await get(sandbox, 'public/get_time');
  expect(answer).toMatchObject({ testnet: true, result: expect.any(Number) });
  expect(answer).not.toHaveProperty('id');
});
