import { expect, test } from 'vitest';
import { bookChanges } from '../../../src/sandbox/channels/feeds.js';
import type { Exchange } from '../../../src/sandbox/core/exchange.js';
import type { Instrument } from '../../../src/sandbox/core/instruments.js';

test('a book that changed and changed back between two ticks sends no empty change, and the next one follows', () => {
  const level = (amount: number) => [[49_995, amount]] as const;
  let book = { changeId: 1, bids: level(1), asks: [] as readonly (readonly [number, number])[] };
  const exchange = { now: () => 0, market: { book: () => book } } as unknown as Exchange;
  const channel = bookChanges(exchange, { instrument_name: 'BTC-PERPETUAL' } as Instrument, 100);
  expect(channel.tick?.(1)).toEqual([]);
  book = { ...book, changeId: 3 };
  expect(channel.tick?.(1)).toEqual([]);
  book = { ...book, changeId: 4, bids: level(2) };
  expect(channel.tick?.(1)).toMatchObject([{ prev_change_id: 1, change_id: 4, bids: [['change', 49_995, 2]] }]);
});
