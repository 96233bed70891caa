import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { elapsedMs, mark } from '../../src/deribit/clock.js';
import { Backoff, pause, systemTime } from '../../src/session/time.js';
import { FakeTime } from '../support/fake-time.js';

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
