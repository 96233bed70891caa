import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { kindOf } from '../../../src/sandbox/faults/faults.js';
import {
  type FaultName,
  faultNames,
  formatFault,
  parseFault,
  type Sandbox,
  startSandbox,
} from '../../../src/sandbox/index.js';
import { propertyRuns } from '../../support/properties.js';
import { bootstrap, ed25519, get, type Json, post, record, Socket, signed, token } from '../client.js';

let sandbox: Sandbox;
let socket: Socket;
beforeEach(async () => {
  sandbox = await startSandbox({ faultApi: true });
  socket = await Socket.open(sandbox);
  await socket.request('public/auth', bootstrap(sandbox));
});
afterEach(async () => {
  socket.close();
  await sandbox.close();
});

const argumentOf = (name: FaultName): fc.Arbitrary<string | null> => {
  const { argument } = kindOf(name);
  if (typeof argument !== 'string') return fc.constantFrom(null, ...argument);
  const number = fc.nat().map(String);
  switch (argument) {
    case 'none':
      return fc.constant(null);
    case 'count':
      return number;
    case 'count?':
      return fc.option(number);
    case 'integer':
      return fc.integer().map(String);
    case 'scope?':
      return fc.constantFrom(null, 'trade:read', 'account:read_write trade:read');
  }
};
const specs = fc.constantFrom(...faultNames).chain((name) =>
  kindOf(name).phase === 'always'
    ? fc.record({
        name: fc.constant(name),
        method: fc.constant(null),
        arg: argumentOf(name),
        skip: fc.constant(0),
        times: fc.constant(null),
      })
    : fc.record({
        name: fc.constant(name),
        method: fc.option(fc.constantFrom('private/create_api_key', 'public/auth', 'private/buy', 'public/get_time')),
        arg: argumentOf(name),
        skip: fc.nat({ max: 1000 }),
        times: fc.option(fc.integer({ min: 1, max: 1000 })),
      }),
);

describe('a spec', () => {
  it('reads back to what was written', () => {
    fc.assert(
      fc.property(specs, (spec) => {
        expect(parseFault(formatFault(spec))).toEqual(spec);
      }),
    );
  });

  it('of any text is read or refused with ERR_USAGE', () => {
    const text = fc.oneof(
      fc.string(),
      fc.tuple(specs, fc.string({ maxLength: 3 })).map(([s, t]) => formatFault(s) + t),
    );
    fc.assert(
      fc.property(text, (spec) => {
        try {
          expect(parseFault(formatFault(parseFault(spec)))).toEqual(parseFault(spec));
        } catch (error) {
          expect(error).toMatchObject({ name: 'SandboxError', code: 'ERR_USAGE', hint: expect.any(String) });
        }
      }),
      { numRuns: propertyRuns(500) },
    );
  });

  it.each([
    '',
    'nonsense',
    'delay',
    'delay:x:y',
    'delay:-1',
    'huge:-1',
    'huge:a:b',
    'cut-before:3',
    'cut-beforex0',
    'cut-before@create_api_key',
    'other-scope:3',
    'clock:1x2',
    'clock@public/auth:1',
    'late-cut',
    'late-cut:-5',
    'hide-secret:shown',
    'hide-secret:masked-other',
    'signature-encoding:base32',
    'nonce-once:1',
  ])('%j is refused, and changes nothing', async (spec) => {
    sandbox.setFaults(['error@public/test:10040']);
    expect(() => sandbox.setFaults(['silent', spec])).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
    expect((await socket.request('public/test'))?.error?.code).toBe(10_040);
  });
});

it('passes some requests, strikes some, and lets the rest be', async () => {
  sandbox.setFaults(['error@public/test:10028+2x2']);
  const outcomes: boolean[] = [];
  for (let i = 0; i < 6; i++) outcomes.push((await socket.request('public/test'))?.error === undefined);
  expect(outcomes).toEqual([true, true, false, false, true, true]);
});

async function create(params: Json = {}): Promise<Json> {
  const answer = await socket.request('private/create_api_key', { max_scope: 'account:read', ...params });
  return record(answer?.result);
}

describe('answers with keys', () => {
  it('can have a wrong fingerprint', async () => {
    sandbox.setFaults(['wrong-fingerprintx1']);
    const key = await create({ public_key: ed25519().pem });
    const [, kept] = sandbox.keys();
    expect(key.client_secret).toMatch(/^[0-9a-f]{2}(:[0-9a-f]{2}){15}$/);
    expect(key.client_secret).not.toBe(kept?.client_secret);
    expect(key.public_key).toBe(kept?.public_key);
    sandbox.setFaults(['wrong-fingerprint']);
    const symmetric = await create();
    expect(symmetric.client_secret).toBe(sandbox.keys()[2]?.client_secret);
  });

  it('can have a wrong public key, or none', async () => {
    sandbox.setFaults(['wrong-public-keyx1', 'hide-public-key@private/list_api_keys']);
    const key = await create({ public_key: ed25519().pem });
    expect(key.public_key).toMatch(/^-----BEGIN PUBLIC KEY----- \S+ -----END PUBLIC KEY-----$/);
    expect(key.public_key).not.toBe(sandbox.keys()[1]?.public_key);
    expect(key.client_secret).toBe(sandbox.keys()[1]?.client_secret);
    const list = (await socket.request('private/list_api_keys'))?.result;
    expect(list).toHaveLength(2);
    for (const item of list as unknown[]) expect(item).not.toHaveProperty('public_key');
    expect(await create()).not.toHaveProperty('public_key');
  });

  it('can show another scope, logins too', async () => {
    sandbox.setFaults(['other-scope@private/create_api_key', 'other-scope@public/auth:wallet:read']);
    expect((await create()).max_scope).toBe('trade:read');
    expect((await create({ max_scope: 'trade:read' })).max_scope).toBe('account:read');
    expect(record((await socket.request('public/auth', bootstrap(sandbox)))?.result).scope).toBe('wallet:read');
  });

  it('can be about another key altogether, which then cannot log in', async () => {
    sandbox.setFaults(['swap-key']);
    const pair = ed25519();
    const key = await create({ public_key: pair.pem });
    expect(key.public_key).not.toBe(pair.pem.trim().replaceAll('\n', ' '));
    expect(key.public_key).toBe(sandbox.keys()[1]?.public_key);
    const login = await post(sandbox, 'public/auth', signed(String(key.client_id), pair.privateKey));
    expect(login.error?.code).toBe(13_004);
  });

  it('are not struck while there is only a challenge', async () => {
    const guarded = await startSandbox({ secondFactor: 'hardware', faults: ['swap-keyx1', 'wrong-fingerprintx1'] });
    const { result } = await post(guarded, 'private/create_api_key', { max_scope: 'trade:read' }, await token(guarded));
    expect(result).toHaveProperty('challenge');
    await guarded.close();
  });
});

describe('deliveries', () => {
  it('of nothing, after handling or without it', async () => {
    sandbox.setFaults(['drop-answer@private/create_api_keyx1', 'silent@private/create_api_key+1x1']);
    socket.send('private/create_api_key', { max_scope: 'trade:read' });
    socket.send('private/create_api_key', { max_scope: 'trade:read' });
    await socket.request('public/test');
    expect(sandbox.keys()).toHaveLength(2);
    expect(socket.answers).toHaveLength(2);
    const labels = sandbox.calls
      .filter(({ method }) => method.endsWith('create_api_key'))
      .map(({ outcome }) => outcome);
    expect(labels).toEqual(['drop-answer:ok', 'silent']);
  });

  it('twice', async () => {
    sandbox.setFaults(['duplicatex1']);
    const id = socket.send('public/test');
    await socket.request('public/test');
    expect(socket.answers.filter((answer) => answer.id === id)).toHaveLength(2);
  });

  it('in another order, or late if no other answer follows', async () => {
    sandbox.setFaults(['reorder@public/testx2']);
    const first = socket.send('public/test');
    const second = socket.send('public/get_time');
    await socket.until(() => socket.answers.find((answer) => answer.id === first));
    expect(socket.answers.slice(-2).map(({ id }) => id)).toEqual([second, first]);
    expect((await socket.request('public/test'))?.result).toMatchObject({ version: expect.any(String) });
  });

  it('later than a timer can be set to', async () => {
    sandbox.setFaults([`delay@public/test:${2 ** 31}`]);
    const before = socket.answers.length;
    const late = socket.send('public/test');
    await new Promise((resolve) => setTimeout(resolve, 20));
    await socket.request('public/get_time');
    expect(socket.answers.slice(before).map(({ id }) => id)).toEqual([late + 1]);
  });

  it('late, so that a later request is answered first', async () => {
    sandbox.setFaults(['delay@public/test:60']);
    const first = socket.send('public/test');
    const second = socket.send('public/get_time');
    await socket.until(() => socket.answers.find((answer) => answer.id === first));
    expect(socket.answers.slice(-2).map(({ id }) => id)).toEqual([second, first]);
    expect((await get(sandbox, 'public/test')).error).toBeUndefined();
  });

  it('of what is no answer', async () => {
    sandbox.setFaults(['garbagex2']);
    const before = socket.frames.length;
    socket.send('public/test');
    const frame = await socket.until(() => socket.frames[before]);
    expect(() => JSON.parse(String(frame))).toThrow();
    const response = await fetch(`${sandbox.httpUrl}/public/test`);
    await expect(response.json()).rejects.toThrow();
  });

  it('of far too much', async () => {
    sandbox.setFaults(['huge:100000x1']);
    const id = socket.send('public/test');
    await socket.until(() => socket.answers.find((answer) => answer.id === id));
    expect(socket.frames.at(-1)?.length).toBeGreaterThan(100_000);
    sandbox.setFaults(['hugex1']);
    expect((await (await fetch(`${sandbox.httpUrl}/public/test`)).text()).length).toBeGreaterThan(64 * 1024 * 1024);
  });

  it('with the wrong environment', async () => {
    sandbox.setFaults(['wrong-testnetx1']);
    expect((await socket.request('public/test'))?.testnet).toBe(false);
    expect((await socket.request('public/test'))?.testnet).toBe(true);
  });
});

it('refuses logins and refreshes apart', async () => {
  const login = record((await post(sandbox, 'public/auth', bootstrap(sandbox))).result);
  const refresh = { grant_type: 'refresh_token', refresh_token: login.refresh_token };
  sandbox.setFaults(['refuse-loginx1', 'refuse-refreshx1']);
  expect((await post(sandbox, 'public/auth', refresh)).error?.code).toBe(13_009);
  expect((await post(sandbox, 'public/auth', bootstrap(sandbox))).error?.code).toBe(13_004);
  expect((await post(sandbox, 'public/auth', refresh)).error).toBeUndefined();
  expect((await post(sandbox, 'public/auth', bootstrap(sandbox))).error).toBeUndefined();
});

it.each([600_000, -600_000])('has a clock that is %i ms off', async (offsetMs) => {
  const nowMs = 1_760_000_000_000;
  const off = await startSandbox({ now: () => nowMs, faults: [`clock:${offsetMs}`] });
  const pair = ed25519();
  const { client_id: id } = off.addKey({ publicKey: pair.pem });
  const login = (timestamp: number) => post(off, 'public/auth', signed(id, pair.privateKey, { timestamp }));
  expect((await login(nowMs)).error?.code).toBe(13_004);
  expect((await post(off, 'public/get_time')).result).toBe(nowMs + offsetMs);
  expect((await login(nowMs + offsetMs)).error).toBeUndefined();
  off.clearFaults();
  expect((await post(off, 'public/get_time')).result).toBe(nowMs);
  await off.close();
});

it('loses what was sent behind a request that is cut off', async () => {
  const order = { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'market' };
  sandbox.setFaults(['cut-after@private/buyx1']);
  for (const label of ['a', 'b', 'c']) socket.send('private/buy', { ...order, label });
  expect(await socket.closed()).toBe(1006);
  expect(sandbox.orders().map(({ label }) => label)).toEqual(['a']);
});
