import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { totpCode, totpStep } from '../../../src/sandbox/core/second-factor.js';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { type Answer, type Json, post, record, token } from '../client.js';

const seed = Buffer.from('12345678901234567890');
const tfaSecret = 'gezd gnbv gy3t qojq gezd gnbv gy3t qojq';
const startMs = 1_760_000_010_000;
let nowMs = startMs;
let sandbox: Sandbox;
let access: string;
const create = { max_scope: 'account:read' };

beforeEach(async () => {
  nowMs = startMs;
  sandbox = await startSandbox({ tfaSecret, now: () => nowMs, expiresInS: 86_400 });
  access = await token(sandbox);
});
afterEach(() => sandbox.close());

function code(offset = 0): string {
  return totpCode(seed, totpStep(nowMs) + offset);
}

function ask(params: Json, method = 'private/create_api_key'): Promise<Answer> {
  return post(sandbox, method, params, access);
}

async function challenge(params: Json = create, method = 'private/create_api_key'): Promise<unknown> {
  return record((await ask(params, method)).result).challenge;
}

async function reasonFor(change: Json, params: Json = create): Promise<unknown> {
  const { error } = await ask({ ...params, challenge: await challenge(params), authorization_data: code(), ...change });
  return error?.code === 13_668 ? record(error.data).reason : error;
}

describe('codes', () => {
  // RFC 6238, appendix B, the last six of eight digits
  it.each([
    [59, '287082'],
    [1_111_111_109, '081804'],
    [1_111_111_111, '050471'],
    [1_234_567_890, '005924'],
    [2_000_000_000, '279037'],
    [20_000_000_000, '353130'],
  ])('at %i s are those of RFC 6238', (timeS, expected) => {
    expect(totpCode(seed, totpStep(timeS * 1000))).toBe(expected);
  });

  it.skipIf(spawnSync('oathtool', ['--version']).status !== 0)('are those of oathtool (needs oathtool)', () => {
    const { stdout } = spawnSync('oathtool', [
      '--totp',
      '-b',
      '-N',
      `@${startMs / 1000}`,
      tfaSecret.replaceAll(' ', ''),
    ]);
    expect(stdout.toString().trim()).toBe(code());
  });
});

it('challenges protected methods with a result, and then lets the same request through', async () => {
  const { result } = await ask(create);
  expect(result).toEqual({
    security_key_authorization_required: true,
    security_keys: [{ type: 'tfa', name: 'tfa' }],
    rp_id: expect.any(String),
    challenge: expect.any(String),
  });
  expect(sandbox.keys()).toHaveLength(1);
  const second = { authorization_data: code(), ...create, challenge: record(result).challenge };
  expect((await ask(second)).result).toMatchObject({ id: 2 });
  const outcomes = sandbox.calls.filter(({ method }) => method === 'private/create_api_key');
  expect(outcomes.map(({ outcome }) => outcome)).toEqual(['challenge', 'ok']);
});

it('protects exactly the documented methods', async () => {
  const key = sandbox.addKey({ maxScope: 'account:read' });
  const params = { id: key.id, max_scope: 'account:read', name: 'x' };
  for (const [method, isProtected] of [
    ['create_api_key', true],
    ['list_api_keys', true],
    ['edit_api_key', true],
    ['disable_api_key', true],
    ['change_scope_in_api_key', true],
    ['enable_api_key', false],
    ['change_api_key_name', false],
    ['reset_api_key', false],
    ['remove_api_key', false],
  ] as const) {
    const { result } = await ask(params, `private/${method}`);
    expect([method, typeof result === 'object' && 'challenge' in record(result)]).toEqual([method, isProtected]);
  }
});

it.each([-1, 0, 1])('takes the code of the step %i from now', async (offset) => {
  expect(await reasonFor({ authorization_data: code(offset) })).toBeUndefined();
});

it.each([-2, 2])('refuses the code of the step %i from now', async (offset) => {
  expect(await reasonFor({ authorization_data: code(offset) })).toBe('tfa_code_not_matched');
});

it('takes a code once', async () => {
  expect(await reasonFor({})).toBeUndefined();
  expect(await reasonFor({})).toBe('used_tfa_code');
  nowMs += 30_000;
  expect(await reasonFor({})).toBeUndefined();
  nowMs += 90_000;
  expect(await reasonFor({})).toBeUndefined();
});

it('takes a challenge once, for a minute, for the same method and parameters', async () => {
  const old = await challenge();
  nowMs += 60_000;
  expect(await reasonFor({ challenge: old })).toBe('challenge_timeout');
  expect(await reasonFor({ challenge: 'made up' })).toBe('challenge_timeout');
  expect(await reasonFor({ challenge: undefined })).toBe('challenge_timeout');
  expect(await reasonFor({ max_scope: 'account:read_write' })).toBe('challenge_timeout');
  expect(await reasonFor({ challenge: await challenge({}, 'private/list_api_keys') })).toBe('challenge_timeout');
  expect(await reasonFor({ authorization_data: undefined })).toBe('tfa_code_is_required');
  const name = await challenge();
  expect(await reasonFor({ challenge: name })).toBeUndefined();
  nowMs += 30_000;
  expect(await reasonFor({ challenge: name })).toBe('challenge_timeout');
});

it.each([
  [59_999, undefined],
  [60_000, 13_668],
])('takes the answer to a challenge after %i ms: %j', async (ms, refusal) => {
  const open = await challenge();
  nowMs += ms;
  // Nothing is asked in between: a new challenge clears away those that are too old.
  expect((await ask({ ...create, challenge: open, authorization_data: code() })).error?.code).toBe(refusal);
});

it('is locked for a while after five wrong codes', async () => {
  for (let i = 0; i < 5; i++) expect(await reasonFor({ authorization_data: '12345' })).toBe('tfa_code_not_matched');
  nowMs += 10_500;
  expect((await ask(create)).error).toMatchObject({ code: 12_998, data: { wait: 50 } });
  nowMs += 49_500;
  expect(await reasonFor({})).toBeUndefined();
});

it('can be a hardware key only, or missing', async () => {
  await sandbox.close();
  sandbox = await startSandbox({ secondFactor: 'hardware', now: () => nowMs });
  access = await token(sandbox);
  expect((await ask(create)).result).toMatchObject({ security_keys: [{ type: 'u2f' }] });
  expect(await reasonFor({})).toBe('tfa_code_not_matched');
  await sandbox.close();
  sandbox = await startSandbox({ secondFactor: 'missing', now: () => nowMs });
  access = await token(sandbox);
  expect((await ask(create)).error).toMatchObject({ code: 13_904 });
});
