import type { Exchange } from '../core/exchange.js';
import { type Instrument, rounded } from '../core/instruments.js';
import type { Book, Level } from '../core/market.js';
import type { Channel } from './hub.js';

interface UserFeed {
  readonly what: 'orders' | 'trades' | 'changes';
  readonly accountId: number | null;
  readonly instruments: readonly Instrument[];
  readonly isRaw: boolean;
}

/**
 * `user.orders.…`, `user.trades.…` and `user.changes.…` of one account. They speak right after each request, whatever
 * their interval; `user.orders.….raw` sends every order as a message of its own.
 */
export function userChannel({ what, accountId, instruments, isRaw }: UserFeed): Channel {
  return {
    readableBy: ['trade'],
    on(event) {
      if (event.accountId !== accountId || !('instrument' in event)) return [];
      const { instrument, orders, trades, positions } = event;
      if (!instruments.includes(instrument)) return [];
      if (what === 'changes') return [{ instrument_name: instrument.instrument_name, orders, trades, positions }];
      if (what === 'trades') return trades.length === 0 ? [] : [trades];
      return isRaw ? orders : [orders];
    },
  };
}

type Change = readonly [action: 'new' | 'change' | 'delete', price: number, amount: number];

/** `book.{instrument_name}.{interval}`: a snapshot on subscribing, then changes, each with the number of the one before. */
export function bookChanges(exchange: Exchange, instrument: Instrument, everyMs: number): Channel {
  const { instrument_name } = instrument;
  // What the listeners know: a later one gets this as its snapshot, so that the next change fits for all of them.
  let known = exchange.market.book(instrument);
  const changes = () => {
    const now = exchange.market.book(instrument);
    if (now.changeId === known.changeId) return [];
    const bids = difference(known.bids, now.bids);
    const asks = difference(known.asks, now.asks);
    // it changed and changed back between two ticks: the next change follows the one that is known
    if (bids.length === 0 && asks.length === 0) return [];
    const message = {
      type: 'change',
      timestamp: exchange.now(),
      instrument_name,
      prev_change_id: known.changeId,
      change_id: now.changeId,
      bids,
      asks,
    };
    known = now;
    return [message];
  };
  const snapshot = () => ({
    type: 'snapshot',
    timestamp: exchange.now(),
    instrument_name,
    change_id: known.changeId,
    bids: difference([], known.bids),
    asks: difference([], known.asks),
  });
  return { readableBy: null, first: () => [snapshot()], everyMs, tick: changes };
}

/** `book.{instrument_name}.{group}.{depth}.{interval}`: the best levels, prices rounded away from the middle to a group. */
export function groupedBook(
  exchange: Exchange,
  instrument: Instrument,
  { group, depth, everyMs }: { readonly group: number | null; readonly depth: number; readonly everyMs: number },
): Channel {
  const { instrument_name } = instrument;
  let told = 0;
  const message = ({ changeId, bids, asks }: Book) => ({
    timestamp: exchange.now(),
    instrument_name,
    change_id: changeId,
    bids: grouped(bids, group === null ? null : (price) => Math.floor(price / group) * group).slice(0, depth),
    asks: grouped(asks, group === null ? null : (price) => Math.ceil(price / group) * group).slice(0, depth),
  });
  const say = (always: boolean) => {
    const book = exchange.market.book(instrument);
    if (!always && book.changeId === told) return [];
    told = book.changeId;
    return [message(book)];
  };
  return { readableBy: null, first: () => say(true), everyMs, tick: () => say(false) };
}

function difference(before: readonly Level[], after: readonly Level[]): readonly Change[] {
  const had = new Map(before);
  const has = new Map(after);
  return [
    ...before.flatMap(([price]): Change[] => (has.has(price) ? [] : [['delete', price, 0]])),
    ...after.flatMap(([price, amount]): Change[] => {
      if (had.get(price) === amount) return [];
      return [[had.has(price) ? 'change' : 'new', price, amount]];
    }),
  ];
}

function grouped(levels: readonly Level[], round: ((price: number) => number) | null): readonly Level[] {
  if (round === null) return levels;
  const sums = new Map<number, number>();
  for (const [price, amount] of levels) {
    const rough = rounded(round(price));
    sums.set(rough, rounded((sums.get(rough) ?? 0) + amount));
  }
  return [...sums];
}
