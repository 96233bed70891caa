import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Hub } from '../../../src/sandbox/channels/hub.js';
import { RpcError } from '../../../src/sandbox/core/errors.js';
import type { Exchange } from '../../../src/sandbox/core/exchange.js';
import { instrumentNamed } from '../../../src/sandbox/core/instruments.js';
import { Ledger } from '../../../src/sandbox/core/ledger.js';
import { Market } from '../../../src/sandbox/core/market.js';
import { cancelOrders, place, replace } from '../../../src/sandbox/core/matching.js';
import { Orders, timesInForce } from '../../../src/sandbox/core/orders.js';

const instrument = instrumentNamed('BTC-PERPETUAL');
const accounts = [1, 2];

function openMarket(): Exchange {
  const orders = new Orders();
  let nowMs = Date.UTC(2026, 0, 1);
  const now = () => {
    nowMs += 100;
    return nowMs;
  };
  const parts = { now, orders, market: new Market(orders, now), ledger: new Ledger(orders), hub: new Hub() };
  return parts as unknown as Exchange;
}

const step = fc.record({
  accountId: fc.constantFrom(...accounts),
  action: fc.constantFrom('place', 'place', 'place', 'edit', 'cancel'),
  which: fc.nat(),
  direction: fc.constantFrom('buy' as const, 'sell' as const),
  amount: fc.integer({ min: 1, max: 500 }).map((contracts) => contracts * 10),
  price: fc.integer({ min: -14, max: 14 }).map((ticks) => 50_000 + ticks * 0.5),
  type: fc.constantFrom('limit' as const, 'limit' as const, 'market' as const),
  timeInForce: fc.constantFrom(...timesInForce),
  postOnly: fc.boolean(),
  reduceOnly: fc.boolean(),
});

type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

function take(exchange: Exchange, { accountId, action, which, ...asked }: Step): void {
  const placer = { accountId, connectionId: null };
  const open = exchange.orders.open(accountId).map(({ order }) => order);
  const order = open[which % Math.max(1, open.length)];
  if (action === 'place') {
    const price = asked.type === 'market' ? null : asked.price;
    place(exchange, placer, { ...asked, instrument, price, label: '', rejectPostOnly: false });
  } else if (order !== undefined && action === 'edit') {
    replace(exchange, placer, { order, amount: asked.amount, price: asked.price, postOnly: null });
  } else if (order !== undefined) cancelOrders(exchange, { accountId, orders: [order] });
}

it('never crosses the book, and books every trade once for each side, whatever is asked', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 40 }), (steps) => {
      const exchange = openMarket();
      const { ledger, market, orders } = exchange;
      for (const one of steps) {
        try {
          take(exchange, one);
        } catch (error) {
          expect(error).toBeInstanceOf(RpcError);
        }
        const { bids, asks } = market.book(instrument);
        expect(bids[0]?.[0]).toBeLessThan(asks[0]?.[0] ?? 0);
        expect([...bids].sort((a, b) => b[0] - a[0])).toEqual(bids);
        expect([...asks].sort((a, b) => a[0] - b[0])).toEqual(asks);
      }
      for (const id of accounts) {
        const trades = ledger.trades(id);
        const bought = trades.reduce((sum, { direction, amount }) => sum + (direction === 'buy' ? amount : -amount), 0);
        expect(ledger.sizeOf(id, instrument)).toBe(bought);
        const spent = trades.reduce((sum, { profit_loss: profit, fee }) => sum + profit - fee, 10);
        expect(ledger.portfolio(id, 'BTC').balance).toBeCloseTo(spent, 7);
        for (const order of orders.list(id)) {
          const own = trades.filter((trade) => trade.order_id === order.order_id);
          expect(order.filled_amount).toBe(own.reduce((sum, { amount }) => sum + amount, 0));
          expect(order.filled_amount).toBeLessThanOrEqual(order.amount);
          if (order.order_state === 'filled') expect(order.filled_amount).toBe(order.amount);
          const limit = order.direction === 'buy' ? 1 : -1;
          if (!order.replaced)
            for (const { price } of own) expect(price * limit).toBeLessThanOrEqual(order.price * limit);
          if (order.time_in_force === 'fill_or_kill') expect([0, order.amount]).toContain(order.filled_amount);
        }
      }
      const makers = accounts.flatMap((id) => ledger.trades(id)).filter(({ liquidity }) => liquidity === 'M');
      for (const { trade_id: id } of makers) {
        const sides = accounts.flatMap((account) => ledger.trades(account)).filter((trade) => trade.trade_id === id);
        expect(new Set(sides.map(({ direction }) => direction)).size).toBe(2);
      }
    }),
  );
});
