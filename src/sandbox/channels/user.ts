import type { Instrument } from '../core/instruments.js';
import type { Channel } from './hub.js';

/**
 * `user.orders.…`, `user.trades.…` and `user.changes.…` of one account. They speak right after each request, whatever
 * their interval; `user.orders.….raw` sends every order as a message of its own.
 */
export function userChannel(
  what: 'orders' | 'trades' | 'changes',
  accountId: number | null,
  instruments: readonly Instrument[],
  isRaw: boolean,
): Channel {
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
