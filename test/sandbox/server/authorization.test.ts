import { createHmac } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { type Answer, ed25519, get, type Json, post, record, token } from '../client.js';

const nowMs = 1_760_000_000_000;
let sandbox: Sandbox;
beforeEach(async () => {
  sandbox = await startSandbox({ now: () => nowMs });
});
afterEach(() => sandbox.close());

const refused = { code: 13_004, message: 'invalid_credentials' };
const noToken = { code: 13_009, message: 'unauthorized', data: { reason: 'invalid_token' } };

describe('HTTP headers', () => {
  function hmac(uri: string, change: Json = {}): Record<string, string> {
    const parts = { ts: String(nowMs), nonce: 'abcd', ...change };
    const message = `${parts.ts}\n${parts.nonce}\nGET\n${uri}\n\n`;
    const sig = createHmac('sha256', sandbox.clientSecret).update(message).digest('hex');
    return { authorization: `deri-hmac-sha256 sig=${sig},nonce=${parts.nonce}, id=${sandbox.clientId},ts=${parts.ts}` };
  }
  const path = 'private/get_account_summary?currency=BTC&extended=true';

  it('deri-hmac-sha256 signs the path and query as sent, once', async () => {
    const header = hmac(`/api/v2/${path}`);
    expect(record((await get(sandbox, path, header)).result).type).toBe('main');
    expect((await get(sandbox, path, header)).error).toEqual(refused);
    expect((await get(sandbox, `${path}&x=1`, hmac(`/api/v2/${path}`))).error).toEqual(refused);
    const stale = hmac(`/api/v2/${path}`, { ts: String(nowMs - 60_001) });
    expect((await get(sandbox, path, stale)).error).toEqual(refused);
    const broken = { authorization: 'deri-hmac-sha256 nonsense' };
    expect((await get(sandbox, path, broken)).error).toEqual(refused);
  });

  it.each([
    ['disabled', { enabled: false }],
    ['bound to other addresses', { ip_whitelist: ['10.0.0.1'] }],
  ])('none of them takes a key that is %s', async (_, change) => {
    const { clientId, clientSecret } = sandbox;
    const access = await token(sandbox);
    const edit = { id: 1, max_scope: 'account:read_write', ...change };
    expect((await post(sandbox, 'private/edit_api_key', edit, access)).error).toBeUndefined();
    const basic = `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`;
    expect((await get(sandbox, path, hmac(`/api/v2/${path}`))).error).toEqual(refused);
    expect((await get(sandbox, path, { authorization: basic })).error).toEqual(refused);
    expect((await get(sandbox, path, { authorization: `Bearer ${access}` })).error).toEqual(noToken);
  });

  it('Basic takes symmetric keys only', async () => {
    const basic = (id: string, secret: string) => ({
      authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`,
    });
    expect((await get(sandbox, path, basic(sandbox.clientId, sandbox.clientSecret))).error).toBeUndefined();
    expect((await get(sandbox, path, basic(sandbox.clientId, 'wrong'))).error).toEqual(refused);
    const key = sandbox.addKey({ publicKey: ed25519().pem });
    expect((await get(sandbox, path, basic(key.client_id, key.client_secret))).error).toEqual(refused);
    expect((await get(sandbox, path, basic(key.client_id, ''))).error).toEqual(refused);
  });

  it('Bearer takes a token in any case, and an unknown scheme is no login', async () => {
    const access = await token(sandbox);
    expect((await get(sandbox, path, { authorization: `bearer ${access}` })).error).toBeUndefined();
    expect((await get(sandbox, path, { authorization: `Digest ${access}` })).error).toEqual(noToken);
    const inQuery: Answer = await get(sandbox, `${path}&access_token=${access}`);
    expect(inQuery.error).toBeUndefined();
  });
});
