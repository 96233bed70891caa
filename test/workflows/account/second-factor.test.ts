import { createHmac } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { exitCodeOf } from '../../../src/cli/exit-codes.js';
import { rpcError } from '../../../src/deribit/json-rpc.js';
import { totpSecondFactor } from '../../../src/deribit/second-factor.js';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../../src/sandbox/index.js';
import { listAccountKeys } from '../../../src/workflows/account/api-keys.js';
import { changeKey, type KeyChange } from '../../../src/workflows/account/change-api-key.js';
import { rotateAll } from '../../../src/workflows/rotation/rotate-all.js';
import { localSuccessor } from '../../../src/workflows/rotation/start.js';
import { post, record, token } from '../../sandbox/client.js';
import { temporaryFolder } from '../../support/cli.js';
import { type Desk, keyOf, openDesk } from '../../support/desk.js';
import { makeKey, openRotationWorld } from '../../support/rotation-world.js';
import { onTerminal } from '../../support/terminal.js';

const SEED = 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP';
const SEED_BYTES = Buffer.from('48656c6c6f21deadbeef48656c6c6f21deadbeef', 'hex');
const STEP_MS = 30_000;

/** RFC 6238 with SHA-1, 30 s and six digits. */
function codeAt(timeMs: number): string {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(timeMs / STEP_MS)));
  const mac = createHmac('sha1', SEED_BYTES).update(counter).digest();
  const number = mac.readUInt32BE(mac.readUInt8(19) & 15) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, '0');
}

/** Six digits that are no code of the steps around now. */
function wrongCode(timeMs: number, salt = 0): string {
  const near = [-2, -1, 0, 1, 2].map((step) => codeAt(timeMs + step * STEP_MS));
  for (let number = salt; ; number += 1) {
    const code = String(number).padStart(6, '0');
    if (!near.includes(code)) return code;
  }
}

/** The clock of this whole process, which a test can move on. */
let offsetMs = 0;
const realNow = Date.now;
beforeEach(() => {
  offsetMs = 0;
  vi.spyOn(Date, 'now').mockImplementation(() => realNow() + offsetMs);
});

let sandbox: Sandbox;
let desk: Desk;
afterEach(async () => {
  vi.restoreAllMocks();
  await sandbox.close();
});

async function open(options: SandboxOptions = { tfaSecret: SEED }, kind: 'http' | 'ws' = 'http'): Promise<void> {
  sandbox = await startSandbox(options);
  desk = openDesk(sandbox, undefined, { via: kind });
}

const reasonOf = (rpc: { data?: unknown } | undefined) => (rpc?.data as { reason?: string } | undefined)?.reason;

describe.each(['http', 'ws'] as const)('a key from registration to removal over %s', (kind) => {
  test.each([true, false])('with a second factor: %s', async (on) => {
    let clockMs = Date.UTC(2026, 0, 1, 0, 0, 7);
    const nowMs = () => clockMs;
    await open({ now: nowMs, ...(on ? { tfaSecret: SEED } : {}) }, kind);
    const sleeps: number[] = [];
    const sleep = (ms: number) => {
      sleeps.push(ms);
      clockMs += ms;
      return Promise.resolve();
    };
    vi.spyOn(Date, 'now').mockImplementation(nowMs);
    const secondFactor = totpSecondFactor(SEED, { nowMs, sleep });
    const world = openRotationWorld(sandbox, desk.folder, { kind, nowMs, secondFactor });
    const { clientId } = await makeKey(world, 'bot', 'trade:read', ['127.0.0.1']);
    const change = async (wanted: KeyChange) => {
      const target = (await listAccountKeys(world.context, world.login)).find((key) => key.name === 'bot');
      if (target === undefined) throw new Error('the key is not on the list');
      return changeKey(world.context, { login: world.login, target, change: wanted });
    };
    expect(await change({ do: 'scope', scope: 'trade:read account:read' })).toMatchObject({
      scope: 'account:read trade:read',
    });
    expect(await change({ do: 'rename', label: 'other' })).toMatchObject({ label: 'other' });
    expect(await change({ do: 'edit', ipWhitelist: [] })).toMatchObject({ ipWhitelist: [] });
    expect(await change({ do: 'disable' })).toMatchObject({ enabled: false });
    expect(await change({ do: 'enable' })).toMatchObject({ enabled: true });
    const rotation = await world.rotate('bot');
    expect(rotation).toMatchObject({ state: 'done', previousClientId: clientId });
    expect(keyOf(sandbox, rotation.clientId ?? '')).toMatchObject({ enabled: true, name: 'other' });
    await change({ do: 'remove' });
    expect(sandbox.keys().map(({ client_id: id }) => id)).toEqual([sandbox.clientId]);

    // each of the two registrations looks at the list first, and does not spend a code on it
    const challenges = sandbox.calls.filter(({ outcome }) => outcome === 'challenge').length;
    expect(challenges).toBe(on ? 16 : 0);
    expect(sleeps.length).toBe(on ? challenges - 3 : 0);
    expect(world.notes.filter((note) => /waiting \d+ s for the next one/.test(note)).length).toBe(sleeps.length);
  });
});

test('rotating several keys asks for a code for the list once', async () => {
  let clockMs = Date.UTC(2026, 0, 1, 0, 0, 7);
  const nowMs = () => clockMs;
  await open({ now: nowMs, tfaSecret: SEED });
  const sleep = (ms: number) => {
    clockMs += ms;
    return Promise.resolve();
  };
  vi.spyOn(Date, 'now').mockImplementation(nowMs);
  const world = openRotationWorld(sandbox, desk.folder, {
    nowMs,
    secondFactor: totpSecondFactor(SEED, { nowMs, sleep }),
  });
  for (const name of ['one', 'two', 'three']) await makeKey(world, name, 'trade:read');
  const before = sandbox.calls.length;
  const results = await rotateAll({
    store: world.store,
    olderThanMs: 0,
    isMeant: () => true,
    loginClientId: sandbox.clientId,
    contextFor: async () => ({
      context: world.context,
      login: async () => world.login,
      makeSuccessor: localSuccessor(world.store, () => Promise.reject(new Error('no passphrase'))),
    }),
  });
  expect(results.map(({ state }) => state)).toEqual(['done', 'done', 'done']);
  const lists = sandbox.calls
    .slice(before)
    .filter(({ method, outcome }) => method === 'private/list_api_keys' && outcome === 'ok');
  expect(lists).toHaveLength(1);
});

describe('on the command line, exit code 6 tells that', () => {
  const list = (env: Record<string, string> = {}) => desk.run(['api-keys', 'list'], { env });

  test('a second factor is asked for and none is available', async () => {
    await open();
    const result = await list();
    expect([result.exitCode, result.error().code]).toEqual([6, 'ERR_SECOND_FACTOR_REQUIRED']);
    await desk.json(['generate', 'bot']);
    expect((await desk.run(['register', 'bot', '--scope', 'trade:read'])).exitCode).toBe(6);
    expect((await desk.run(['rotate', 'bot'])).exitCode).toBe(1);
    expect(sandbox.keys()).toHaveLength(1);
  });

  test('the code is wrong', async () => {
    await open();
    const result = await list({ DERIBIT_TFA_CODE: wrongCode(Date.now()) });
    expect([result.exitCode, result.error().code]).toEqual([6, 'ERR_SECOND_FACTOR_REFUSED']);
    expect(reasonOf(result.error().rpc)).toBe('tfa_code_not_matched');
  });

  test('the code was used before', async () => {
    await open();
    const code = codeAt(Date.now());
    expect((await list({ DERIBIT_TFA_CODE: code })).exitCode).toBe(0);
    const again = await desk.run(['api-keys', 'list', '--tfa-code', code]);
    expect([again.exitCode, reasonOf(again.error().rpc)]).toEqual([6, 'used_tfa_code']);
  });

  test('the code came too late', async () => {
    await open({
      tfaSecret: SEED,
      now: () => Date.now() + (sandbox?.calls.some(({ outcome }) => outcome === 'challenge') ? 61_000 : 0),
    });
    const result = await list({ DERIBIT_TFA_CODE: codeAt(Date.now()) });
    expect([result.exitCode, reasonOf(result.error().rpc)]).toEqual([6, 'challenge_timeout']);
  });

  test('a challenge came without its code', async () => {
    await open();
    const access = await token(sandbox);
    const { challenge } = record((await post(sandbox, 'private/list_api_keys', {}, access)).result);
    const { error } = await post(sandbox, 'private/list_api_keys', { challenge }, access);
    expect(error?.data).toEqual({ reason: 'tfa_code_is_required' });
    const { code, message } = rpcError('private/list_api_keys', { ...error, code: error?.code ?? 0, message: '' });
    expect([exitCodeOf(code), message]).toEqual([6, expect.stringContaining('tfa_code_is_required')]);
  });

  test('there were too many wrong codes, and for how long to wait', async () => {
    await open();
    for (let count = 0; count < 5; count += 1) {
      expect((await list({ DERIBIT_TFA_CODE: wrongCode(Date.now(), count * 7) })).exitCode).toBe(6);
    }
    const locked = await list({ DERIBIT_TFA_CODE: codeAt(Date.now()) });
    expect([locked.exitCode, locked.error().rpc?.code]).toEqual([6, 12998]);
    expect(locked.error().hint).toMatch(/^wait \d+ s/);
    offsetMs += 61_000;
    expect((await list({ DERIBIT_TFA_CODE: codeAt(Date.now()) })).exitCode).toBe(0);
  });

  test('the account has hardware keys only', async () => {
    await open({ secondFactor: 'hardware' });
    const result = await list({ DERIBIT_TFA_CODE: '123456' });
    expect([result.exitCode, result.error().message]).toEqual([6, expect.stringContaining('hardware')]);
  });

  test('the account has no second factor set up', async () => {
    await open({ secondFactor: 'missing' });
    const result = await list({ DERIBIT_TFA_CODE: '123456' });
    expect([result.exitCode, result.error().rpc?.code]).toEqual([6, 13904]);
  });

  test('one code is not enough for two challenges', async () => {
    await open();
    const { client_id: clientId } = sandbox.addKey({ name: 'spare', maxScope: 'trade:read' });
    const result = await desk.run(['api-keys', 'disable', clientId, '--yes', '--tfa-code', codeAt(Date.now())]);
    expect([result.exitCode, result.error().hint]).toEqual([6, expect.stringContaining('seed')]);
    expect(keyOf(sandbox, clientId)?.enabled).toBe(true);
  });
});

test.each([
  ['as it is', SEED],
  ['with spaces and in lower case', SEED.toLowerCase().replace(/(.{4})/g, '$1 ')],
])('a seed %s is taken from the environment and from a file', async (_how, seed) => {
  await open();
  expect((await desk.run(['api-keys', 'list'], { env: { DERIBIT_TFA_SECRET: seed } })).exitCode).toBe(0);
  offsetMs += STEP_MS;
  const file = join(temporaryFolder(), 'seed');
  await writeFile(file, `${seed}\n`);
  expect((await desk.run(['api-keys', 'list', '--tfa-secret-file', file])).exitCode).toBe(0);
});

test('what is no seed is a usage error, and is not repeated', async () => {
  await open();
  const result = await desk.run(['api-keys', 'list'], { env: { DERIBIT_TFA_SECRET: 'not-a-seed-1890' } });
  expect([result.exitCode, result.stderr.includes('1890')]).toEqual([2, false]);
});

describe('on a terminal', () => {
  const ask = (answer: (question: string, number: number) => string, argv: readonly string[] = ['api-keys', 'list']) =>
    onTerminal(
      argv,
      {
        DERIBIT_KEYS_DIR: desk.folder,
        DERIBIT_KEYS_URL: desk.url,
        DERIBIT_CLIENT_ID: sandbox.clientId,
        DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
      },
      answer,
    );

  test('a wrong code may be typed again, three times', async () => {
    await open();
    const fourth = await ask((_question, number) =>
      number < 3 ? wrongCode(Date.now(), number * 7) : codeAt(Date.now()),
    );
    expect([fourth.exitCode, fourth.asked]).toEqual([0, 4]);
    expect(fourth.stderr.match(/That code was refused/g)).toHaveLength(3);
    const never = await ask((_question, number) => wrongCode(Date.now(), number * 7));
    expect([never.exitCode, never.asked]).toEqual([6, 4]);
  });

  test('a code that was used, and one that came too late, are asked for again with the reason', async () => {
    await open();
    const first = codeAt(Date.now());
    expect((await ask(() => first)).exitCode).toBe(0);
    const questions: string[] = [];
    const result = await ask((question, number) => {
      questions.push(question);
      if (number === 0) return first;
      if (number === 1) offsetMs += 61_000;
      return codeAt(Date.now());
    });
    expect(result.exitCode).toBe(0);
    expect(questions).toEqual([
      expect.stringContaining('private/list_api_keys'),
      expect.stringContaining('used already'),
      expect.stringContaining('took too long'),
    ]);
  });

  test('a command with several challenges asks for each, and a confirmation comes before the change', async () => {
    await open();
    const { client_id: clientId } = sandbox.addKey({ name: 'spare', maxScope: 'trade:read' });
    const argv = ['api-keys', 'disable', clientId];
    const answer = (question: string, number: number) => {
      if (question.includes('[y/N]')) return 'y';
      return codeAt(Date.now() + (number === 0 ? 0 : STEP_MS));
    };
    const refused = await ask(
      (question, number) => (question.includes('[y/N]') ? 'n' : answer(question, number)),
      argv,
    );
    expect([refused.exitCode, refused.stderr]).toEqual([1, expect.stringContaining('nothing was changed')]);
    expect(keyOf(sandbox, clientId)?.enabled).toBe(true);
    offsetMs += 2 * STEP_MS;
    const agreed = await ask(answer, argv);
    expect([agreed.exitCode, agreed.asked]).toEqual([0, 3]);
    expect(keyOf(sandbox, clientId)?.enabled).toBe(false);
  });
});
