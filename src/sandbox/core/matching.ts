import { invalidParam } from './errors.js';
import type { Exchange } from './exchange.js';
import { orderRefused } from './guesses.js';
import { type Instrument, instrumentNamed, rounded } from './instruments.js';
import type { UserTrade } from './ledger.js';
import { bandOf, type Offer, type PublicTrade } from './market.js';
import type { Order, TimeInForce } from './orders.js';

/** An order as a client asks for it. */
interface OrderRequest {
  readonly instrument: Instrument;
  readonly direction: Order['direction'];
  readonly amount: number;
  readonly type: Order['order_type'];
  /** Null only for a market order. */
  readonly price: number | null;
  readonly label?: string;
  /** Default `good_til_cancelled`. */
  readonly timeInForce?: TimeInForce;
  readonly postOnly?: boolean;
  readonly rejectPostOnly?: boolean;
  readonly reduceOnly?: boolean;
}

/** What became of an account's orders by one request. */
export interface Report {
  readonly accountId: number;
  readonly instrument: Instrument;
  readonly orders: readonly Order[];
  readonly trades: readonly UserTrade[];
  /** As they are afterwards, where there were trades. */
  readonly positions: readonly unknown[];
}

/** Who places an order: the WebSocket connection is null for HTTP. */
export interface Placer {
  readonly accountId: number;
  readonly connectionId: number | null;
}

/** `private/buy` and `private/sell`. @throws RpcError for an order that is refused; then nothing has changed */
export function place(exchange: Exchange, placer: Placer, request: OrderRequest): OrderAnswer {
  const { instrument, direction, type, label = '', timeInForce = 'good_til_cancelled' } = request;
  const { postOnly = false, rejectPostOnly = false, reduceOnly = false } = request;
  checkSteps(request);
  const { accountId } = placer;
  const size = exchange.ledger.sizeOf(accountId, instrument);
  const closable = direction === 'buy' ? -size : size;
  if (reduceOnly && closable <= 0) throw orderRefused('nothing to reduce');
  const amount = reduceOnly ? Math.min(request.amount, closable) : request.amount;
  const nowMs = exchange.now();
  const order: Order = {
    order_id: exchange.orders.takeId(),
    instrument_name: instrument.instrument_name,
    direction,
    order_type: type,
    order_state: 'open',
    amount,
    contracts: rounded(amount / instrument.contract_size),
    filled_amount: 0,
    price: request.price ?? worstPrice(instrument, direction),
    average_price: 0,
    label,
    time_in_force: timeInForce,
    post_only: postOnly,
    reject_post_only: rejectPostOnly,
    reduce_only: reduceOnly,
    replaced: false,
    api: true,
    web: false,
    creation_timestamp: nowMs,
    last_update_timestamp: nowMs,
  };
  return enter(exchange, placer, order);
}

/** What `private/edit` changes of an open order; null for what stays. */
interface OrderChange {
  readonly order: Order;
  readonly amount: number | null;
  readonly price: number | null;
  readonly postOnly: boolean | null;
}

/** `private/edit`: the open order with another amount or price. @throws RpcError as `place` does; then the order is as it was */
export function replace(exchange: Exchange, placer: Placer, { order, ...change }: OrderChange): OrderAnswer {
  const instrument = instrumentNamed(order.instrument_name);
  const amount = change.amount ?? order.amount;
  const price = change.price ?? order.price;
  checkSteps({ instrument, direction: order.direction, amount, price, type: 'limit' });
  if (amount <= order.filled_amount) throw orderRefused('filled already');
  const changed = {
    ...order,
    amount,
    contracts: rounded(amount / instrument.contract_size),
    price,
    post_only: change.postOnly ?? order.post_only,
    replaced: true,
    last_update_timestamp: exchange.now(),
  };
  // It must not be in its own way, neither in the book nor among what funds are kept for.
  exchange.orders.put(placer.accountId, { ...order, order_state: 'cancelled' });
  try {
    return enter(exchange, placer, changed);
  } catch (error) {
    exchange.orders.put(placer.accountId, order);
    throw error;
  }
}

interface Cancellation {
  readonly accountId: number;
  /** All open, and all of that account. */
  readonly orders: readonly Order[];
  readonly reason?: Order['cancel_reason'];
}

/** Cancels open orders and reports them to the account's channels. */
export function cancelOrders(
  exchange: Exchange,
  { accountId, orders, reason: cancel_reason = 'user_request' }: Cancellation,
): readonly Order[] {
  const change = { order_state: 'cancelled', cancel_reason, last_update_timestamp: exchange.now() } as const;
  const cancelled = orders.map((order) => exchange.orders.put(accountId, { ...order, ...change }));
  for (const name of new Set(cancelled.map((order) => order.instrument_name))) {
    const those = cancelled.filter((order) => order.instrument_name === name);
    exchange.hub.report({ accountId, instrument: instrumentNamed(name), orders: those, trades: [], positions: [] });
  }
  return cancelled;
}

interface OrderAnswer {
  readonly order: Order;
  readonly trades: readonly UserTrade[];
}

/** @throws RpcError for an amount or a price that is not on its grid, or a price outside the band */
function checkSteps({
  instrument,
  amount,
  price,
  type,
  direction,
}: Pick<OrderRequest, 'instrument' | 'amount' | 'price' | 'type' | 'direction'>): void {
  const { min_trade_amount: step, tick_size: tick, kind } = instrument;
  if (amount <= 0) throw invalidParam('amount', 'must be positive');
  if (!isMultiple(amount, step)) throw invalidParam('amount', 'must be a multiple of the minimum order size');
  if (type === 'market' || price === null) return;
  if (price <= 0) throw invalidParam('price', 'must be positive');
  if (!isMultiple(price, tick)) throw invalidParam('price', 'must conform to tick size');
  const { min_price: lowest, max_price: highest } = bandOf(instrument);
  if (kind === 'option') return;
  if (direction === 'buy' && price > highest) throw orderRefused('price too high');
  if (direction === 'sell' && price < lowest) throw orderRefused('price too low');
}

function isMultiple(value: number, step: number): boolean {
  const steps = value / step;
  return Math.abs(steps - Math.round(steps)) < 1e-6;
}

/** How far a market order goes: to the end of the band. */
function worstPrice(instrument: Instrument, direction: Order['direction']): number {
  const { min_price: lowest, max_price: highest } = bandOf(instrument);
  return direction === 'buy' ? highest : lowest;
}

/** Fills an order as far as the book lets it, and leaves the rest in the book unless it may not rest. */
function enter(exchange: Exchange, placer: Placer, asked: Order): OrderAnswer {
  const { accountId } = placer;
  const instrument = instrumentNamed(asked.instrument_name);
  const offers = exchange.market.offersFor(asked.direction, instrument);
  const order = asked.post_only ? aside(asked, offers, instrument) : asked;
  const open = rounded(order.amount - order.filled_amount);
  const crossing = offers.filter(({ price }) => isWithin(order, price));
  const available = crossing.reduce((sum, { amount, entry }) => sum + (entry?.accountId === accountId ? 0 : amount), 0);
  const isKilled = order.time_in_force === 'fill_or_kill' && available < open;
  if (!isKilled) checkFunds(exchange, accountId, { ...order, price: crossing[0]?.price ?? order.price });
  const reports = new Map<number, { orders: Order[]; trades: UserTrade[] }>();
  const reportOf = (id: number) => {
    const report = reports.get(id) ?? { orders: [], trades: [] };
    reports.set(id, report);
    return report;
  };
  let taker = order;
  for (const { price, amount: offered, entry } of isKilled ? [] : crossing) {
    const left = rounded(taker.amount - taker.filled_amount);
    if (left <= 0) break;
    if (entry?.accountId === accountId) {
      // Deribit's default against self-trading: the order in the book is cancelled.
      reportOf(accountId).orders.push(exchange.orders.put(accountId, { ...entry.order, order_state: 'cancelled' }));
      continue;
    }
    const amount = Math.min(left, offered);
    const trade = exchange.market.print(instrument, { direction: order.direction, amount, price });
    taker = filled(taker, trade);
    const mine = { accountId, instrument, order: taker, trade, liquidity: 'T' } as const;
    reportOf(accountId).trades.push(exchange.ledger.fill(mine));
    if (entry === null) continue;
    const maker = exchange.orders.put(entry.accountId, filled(entry.order, trade));
    const theirs = { accountId: entry.accountId, instrument, order: maker, trade, liquidity: 'M' } as const;
    const report = reportOf(entry.accountId);
    report.orders.push(maker);
    report.trades.push(exchange.ledger.fill(theirs));
  }
  const mayRest = order.order_type === 'limit' && order.time_in_force.startsWith('good_til');
  if (taker.order_state === 'open' && !mayRest) taker = { ...taker, order_state: 'cancelled' };
  exchange.orders.put(accountId, taker, placer.connectionId);
  const own = reportOf(accountId);
  own.orders.push(taker);
  for (const [id, report] of reports) {
    report.orders.push(...trimReduceOnly(exchange, id, instrument));
    const hasPosition = report.trades.length > 0 && instrument.kind !== 'spot';
    const positions = hasPosition ? [exchange.ledger.describePosition(id, instrument)] : [];
    exchange.hub.report({ accountId: id, instrument, ...report, positions });
  }
  return { order: taker, trades: own.trades };
}

/** Cuts open reduce-only orders to what is left of the position, and cancels those that nothing is left for. */
function trimReduceOnly(exchange: Exchange, accountId: number, instrument: Instrument): readonly Order[] {
  const size = exchange.ledger.sizeOf(accountId, instrument);
  return exchange.orders.open(accountId).flatMap(({ order }) => {
    if (!order.reduce_only || order.instrument_name !== instrument.instrument_name) return [];
    const closable = order.direction === 'buy' ? -size : size;
    if (rounded(order.amount - order.filled_amount) <= closable) return [];
    const amount = rounded(order.filled_amount + Math.max(0, closable));
    const change = closable > 0 ? { amount } : ({ order_state: 'cancelled' } as const);
    return [exchange.orders.put(accountId, { ...order, ...change })];
  });
}

/** A post-only order that would be filled: one tick away from the book's other side. @throws RpcError if it must not move */
function aside(order: Order, [best]: readonly Offer[], { tick_size: tick }: Instrument): Order {
  if (best === undefined || !isWithin(order, best.price)) return order;
  if (order.reject_post_only) throw orderRefused('would be filled');
  return { ...order, price: rounded(best.price + (order.direction === 'buy' ? -tick : tick)) };
}

function isWithin({ direction, price: limit }: Order, price: number): boolean {
  return direction === 'buy' ? price <= limit : price >= limit;
}

/** @throws RpcError where the account has not enough of what the order needs */
function checkFunds(exchange: Exchange, accountId: number, order: Order): void {
  const instrument = instrumentNamed(order.instrument_name);
  const amount = order.amount - order.filled_amount;
  const need = exchange.ledger.need(accountId, { ...order, instrument, amount });
  if (need.amount > exchange.ledger.available(accountId, need.currency)) throw orderRefused('not enough funds');
}

/** The order after a trade. */
function filled(order: Order, { amount, price, timestamp }: PublicTrade): Order {
  const total = rounded(order.filled_amount + amount);
  return {
    ...order,
    filled_amount: total,
    average_price: rounded((order.average_price * order.filled_amount + price * amount) / total),
    order_state: total >= order.amount ? 'filled' : 'open',
    last_update_timestamp: timestamp,
  };
}
