import { describe, expect, test } from 'vitest';
import { generateKeyPair } from '../../src/crypto/generate.js';
import { localSigner } from '../../src/crypto/signer.js';
import { timeoutError } from '../../src/deribit/network-errors.js';
import type { RequestOptions } from '../../src/deribit/transport.js';
import type { WebSocketTransport } from '../../src/deribit/websocket-transport.js';
import { isDeribitKeysError } from '../../src/errors.js';
import { openSession, type SessionOptions } from '../../src/session/index.js';
import { AnswerTimes } from '../../src/session/requests.js';
import { FakeTime } from '../support/fake-time.js';
import { thrownBy } from '../support/outcomes.js';
import { next, world } from './support.js';

const BUY = ['private/buy', { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'limit', price: 5_000 }] as const;

/** An exchange that carries out whatever reaches it, and answers after `latencyMs()`. */
async function slowExchange(latencyMs: () => number, options: Partial<SessionOptions>) {
  const time = new FakeTime();
  let executed = 0;
  const answers: Readonly<Record<string, unknown>> = {
    'public/auth': { access_token: 'a', refresh_token: 'r', expires_in: 900, scope: 'trade:read_write' },
    'public/get_time': time.nowMs(),
  };
  const request = (method: string, _params?: unknown, { timeoutMs = 15_000 }: RequestOptions = {}) =>
    new Promise((resolve, reject) => {
      if (method === 'private/buy') executed += 1;
      const late = latencyMs() > timeoutMs;
      const end = () =>
        late
          ? reject(timeoutError(`the answer to ${method}`, timeoutMs, { maybeSent: true }))
          : resolve(answers[method] ?? 'ok');
      time.setTimeout(end, late ? timeoutMs : latencyMs());
    });
  const transport = {
    ...{ kind: 'websocket', url: 'ws://127.0.0.1:1/ws/api/v2', request, close: async () => {} },
    ...{ closed: new Promise(() => {}), onNotification: () => () => {}, onClose: () => () => {} },
  } as unknown as WebSocketTransport;
  const opening = openSession({
    ...{ url: transport.url, clientId: 'client-id', signer: localSigner(await generateKeyPair()), time },
    ...{ connectWebSocket: async () => transport, heartbeatS: 1_000, ...options },
  });
  let isOpen = false;
  void opening.then(() => {
    isOpen = true;
  });
  while (!isOpen) await time.advance(10);
  return { time, session: await opening, executed: () => executed };
}

describe('under overload', () => {
  const rate = { cost: 500, pool: 10_000, refillPerS: 10_000 };

  test.each([2, 10])('of %i times the rate, the rate is answered and nothing else is sent', async (factor) => {
    const { time, session, executed } = await slowExchange(() => 100, { rate, timeoutMs: 2_000 });
    const seconds = 20;
    const outcomes = new Map<string, number>();
    for (let i = 0; i < seconds * 20 * factor; i += 1) {
      session.request(...BUY).then(
        () => outcomes.set('ok', (outcomes.get('ok') ?? 0) + 1),
        (error: unknown) => {
          const code = isDeribitKeysError(error) ? `${error.code} ${error.maybeSent}` : String(error);
          outcomes.set(code, (outcomes.get(code) ?? 0) + 1);
        },
      );
      await time.advance(1_000 / (20 * factor));
    }
    await time.advance(5_000);
    expect([...outcomes.keys()].sort()).toEqual(['ERR_NOT_SENT false', 'ok']);
    expect(outcomes.get('ok')).toBe(executed());
    expect(outcomes.get('ok')).toBeGreaterThanOrEqual(0.8 * 20 * seconds);
  });

  test('of an exchange that answers ever more slowly, what is sent is still answered', async () => {
    let latencyMs = 100;
    const { time, session, executed } = await slowExchange(() => latencyMs, { rate, timeoutMs: 2_000 });
    let answered = 0;
    let unknown = 0;
    for (let i = 0; i < 800; i += 1) {
      latencyMs = Math.min(900, 100 + i);
      session.request(...BUY).then(
        () => {
          answered += 1;
        },
        (error: unknown) => {
          if (isDeribitKeysError(error, 'ERR_TIMEOUT')) unknown += 1;
        },
      );
      await time.advance(25);
    }
    await time.advance(5_000);
    expect(answered + unknown).toBe(executed());
    expect(unknown).toBe(0);
    expect(answered).toBeGreaterThan(300);
  });

  test('only so many requests wait for their turn', async () => {
    const { time, session } = await slowExchange(() => 1, { rate, timeoutMs: 60_000, queueLimit: 5 });
    const all = Promise.allSettled(Array.from({ length: 40 }, () => session.request(...BUY)));
    await time.advance(60_000);
    const refused = (await all).filter(({ status }) => status === 'rejected');
    expect(refused.length).toBeGreaterThanOrEqual(10);
    expect(refused[0]).toMatchObject({ reason: { code: 'ERR_NOT_SENT', maybeSent: false } });
  });
});

describe('the time that is left for an answer', () => {
  test('is learned from round trips, never less than the least and never more than half of the timeout', () => {
    const answers = new AnswerTimes(500);
    expect(answers.neededMs(15_000)).toBe(500);
    expect(answers.neededMs(40)).toBe(20);
    for (let i = 0; i < 50; i += 1) answers.learn(100);
    expect(answers.neededMs(15_000)).toBe(500);
    for (let i = 0; i < 50; i += 1) answers.learn(1_500);
    expect(answers.neededMs(15_000)).toBeGreaterThanOrEqual(1_400);
    expect(answers.neededMs(2_000)).toBe(1_000);
    for (let i = 0; i < 100; i += 1) answers.learn(10);
    expect(answers.neededMs(15_000)).toBe(500);
  });
});

describe('an error that names no request', () => {
  test.each([10028, -32700, 13009])(
    '(%i) leaves the outcome of an order unknown, and the order is sent once',
    async (code) => {
      const w = await world();
      const session = await w.open();
      w.sandbox.addFault(`stray-error@private/buy:${code}`);
      const error = await thrownBy(session.request(...BUY, { timeoutMs: 3_000 }));
      expect(error).toMatchObject({ code: 'ERR_OUTCOME_UNKNOWN', maybeSent: true });
      expect(w.calls().filter((call) => call.startsWith('private/buy'))).toHaveLength(1);
    },
  );
});

test('in 200 rounds of lost answers and errors that name no request, no order is sent twice', async () => {
  const w = await world();
  const session = await w.open();
  const faults = ['silent', 'drop-answer', 'stray-error', 'delay'];
  let orders = 0;
  let answered = 0;
  for (let round = 0; round < 200; round += 1) {
    const fault = faults[Math.floor(Math.random() * faults.length)];
    const argument =
      fault === 'stray-error' ? (round % 2 === 0 ? ':10028' : ':-32700') : fault === 'delay' ? ':10' : '';
    w.sandbox.setFaults([`${fault}@private/buy${argument}x1`]);
    const count = 1 + (round % 3);
    const sent = Array.from({ length: count }, () =>
      session.request(...BUY, { timeoutMs: 20 + Math.floor(Math.random() * 20) }),
    );
    orders += count;
    for (const end of await Promise.allSettled(sent)) {
      if (end.status === 'fulfilled') answered += 1;
      else expect(end.reason.maybeSent ?? end.reason.rpc).toBeDefined();
    }
  }
  const executed = w.calls().filter((call) => call.startsWith('private/buy')).length;
  expect(executed).toBeLessThanOrEqual(orders);
  expect(answered).toBeLessThanOrEqual(executed);
  expect(answered).toBeGreaterThan(0);
});

describe('wrong arguments are refused before anything is sent', () => {
  test.each([
    ['timeoutMs', [Number.NaN, 0, -1, Number.POSITIVE_INFINITY, '1000', null]],
    ['openWithinMs', [Number.NaN, -1, Number.POSITIVE_INFINITY, '0']],
    ['heartbeatS', [Number.NaN, 0, 9, Number.POSITIVE_INFINITY, '30']],
    ['queueLimit', [Number.NaN, -1, Number.POSITIVE_INFINITY, '5']],
    ['minAnswerMs', [Number.NaN, -1, Number.POSITIVE_INFINITY, '5']],
    ['maxReplyBytes', [Number.NaN, 0, -1, Number.POSITIVE_INFINITY, '5']],
    [
      'backoff',
      [{ firstMs: 0 }, { firstMs: Number.NaN }, { longestMs: '5' }, { longestMs: Number.POSITIVE_INFINITY }, 5],
    ],
    [
      'rate',
      [
        { cost: 0, pool: 1, refillPerS: 1 },
        { cost: 1, pool: 0, refillPerS: 1 },
        { cost: '1', pool: '1', refillPerS: '1' },
        5,
      ],
    ],
    ['signal', [{}, 'signal', 5]],
    ['cancelOnDisconnect', ['both', true]],
  ])('as %s of a session', async (name, values) => {
    const w = await world();
    for (const value of values) {
      if (name === 'timeoutMs' && value === null) continue;
      const error = await thrownBy(w.open({ [name]: value } as never));
      expect(error, `${name} ${String(value)}`).toMatchObject({ code: 'ERR_USAGE' });
    }
    expect(w.calls()).toEqual([]);
  });

  test('as options of a session, and of a request', async () => {
    for (const options of [null, undefined, 5, 'options', []]) {
      expect(await thrownBy(openSession(options as never))).toMatchObject({ code: 'ERR_USAGE' });
    }
    const w = await world();
    const session = await w.open();
    const wrong: readonly (readonly unknown[])[] = [
      [5],
      [undefined],
      ['private/buy', 'params'],
      ['private/buy', []],
      ['private/buy', {}, { timeoutMs: Number.NaN }],
      ['private/buy', {}, { timeoutMs: 0 }],
      ['private/buy', {}, { timeoutMs: '5' }],
      ['private/buy', {}, { timeoutMs: Number.POSITIVE_INFINITY }],
      ['private/buy', {}, { signal: {} }],
      ['private/buy', {}, 5],
    ];
    for (const words of wrong) {
      const error = await thrownBy(session.request(...(words as Parameters<typeof session.request>)));
      expect(error, JSON.stringify(words)).toMatchObject({ code: 'ERR_USAGE', maybeSent: false });
    }
    expect(await thrownBy(session.subscribe(5 as never, () => {}))).toMatchObject({ code: 'ERR_USAGE' });
    expect(await thrownBy(session.subscribe('ticker.BTC-PERPETUAL.raw', 5 as never))).toMatchObject({
      code: 'ERR_USAGE',
    });
    expect(w.calls().filter((call) => call.startsWith('private/'))).toEqual([]);
    const refusal = await thrownBy(session.request('private/buy', null as never));
    expect(refusal).toMatchObject({ code: 'ERR_RPC', rpc: { code: expect.any(Number) } });
  });
});

test('an error of a request names who made it', async () => {
  const w = await world();
  const session = await w.open();
  async function placeTheOrder() {
    return session.request('private/buy', {});
  }
  expect((await thrownBy(placeTheOrder())).stack).toContain('placeTheOrder');
  w.sandbox.addFault('silent@private/buy');
  async function waitForTheOrder() {
    return session.request('private/buy', {}, { timeoutMs: 50 });
  }
  expect((await thrownBy(waitForTheOrder())).stack).toContain('waitForTheOrder');
});

test('subscribes to a silent exchange settle together, after one timeout', async () => {
  const w = await world();
  const session = await w.open({ timeoutMs: 1_000 });
  w.sandbox.addFault('silent@private/subscribe');
  const startMs = performance.now();
  const channels = Array.from({ length: 20 }, (_, i) => `ticker.BTC-PERPETUAL.${i}`);
  const all = await Promise.allSettled(channels.map((channel) => session.subscribe(channel, () => {})));
  expect(all.every((end) => end.status === 'rejected' && end.reason.code === 'ERR_TIMEOUT')).toBe(true);
  // one timeout, not twenty
  expect(performance.now() - startMs).toBeLessThan(10_000);
});

test('a session restores cancel-on-disconnect after a cut, before anything else is sent', async () => {
  const w = await world();
  const session = await w.open({ cancelOnDisconnect: 'connection' });
  await session.subscribe('ticker.BTC-PERPETUAL.raw', () => {});
  const reconnected = next(session, 'reconnect');
  w.sandbox.dropConnections();
  await reconnected;
  await session.request('private/get_account_summary', { currency: 'BTC' });
  expect(w.calls().filter((call) => call.startsWith('private/'))).toEqual([
    'private/enable_cancel_on_disconnect ok',
    'private/subscribe ok',
    'private/enable_cancel_on_disconnect ok',
    'private/subscribe ok',
    'private/get_account_summary ok',
  ]);
  expect(await thrownBy(w.open({ cancelOnDisconnect: 'account', url: w.sandbox.httpUrl }))).toMatchObject({
    code: 'ERR_USAGE',
  });
});

test.each(['ws', 'http'] as const)('closing a session over %s logs out only where that is asked for', async (via) => {
  const w = await world();
  const url = via === 'ws' ? w.sandbox.wsUrl : w.sandbox.httpUrl;
  const logouts = () => w.calls().filter((call) => call.startsWith('private/logout')).length;
  await (await w.open({ url })).close();
  expect(logouts()).toBe(0);
  const session = await w.open({ url });
  await session.close({ logout: true });
  expect(await session.closed).toBeNull();
  expect(logouts()).toBe(1);
});
