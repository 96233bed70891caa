import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { Signer } from '../../src/crypto/signer.js';
import { openSession } from '../../src/session/index.js';
import { afterTest } from '../support/after-test.js';
import { FakeTime } from '../support/fake-time.js';
import { thrownBy, until } from '../support/outcomes.js';
import { all, next, type World, world } from './support.js';

const logins = (w: World) => w.calls().filter((call) => call.startsWith('public/auth'));
const SUMMARY = ['private/get_account_summary', { currency: 'BTC' }] as const;
const BUY = ['private/buy', { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'market' }] as const;

describe('logging in', () => {
  test('happens once however many callers ask', async () => {
    const w = await world();
    const session = await w.open();
    expect(await next(session, 'login')).toMatchObject({ reason: 'open', missing: [], expiresInS: 900 });
    await Promise.all(Array.from({ length: 50 }, () => session.request(...SUMMARY)));
    await Promise.all([session.accessToken(), session.accessToken()]);
    expect(logins(w)).toEqual(['public/auth ok']);
  });

  test('tells which words of the scope were not granted', async () => {
    const w = await world({}, 'account:read trade:read');
    const session = await w.open({ scope: 'account:read trade:read_write' });
    expect((await next(session, 'login')).missing).toEqual(['trade:read_write']);
  });

  test.each(
    ['error', 'cut-before', 'cut-after', 'garbage'].flatMap((name) =>
      name === 'error'
        ? [10028, 10040, 13028, 11051].map((code) => `error@public/auth:${code}x2`)
        : `${name}@public/authx2`,
    ),
  )('is tried again after %s', async (fault) => {
    const w = await world({ faults: [fault] });
    const session = await w.open();
    expect(await session.request(...SUMMARY)).toMatchObject({ currency: 'BTC' });
    expect(logins(w)).toHaveLength(3);
  });

  test('is given up where the exchange stays busy for too long', async () => {
    const w = await world({ faults: ['error@public/auth:11051'] });
    expect(await thrownBy(w.open({ openWithinMs: 60 }))).toMatchObject({ code: 'ERR_RPC', rpc: { code: 11051 } });
  });

  test('that is refused is final, names the client id and rules out the clock', async () => {
    const [w, other] = await Promise.all([world(), world()]);
    const error = await thrownBy(w.open({ signer: other.signer }));
    expect(error).toMatchObject({ code: 'ERR_UNAUTHORIZED', rpc: { code: 13004 } });
    expect(error.message).toContain(w.clientId);
    expect(error.message).toContain('the clock is not the reason');
    expect(logins(w)).toEqual(['public/auth 13004']);
  });

  test('is signed while the connection is still being made', async () => {
    const w = await world();
    const silent = createServer(() => {}).listen(0, '127.0.0.1');
    afterTest(async () => silent.close());
    await once(silent, 'listening');
    const url = `ws://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    let opening: Promise<unknown> = Promise.resolve();
    const end = new AbortController();
    await new Promise<void>((signed) => {
      const signer: Signer = {
        ...w.signer,
        sign: (message) => {
          signed();
          return w.signer.sign(message);
        },
      };
      opening = thrownBy(openSession({ url, clientId: w.clientId, signer, signal: end.signal }));
    });
    end.abort();
    expect(await opening).toMatchObject({ code: 'ERR_INTERRUPTED' });
  });

  test('fails at once where there is no exchange', async () => {
    const w = await world();
    await w.sandbox.close();
    expect(await thrownBy(w.open())).toMatchObject({ code: 'ERR_NETWORK', maybeSent: false });
  });

  test.each([600_000, -600_000])('works with a clock that is off by %i ms, and says so', async (offsetMs) => {
    const w = await world({ faults: [`clock:${offsetMs}`] });
    const session = await w.open();
    const clock = await next(session, 'clock');
    expect(clock.corrected).toBe(true);
    expect(Math.abs(clock.offsetMs - offsetMs)).toBeLessThan(5_000);
    expect(session.clockOffsetMs).toBe(clock.offsetMs);
    expect(logins(w)).toEqual(['public/auth 13004', 'public/auth ok']);
    const back = next(session, 'reconnect');
    w.sandbox.dropConnections();
    await back;
    expect(logins(w)).toEqual(['public/auth 13004', 'public/auth ok', 'public/auth ok']);
  });

  test('is never signed for another day, whatever the exchange says of the time', async () => {
    const w = await world({ faults: ['clock:90000000'] });
    const error = await thrownBy(w.open());
    expect(error).toMatchObject({ code: 'ERR_UNAUTHORIZED' });
    expect(error.message).toMatch(/the clock is off by (90|89)\d{6} ms, too far off to be corrected/);
    expect(logins(w)).toEqual(['public/auth 13004']);
  });

  test('with a corrected timestamp that is refused as well ends after that one more try', async () => {
    const [w, other] = await Promise.all([world({ faults: ['clock:600000'] }), world()]);
    const error = await thrownBy(w.open({ signer: other.signer }));
    expect(error.message).toMatch(/off by \d+ ms, which was corrected/);
    expect(logins(w)).toEqual(['public/auth 13004', 'public/auth 13004']);
  });

  test('that is refused while the clock cannot be read is tried on one more connection, then final', async () => {
    const w = await world({ faults: ['refuse-login', 'error@public/get_time:11051'] });
    expect(await thrownBy(w.open())).toMatchObject({ code: 'ERR_UNAUTHORIZED' });
    expect(logins(w)).toHaveLength(2);
  });

  test('ends with the wrong environment', async () => {
    const w = await world({ testnet: false });
    expect(await thrownBy(w.open())).toMatchObject({ code: 'ERR_WRONG_ENVIRONMENT' });
    const session = await w.open({ environment: 'prod' });
    expect(await session.request('public/test')).toMatchObject({ version: expect.any(String) });
  });

  test('shows what a signer throws, and goes on without it only after the first time', async () => {
    const w = await world();
    const away = { ...w.signer, sign: () => Promise.reject(new Error('the agent is away')) };
    expect(await thrownBy(w.open({ signer: away }))).toMatchObject({
      code: 'ERR_SIGNER',
      cause: expect.objectContaining({ message: 'the agent is away' }),
    });
    let failures = 0;
    const flaky = {
      ...w.signer,
      sign: (message: Uint8Array) => {
        if (failures === 0) return w.signer.sign(message);
        failures -= 1;
        throw new Error('thrown at once');
      },
    };
    const session = await w.open({ signer: flaky });
    failures = 2;
    const lost = all(session, 'disconnect');
    const back = next(session, 'reconnect');
    w.sandbox.dropConnections();
    expect(await back).toMatchObject({ attempts: 3 });
    expect(lost.map(({ error }) => error?.code)).toEqual(['ERR_CONNECTION_CLOSED', 'ERR_SIGNER', 'ERR_SIGNER']);
  });

  test.each([
    [{ clientId: '' }],
    [{ signer: undefined }],
    [{ scope: 'trade:everything' }],
    [{ heartbeatS: 1 }],
    [{ timeoutMs: Number.NaN }],
    [{ url: 'ftp://example.org' }],
    [{ url: 'ws://192.0.2.1/ws/api/v2' }],
    [{ rate: { cost: 2, pool: 1, refillPerS: 1 } }],
  ])('refuses options that cannot be meant: %o', async (bad) => {
    const w = await world();
    expect(
      await thrownBy(openSession({ url: w.sandbox.wsUrl, clientId: 'x', signer: w.signer, ...(bad as object) })),
    ).toMatchObject({ code: 'ERR_USAGE' });
    expect(w.calls()).toEqual([]);
  });
});

describe('a cut', () => {
  test('is survived: login, then subscriptions, then what waited', async () => {
    const w = await world();
    const session = await w.open();
    const seen: unknown[] = [];
    await session.subscribe('sandbox.counter.20ms', (message) => seen.push(message.data));
    const back = next(session, 'reconnect');
    w.sandbox.dropConnections();
    await next(session, 'disconnect');
    const waited = session.request('private/get_open_orders', {});
    expect(await back).toMatchObject({ attempts: 1 });
    expect(await waited).toEqual([]);
    expect(w.calls()).toEqual([
      'public/auth ok',
      'private/subscribe ok',
      'public/auth ok',
      'private/subscribe ok',
      'private/get_open_orders ok',
    ]);
    const before = seen.length;
    await expect.poll(() => seen.length).toBeGreaterThan(before + 2);
  });

  test.each([
    ['cut-after', 1],
    ['cut-before', 0],
  ])(
    '(%s) while an order is under way leaves its outcome unknown, and sends it no second time',
    async (fault, orders) => {
      const w = await world();
      const session = await w.open();
      w.sandbox.addFault(`${fault}@private/buyx1`);
      const back = next(session, 'reconnect');
      const error = await thrownBy(session.request(...BUY));
      expect(error).toMatchObject({ code: 'ERR_OUTCOME_UNKNOWN', maybeSent: true });
      await back;
      await session.request(...SUMMARY);
      expect(w.sandbox.orders()).toHaveLength(orders);
    },
  );

  test('rejects what may not wait', async () => {
    const w = await world();
    const session = await w.open();
    void w.sandbox.restart(50);
    await next(session, 'disconnect');
    expect(await thrownBy(session.request(...BUY, { queue: false }))).toMatchObject({
      code: 'ERR_CONNECTION_CLOSED',
      maybeSent: false,
    });
    expect(await thrownBy(session.request(...BUY, { timeoutMs: 1 }))).toMatchObject({
      code: 'ERR_NOT_SENT',
      maybeSent: false,
    });
    const stop = new AbortController();
    const stopped = thrownBy(session.request(...BUY, { signal: stop.signal }));
    stop.abort();
    expect(await stopped).toMatchObject({ code: 'ERR_INTERRUPTED', maybeSent: false });
    await next(session, 'reconnect');
    expect(w.sandbox.orders()).toEqual([]);
  });

  test('lets only so many requests wait', async () => {
    const w = await world();
    const session = await w.open({ queueLimit: 2 });
    void w.sandbox.restart(50);
    await next(session, 'disconnect');
    const all = await Promise.allSettled(Array.from({ length: 3 }, () => session.request(...SUMMARY)));
    expect(all.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
    expect(all[2]).toMatchObject({ reason: { code: 'ERR_NOT_SENT', maybeSent: false } });
  });

  test('of a complete restart is waited out, with longer and longer waits', async () => {
    const w = await world();
    const session = await w.open();
    const lost = all(session, 'disconnect');
    const back = next(session, 'reconnect');
    void w.sandbox.restart(150);
    const { attempts, awayMs } = await back;
    expect(attempts).toBeGreaterThan(2);
    expect(awayMs).toBeGreaterThan(100);
    expect(lost).toHaveLength(attempts);
    expect(lost.every(({ retryInMs }) => retryInMs <= 40)).toBe(true);
    expect(await session.request(...SUMMARY)).toMatchObject({ currency: 'BTC' });
  });

  test('asks for no signature while the exchange is away, and for one when it is back', async () => {
    const w = await world();
    let signatures = 0;
    const signer: Signer = {
      ...w.signer,
      sign: (message) => {
        signatures += 1;
        return w.signer.sign(message);
      },
    };
    const session = await w.open({ signer });
    expect(signatures).toBe(1);
    const back = next(session, 'reconnect');
    void w.sandbox.restart(150);
    expect((await back).attempts).toBeGreaterThan(2);
    expect(signatures).toBe(2);
  });

  test('after which the login is refused ends the session, and every request says why', async () => {
    const w = await world();
    const session = await w.open();
    w.sandbox.setFaults(['refuse-login']);
    const closed = next(session, 'closed');
    w.sandbox.dropConnections();
    await next(session, 'disconnect');
    const waiting = thrownBy(session.request(...SUMMARY, { queue: true }));
    expect((await closed).error).toMatchObject({ code: 'ERR_UNAUTHORIZED', rpc: { code: 13004 } });
    const refused = { code: 'ERR_UNAUTHORIZED', maybeSent: false, rpc: { code: 13004 } };
    expect(await waiting).toMatchObject(refused);
    expect(await thrownBy(session.request(...SUMMARY))).toMatchObject(refused);
    expect(await thrownBy(session.accessToken())).toMatchObject(refused);
    expect(await thrownBy(session.subscribe('sandbox.counter.20ms', () => {}))).toMatchObject(refused);
    expect(await session.closed).toMatchObject({ code: 'ERR_UNAUTHORIZED' });
    expect(logins(w)).toEqual(['public/auth ok', 'public/auth 13004']);
  });

  test('by a garbage frame, or with answers doubled and reordered, does no harm', async () => {
    const w = await world();
    const session = await w.open();
    w.sandbox.setFaults(['duplicate', 'reorder+1x3']);
    const answers = await Promise.all(
      ['BTC', 'ETH', 'USDC'].map((currency) => session.request(SUMMARY[0], { currency })),
    );
    expect(answers.map((answer) => (answer as { currency: string }).currency)).toEqual(['BTC', 'ETH', 'USDC']);
    w.sandbox.setFaults(['garbage@private/buyx1']);
    expect(await thrownBy(session.request(...BUY))).toMatchObject({ code: 'ERR_OUTCOME_UNKNOWN', maybeSent: true });
    expect(await session.request(...SUMMARY)).toMatchObject({ currency: 'BTC' });
  });
});

describe('a request', () => {
  test('with a token that was revoked logs in anew, once for all, and is sent again', async () => {
    const w = await world();
    const session = await w.open();
    w.sandbox.addFault('error@private/get_account_summary:13009x3');
    const answers = await Promise.all(Array.from({ length: 3 }, () => session.request(...SUMMARY)));
    expect(answers).toHaveLength(3);
    expect(logins(w)).toEqual(['public/auth ok', 'public/auth ok']);
  });

  test('that is refused for its token again is told so', async () => {
    const w = await world();
    const session = await w.open();
    w.sandbox.addFault('error@private/get_account_summary:13009x2');
    expect(await thrownBy(session.request(...SUMMARY))).toMatchObject({
      code: 'ERR_UNAUTHORIZED',
      rpc: { code: 13009 },
    });
    expect(await session.request(...SUMMARY)).toMatchObject({ currency: 'BTC' });
  });

  test('with a token of a key that was disabled meanwhile ends the session', async () => {
    const w = await world();
    const session = await w.open();
    w.sandbox.setFaults(['error@private/get_account_summary:13009', 'refuse-login']);
    expect(await thrownBy(session.request(...SUMMARY))).toMatchObject({
      code: 'ERR_UNAUTHORIZED',
      rpc: { code: 13004 },
    });
    expect(await session.closed).toMatchObject({ code: 'ERR_UNAUTHORIZED' });
  });

  test('that meets a login which is busy comes through on the next connection', async () => {
    const w = await world();
    const session = await w.open();
    w.sandbox.setFaults(['error@private/get_account_summary:13009x1', 'error@public/auth:10028x1']);
    expect(await session.request(...SUMMARY)).toMatchObject({ currency: 'BTC' });
  });

  test.each([10028, 11051])(
    'that changes something is sent again after %i, by which it was not handled',
    async (code) => {
      const w = await world();
      const session = await w.open();
      w.sandbox.addFault(`error@private/buy:${code}x2`);
      await session.request(...BUY);
      expect(w.calls().filter((call) => call.startsWith('private/buy'))).toEqual([
        `private/buy ${code}`,
        `private/buy ${code}`,
        'private/buy ok',
      ]);
    },
  );

  test.each([10040, 13028])('is sent again after %i only where it changes nothing', async (code) => {
    const w = await world();
    const session = await w.open();
    w.sandbox.setFaults([`error@private/buy:${code}x1`, `error@private/get_account_summary:${code}x1`]);
    expect(await session.request(...SUMMARY)).toMatchObject({ currency: 'BTC' });
    expect(await thrownBy(session.request(...BUY))).toMatchObject({ code: 'ERR_RPC', rpc: { code }, maybeSent: true });
    expect(w.calls().filter((call) => call.startsWith('private/buy'))).toHaveLength(1);
  });

  test('is not asked again for longer than it may take', async () => {
    const w = await world();
    const session = await w.open();
    w.sandbox.addFault('error@private/buy:10028');
    expect(await thrownBy(session.request(...BUY, { timeoutMs: 100 }))).toMatchObject({
      code: 'ERR_RPC',
      rpc: { code: 10028 },
    });
  });

  test('gets other refusals as they are', async () => {
    const w = await world({}, 'account:read');
    const session = await w.open();
    expect(await thrownBy(session.request(...BUY))).toMatchObject({ code: 'ERR_RPC', rpc: { code: 13021 } });
    expect(await thrownBy(session.request('private/get_nothing'))).toMatchObject({
      code: 'ERR_RPC',
      rpc: { code: -32601 },
    });
    expect(await thrownBy(session.request('nonsense'))).toMatchObject({ code: 'ERR_USAGE', maybeSent: false });
  });

  test.each(['public/auth', 'private/logout'])('for %s are refused: the session makes them itself', async (method) => {
    const w = await world();
    const session = await w.open();
    expect(await thrownBy(session.request(method))).toMatchObject({ code: 'ERR_USAGE', maybeSent: false });
  });

  test('that takes too long or is interrupted says that it may have arrived', async () => {
    const w = await world();
    const session = await w.open();
    w.sandbox.addFault('drop-answer@private/buyx2');
    expect(await thrownBy(session.request(...BUY, { timeoutMs: 20 }))).toMatchObject({
      code: 'ERR_TIMEOUT',
      maybeSent: true,
    });
    const stop = new AbortController();
    const stopped = thrownBy(session.request(...BUY, { signal: stop.signal }));
    await until(() => w.sandbox.orders().length === 2);
    stop.abort();
    expect(await stopped).toMatchObject({ code: 'ERR_INTERRUPTED', maybeSent: true });
    expect(w.sandbox.orders()).toHaveLength(2);
  });

  test('to the wrong environment ends the session', async () => {
    const w = await world();
    const session = await w.open();
    w.sandbox.addFault('wrong-testnet@private/get_account_summaryx1');
    expect(await thrownBy(session.request(...SUMMARY))).toMatchObject({ code: 'ERR_WRONG_ENVIRONMENT' });
    expect(await session.closed).toMatchObject({ code: 'ERR_WRONG_ENVIRONMENT' });
  });

  test('waits for its turn under a rate', async () => {
    const w = await world({ limits: { credits: { pool: 1_500, refillPerS: 10_000 } } });
    const session = await w.open({ rate: { cost: 500, pool: 500, refillPerS: 9_000 } });
    await Promise.all(Array.from({ length: 6 }, () => session.request(...SUMMARY)));
    expect(w.calls().filter((call) => call.includes('10028'))).toEqual([]);
    const impatient = session.request(...SUMMARY, { timeoutMs: 1 });
    expect(await thrownBy(impatient)).toMatchObject({ code: 'ERR_NOT_SENT', maybeSent: false });
  });
});

describe('the token', () => {
  test('is renewed before it expires, and signed for anew where that is refused', async () => {
    const w = await world({ expiresInS: 1 });
    const session = await w.open();
    const first = await session.accessToken();
    expect(await next(session, 'refresh')).toMatchObject({ expiresInS: 1 });
    expect(await session.accessToken()).not.toBe(first);
    w.sandbox.addFault('refuse-refreshx1');
    const anew = new Promise((resolve) => {
      session.on('login', (event) => event.reason === 'refresh-refused' && resolve(event));
    });
    expect(await anew).toMatchObject({ reason: 'refresh-refused' });
    expect(await session.request(...SUMMARY)).toMatchObject({ currency: 'BTC' });
  });

  test('that cannot be renewed in time costs the connection, not the requests', async () => {
    const w = await world({ expiresInS: 1 });
    const session = await w.open();
    w.sandbox.setFaults(['error@public/auth:10028x8']);
    await next(session, 'disconnect');
    expect(await session.request(...SUMMARY)).toMatchObject({ currency: 'BTC' });
    expect(w.calls().filter((call) => call.includes('13009'))).toEqual([]);
  });

  test('of a session scope is good elsewhere', async () => {
    const w = await world();
    const session = await w.open({ scope: 'session:bot account:read' });
    const response = await fetch(`${w.sandbox.httpUrl}/private/get_account_summary?currency=BTC`, {
      headers: { authorization: `Bearer ${await session.accessToken()}` },
    });
    expect(response.status).toBe(200);
  });

  test('is not shown by inspecting the session', async () => {
    const w = await world();
    const session = await w.open();
    const token = await session.accessToken();
    expect(inspect(session, { depth: 9, showHidden: true })).not.toContain(token);
    expect(JSON.stringify(session)).not.toContain(token);
  });
});

describe('closing', () => {
  test('rejects what waits, tells listeners last, and leaves nothing behind', async () => {
    const w = await world();
    const before = process.getActiveResourcesInfo().length;
    const session = await w.open();
    await session.subscribe('sandbox.counter.20ms', () => {});
    w.sandbox.addFault('silent@private/get_account_summary');
    const waiting = thrownBy(session.request(...SUMMARY));
    await expect.poll(() => w.calls()).toContain('private/get_account_summary silent');
    await Promise.all([session.close(), session.close()]);
    expect(await waiting).toMatchObject({ maybeSent: true });
    expect(await session.closed).toBeNull();
    expect(await thrownBy(session.request(...SUMMARY))).toMatchObject({
      code: 'ERR_CONNECTION_CLOSED',
      maybeSent: false,
    });
    await w.sandbox.close();
    await expect.poll(() => process.getActiveResourcesInfo().length).toBeLessThanOrEqual(before);
  });

  test('delivers the events of the beginning to whoever closes at once', async () => {
    const w = await world();
    const session = await w.open();
    const names: string[] = [];
    for (const name of ['login', 'closed'] as const) session.on(name, () => names.push(name));
    await session.close();
    expect(names).toEqual(['login', 'closed']);
  });

  test('does not wait for a signer that never answers', async () => {
    const w = await world();
    const never = { ...w.signer, sign: () => new Promise<Uint8Array>(() => {}) };
    expect(await thrownBy(w.open({ signer: never, signal: AbortSignal.timeout(50) }))).toMatchObject({
      code: 'ERR_INTERRUPTED',
    });
    const time = new FakeTime();
    const opening = thrownBy(w.open({ signer: never, time }));
    await expect.poll(() => time.pending).toBeGreaterThan(0);
    await time.advance(60_000);
    expect(await opening).toMatchObject({ code: 'ERR_SIGNER' });
  });

  test('happens by a signal, at any stage', async () => {
    const w = await world({ faults: ['silent@public/auth'] });
    expect(await thrownBy(w.open({ signal: AbortSignal.abort() }))).toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(await thrownBy(w.open({ signal: AbortSignal.timeout(50) }))).toMatchObject({ code: 'ERR_INTERRUPTED' });
    w.sandbox.clearFaults();
    const stop = new AbortController();
    const session = await w.open({ signal: stop.signal });
    stop.abort();
    expect(await session.closed).toBeNull();
  });
});
