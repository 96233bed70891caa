import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ExchangeClock, getTime } from '../../src/deribit/clock.js';
import type { Transport } from '../../src/deribit/transport.js';
import type { WebSocketTransport } from '../../src/deribit/websocket-transport.js';
import { DeribitKeysError } from '../../src/errors.js';
import { Backoff } from '../../src/session/backoff.js';
import { Cancellation } from '../../src/session/cancellation.js';
import { CreditPool, DOCUMENTED_RATE } from '../../src/session/credits.js';
import { Heartbeat } from '../../src/session/heartbeat.js';
import { elapsedMs, mark, pause, systemTime } from '../../src/session/time.js';
import { FakeTime, settled } from '../support/fake-time.js';
import { caught } from './support.js';

describe('waits between attempts', () => {
  test('double up to the longest, each at random within its upper half', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 0.999, noNaN: true }), fc.integer({ min: 1, max: 60 }), (chance, count) => {
        const backoff = new Backoff({ firstMs: 100, longestMs: 5_000 }, () => chance);
        for (let i = 0; i < count; i += 1) {
          const fullMs = Math.min(5_000, 100 * 2 ** i);
          const waitMs = backoff.next();
          expect(waitMs).toBeGreaterThanOrEqual(fullMs / 2);
          expect(waitMs).toBeLessThanOrEqual(fullMs);
        }
        expect(backoff.failures).toBe(count);
        backoff.reset();
        expect(backoff.next()).toBeLessThanOrEqual(100);
      }),
    );
  });
});

describe('the pool of credits', () => {
  test('never lets more calls through than the exchange would, in any window', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: 60 }), async (gaps) => {
        const time = new FakeTime();
        const pool = new CreditPool({ cost: 500, pool: 2_000, refillPerS: 10_000 }, time);
        const paidAt: number[] = [];
        const signal = new AbortController().signal;
        for (const gapMs of gaps) {
          void pool.pay(1e9, signal).then(() => paidAt.push(time.monotonicMs()));
          await time.advance(gapMs);
        }
        await time.advance(60_000);
        expect(paidAt).toHaveLength(gaps.length);
        let credits = 2_000;
        let lastMs = 0;
        for (const atMs of paidAt) {
          credits = Math.min(2_000, credits + (atMs - lastMs) * 10) - 500;
          lastMs = atMs;
          expect(credits).toBeGreaterThanOrEqual(-1e-6);
        }
        expect(time.pending).toBe(0);
      }),
      { numRuns: 25 },
    );
  });

  test('gives up by signal and after the time allowed, and passes the turn on', async () => {
    const time = new FakeTime();
    const pool = new CreditPool({ cost: 1, pool: 1, refillPerS: 1 }, time);
    const stop = new AbortController();
    expect(pool.tryPay()).toBe(true);
    const outcomes = [pool.pay(9_999, stop.signal), pool.pay(500, undefined), pool.pay(9_999)];
    stop.abort();
    await time.advance(1_000);
    expect(await Promise.all(outcomes)).toEqual([false, false, true]);
    expect(await pool.pay(1, stop.signal)).toBe(false);
    await time.advance(1_000);
    expect(await pool.pay(1)).toBe(true);
    expect(time.pending).toBe(0);
  });

  test('holds a hundred calls at first, then twenty a second, as documented', async () => {
    const time = new FakeTime();
    const pool = new CreditPool(DOCUMENTED_RATE, time);
    const count = () => {
      let paid = 0;
      while (pool.tryPay()) paid += 1;
      return paid;
    };
    expect(count()).toBe(100);
    await time.advance(1_000);
    expect(count()).toBe(20);
  });
});

describe('time', () => {
  test('that has passed is what the further of both clocks says', async () => {
    const time = new FakeTime();
    const since = mark(time);
    await time.advance(1_000);
    expect(elapsedMs(time, since)).toBe(1_000);
    time.wallMs += 5_000;
    expect(elapsedMs(time, since)).toBe(6_000);
    time.wallMs -= 60_000;
    expect(elapsedMs(time, since)).toBe(1_000);
  });

  test('is paused no longer than until a signal', async () => {
    const stop = new AbortController();
    const paused = pause(systemTime, 60_000, undefined, stop.signal);
    stop.abort();
    await paused;
    await pause(systemTime, 60_000, stop.signal);
    await pause(systemTime, 1);
  });
});

function asking(answer: (method: string) => Promise<unknown>): Transport {
  return { kind: 'http', url: 'http://127.0.0.1/api/v2', request: answer, close: async () => {} };
}

describe('the clock', () => {
  test('takes half of the round trip into account, and reports the drift', async () => {
    const time = new FakeTime(1_000_000);
    const clock = new ExchangeClock(time);
    const transport = asking(async () => {
      time.wallMs += 0;
      await time.advance(0);
      return 1_003_050;
    });
    expect(clock.isFresh).toBe(false);
    expect(await clock.read(() => getTime(transport))).toEqual({
      offsetMs: 3_050,
      roundTripMs: 0,
      driftMs: null,
      corrected: true,
    });
    expect(clock.timestampMs()).toBe(1_003_050);
    expect(clock.isFresh).toBe(true);
    await time.advance(60_000);
    expect(clock.isFresh).toBe(false);
    const slow = asking(
      () =>
        new Promise((resolve) => {
          time.setTimeout(() => resolve(1_060_150), 100);
        }),
    );
    const reading = clock.read(() => getTime(slow));
    await time.advance(100);
    expect(await reading).toEqual({ offsetMs: 100, roundTripMs: 100, driftMs: -2_950, corrected: false });
    expect(clock.timestampMs()).toBe(time.nowMs());
  });

  test('refuses an answer that is no time', async () => {
    const clock = new ExchangeClock(new FakeTime());
    expect(await caught(clock.read(() => getTime(asking(async () => 'noon'))))).toMatchObject({ code: 'ERR_PROTOCOL' });
    expect(clock.reading).toBeNull();
  });
});

describe('the watch over a connection', () => {
  function watched(answers: (method: string) => Promise<unknown>) {
    const asked: string[] = [];
    let isClosed = false;
    const transport = {
      ...asking((method) => {
        asked.push(method);
        return answers(method);
      }),
      close: async () => {
        isClosed = true;
      },
    } as unknown as WebSocketTransport;
    const time = new FakeTime();
    const stop = new Cancellation();
    const watch = new Heartbeat(transport, 10, time);
    const running = watch.run(stop);
    return { asked, watch, time, stop, running, isClosed: () => isClosed };
  }

  test('asks for heartbeats, answers test requests, and leaves a connection alone that speaks', async () => {
    const { asked, watch, time, stop, running, isClosed } = watched(async () => 'ok');
    await settled();
    for (let i = 0; i < 6; i += 1) {
      await time.advance(10_000);
      watch.heard();
      watch.answer({ method: 'heartbeat', params: { type: i % 2 === 0 ? 'test_request' : 'heartbeat' } });
    }
    expect(asked).toEqual(['public/set_heartbeat', 'public/test', 'public/test', 'public/test']);
    stop.fire();
    await running;
    expect(isClosed()).toBe(false);
    expect(time.pending).toBe(0);
  });

  test('asks where nothing is heard, and closes where nothing is answered', async () => {
    let isAlive = true;
    const dead = new DeribitKeysError('ERR_TIMEOUT', 'no answer');
    const { asked, time, running, isClosed } = watched(async () => {
      if (!isAlive) throw dead;
      return 'ok';
    });
    await time.advance(15_000);
    expect(asked).toEqual(['public/set_heartbeat', 'public/test']);
    isAlive = false;
    await time.advance(15_000);
    await running;
    expect(asked).toHaveLength(3);
    expect(isClosed()).toBe(true);
  });

  test('takes a refusal for a sign of life, and asks for heartbeats again', async () => {
    const busy = new DeribitKeysError('ERR_RPC', 'busy', { rpc: { code: 10028, message: 'too_many_requests' } });
    const { asked, time, stop, running, isClosed } = watched(() => Promise.reject(busy));
    await time.advance(30_000);
    expect(asked).toEqual([
      'public/set_heartbeat',
      'public/set_heartbeat',
      'public/test',
      'public/set_heartbeat',
      'public/test',
    ]);
    stop.fire();
    await running;
    expect(isClosed()).toBe(false);
  });
});
