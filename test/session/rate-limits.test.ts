import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CreditPool, DOCUMENTED_RATE } from '../../src/session/rate-limits.js';
import { FakeTime } from '../support/fake-time.js';
import { propertyRuns } from '../support/properties.js';

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
      { numRuns: propertyRuns(25) },
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
