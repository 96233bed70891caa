import { invalidParam, missingParam, RpcError } from '../core/errors.js';
import { type Exchange, type Methods, type PrivateCall, privateMethod } from '../core/exchange.js';
import { currencyFacts, type Instrument, instrumentNamed, priceOf } from '../core/market.js';
import type { Order } from '../core/orders.js';
import { optionalBoolean, optionalNumber, optionalString, requiredString } from '../core/params.js';

/** Orders: a market order is filled at once, a limit order stays open until it is cancelled. */
export const tradeMethods: Methods = {
  'private/buy': privateMethod('trade', 'read_write', (exchange, call) => place(exchange, call, 'buy')),
  'private/sell': privateMethod('trade', 'read_write', (exchange, call) => place(exchange, call, 'sell')),

  'private/cancel': privateMethod('trade', 'read_write', (exchange, call) => {
    const order = ownOrder(exchange, call);
    if (order.order_state !== 'open') throw new RpcError(11_044, 'not_open_order');
    return cancel(exchange, call, order);
  }),

  'private/cancel_all': privateMethod('trade', 'read_write', (exchange, call) => {
    const open = openOrders(exchange, call);
    for (const order of open) cancel(exchange, call, order);
    return open.length;
  }),

  'private/get_order_state': privateMethod('trade', 'read', (exchange, call) => ownOrder(exchange, call)),

  'private/get_open_orders': privateMethod('trade', 'read', (exchange, call) => openOrders(exchange, call)),

  'private/get_open_orders_by_currency': privateMethod('trade', 'read', (exchange, call) => {
    const currency = requiredString(call.params, 'currency');
    currencyFacts(currency);
    return openOrders(exchange, call).filter(
      (order) => instrumentNamed(order.instrument_name).base_currency === currency,
    );
  }),

  'private/get_open_orders_by_instrument': privateMethod('trade', 'read', (exchange, call) => {
    const { instrument_name: name } = instrumentNamed(requiredString(call.params, 'instrument_name'));
    return openOrders(exchange, call).filter((order) => order.instrument_name === name);
  }),

  'private/get_positions': privateMethod('trade', 'read', (_exchange, { params }) => {
    const currency = optionalString(params, 'currency');
    if (currency !== null && currency !== 'any') currencyFacts(currency);
    return [];
  }),
};

function place(exchange: Exchange, call: PrivateCall, direction: 'buy' | 'sell'): unknown {
  const { params, grant } = call;
  const instrument = instrumentNamed(requiredString(params, 'instrument_name'));
  const contracts = optionalNumber(params, 'contracts');
  const amount = optionalNumber(params, 'amount') ?? (contracts === null ? null : contracts * instrument.contract_size);
  if (amount === null) throw missingParam('amount');
  if (amount <= 0) throw invalidParam('amount', 'must be positive');
  const type = optionalString(params, 'type') ?? 'limit';
  if (type !== 'limit' && type !== 'market') throw invalidParam('type', 'unknown order type');
  const limit = optionalNumber(params, 'price');
  if (type === 'limit' && limit === null) throw missingParam('price');
  const label = optionalString(params, 'label') ?? '';
  if (label.length > 64) throw invalidParam('label', 'at most 64 characters');
  const postOnly = optionalBoolean(params, 'post_only') ?? false;
  const reduceOnly = optionalBoolean(params, 'reduce_only') ?? false;
  const nowMs = exchange.now();
  const isFilled = type === 'market';
  const price = limit ?? priceOf(instrument);
  const order: Order = {
    order_id: exchange.orders.takeId(),
    instrument_name: instrument.instrument_name,
    direction,
    order_type: type,
    order_state: isFilled ? 'filled' : 'open',
    amount,
    filled_amount: isFilled ? amount : 0,
    price,
    average_price: isFilled ? price : 0,
    label,
    time_in_force: 'good_til_cancelled',
    post_only: postOnly,
    reduce_only: reduceOnly,
    api: true,
    creation_timestamp: nowMs,
    last_update_timestamp: nowMs,
  };
  return {
    order: exchange.orders.put(grant.accountId, order, call.connection?.id ?? null),
    trades: isFilled ? [trade(order, instrument)] : [],
  };
}

function trade(order: Order, instrument: Instrument): Readonly<Record<string, unknown>> {
  const { order_id, instrument_name, direction, amount, price, label, order_type } = order;
  return {
    trade_id: `${order_id}-1`,
    trade_seq: 1,
    order_id,
    order_type,
    instrument_name,
    direction,
    amount,
    price,
    label,
    state: 'filled',
    liquidity: 'T',
    fee: 0,
    fee_currency: instrument.settlement_currency ?? instrument.quote_currency,
    mark_price: price,
    index_price: price,
    tick_direction: 0,
    matching_id: null,
    timestamp: order.creation_timestamp,
  };
}

function cancel(exchange: Exchange, { grant }: PrivateCall, order: Order): Order {
  const last_update_timestamp = exchange.now();
  return exchange.orders.put(grant.accountId, { ...order, order_state: 'cancelled', last_update_timestamp });
}

function ownOrder(exchange: Exchange, { params, grant }: PrivateCall): Order {
  const order = exchange.orders.get(grant.accountId, requiredString(params, 'order_id'));
  if (order === undefined) throw new RpcError(10_004, 'order_not_found');
  return order;
}

function openOrders(exchange: Exchange, { grant }: PrivateCall): readonly Order[] {
  return exchange.orders.list(grant.accountId).filter((order) => order.order_state === 'open');
}
