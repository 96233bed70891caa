import { describe, expect, test } from 'vitest';
import { ExchangeClock, getTime } from '../../src/deribit/clock.js';
import type { Transport } from '../../src/deribit/transport.js';
import { FakeTime } from '../support/fake-time.js';
import { thrownBy } from '../support/outcomes.js';

function asking(answer: (method: string) => Promise<unknown>): Transport {
  return { kind: 'http', url: 'http://127.0.0.1/api/v2', request: answer, close: async () => {} };
}

describe('the clock of the exchange', () => {
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

  test('refuses an answer that is not a time', async () => {
    const clock = new ExchangeClock(new FakeTime());
    expect(await thrownBy(clock.read(() => getTime(asking(async () => 'noon'))))).toMatchObject({
      code: 'ERR_PROTOCOL',
    });
    expect(clock.reading).toBeNull();
  });
});
