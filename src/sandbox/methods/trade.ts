import { invalidParam, missingParam } from '../core/errors.js';
import { type Exchange, type Methods, type PrivateCall, type PrivateMethod, privateMethod } from '../core/exchange.js';
import { cancelledInDetail, orderRefused } from '../core/guesses.js';
import {
  bookedIn,
  type Instrument,
  instrumentNamed,
  instrumentOf,
  instrumentsOf,
  listInstruments,
} from '../core/instruments.js';
import { bandOf } from '../core/market.js';
import { cancelOrders, type Placer, place, replace } from '../core/matching.js';
import { type Order, timesInForce } from '../core/orders.js';
import type { Params } from '../core/params.js';

type Handler = (exchange: Exchange, call: PrivateCall) => unknown;
const reads = (handle: Handler) => privateMethod('trade', 'read', handle);
const trades = (handle: Handler) => privateMethod('trade', 'read_write', handle);

/** Orders: they are matched with the market maker's quotes and with other accounts' orders. */
export const tradeMethods: Methods = {
  'private/buy': trades((exchange, call) => order(exchange, call, 'buy')),
  'private/sell': trades((exchange, call) => order(exchange, call, 'sell')),
  'private/edit': trades((exchange, call) => edit(exchange, call, openOrder(exchange, call))),
  'private/edit_by_label': trades((exchange, call) => {
    const labelled = openOrders(exchange, call, byLabel);
    const { instrument_name: name } = instrumentOf(call.params);
    const found = labelled.find((one) => one.instrument_name === name);
    if (found === undefined) throw orderRefused('no such order');
    return edit(exchange, call, found);
  }),
  'private/close_position': trades(closePosition),

  'private/cancel': trades((exchange, call) => {
    const [cancelled] = cancelOrders(exchange, {
      accountId: call.grant.accountId,
      orders: [openOrder(exchange, call)],
    });
    return cancelled;
  }),
  'private/cancel_by_label': cancelling(byLabel),
  'private/cancel_all': cancelling(isChosen),
  'private/cancel_all_by_currency': cancelling(byCurrency),
  'private/cancel_all_by_currency_pair': cancelling((params) => {
    const pair = params.requiredString('currency_pair').toLowerCase();
    const chosen = isChosen(params);
    return (one) => chosen(one) && instrumentNamed(one.instrument_name).price_index === pair;
  }),
  'private/cancel_all_by_kind_or_type': cancelling((params) => {
    const { currency: given } = params.values;
    // one currency, or a list of them
    const isOne = typeof given === 'string' && !params.loose;
    const currencies = isOne ? [given] : (params.optionalStrings('currency') ?? [null]);
    const each = currencies.map((currency) => isChosen(params.with({ currency })));
    return (one) => each.some((chosen) => chosen(one));
  }),
  'private/cancel_all_by_instrument': cancelling(byInstrument),

  'private/get_order_state': reads(ownOrder),
  'private/get_order_state_by_label': reads((exchange, { params, grant }) =>
    exchange.orders.list(grant.accountId).filter(byLabel(params)),
  ),
  'private/get_open_orders': listing(isChosen),
  'private/get_open_orders_by_currency': listing(byCurrency),
  'private/get_open_orders_by_instrument': listing(byInstrument),
  'private/get_open_orders_by_label': listing(byLabel),

  'private/get_position': reads((exchange, { params, grant }) =>
    exchange.ledger.describePosition(grant.accountId, instrumentOf(params)),
  ),
  'private/get_margins': reads((exchange, { params, grant }) => {
    const instrument = instrumentOf(params);
    const [amount, price] = [params.requiredNumber('amount'), params.requiredNumber('price')];
    const need = (direction: Order['direction']) =>
      exchange.ledger.need(grant.accountId, { instrument, direction, amount, price }).amount;
    return { buy: need('buy'), sell: need('sell'), ...bandOf(instrument) };
  }),
  'private/get_positions': reads((exchange, { params, grant }) => {
    const [currency, kind] = [params.optionalString('currency'), params.optionalString('kind')];
    return exchange.ledger.describePositions(grant.accountId, listInstruments({ currency, kind }));
  }),
};

function order(exchange: Exchange, call: PrivateCall, direction: Order['direction']): unknown {
  const { params } = call;
  const instrument = instrumentOf(params);
  const amount = amountOf(params, instrument);
  if (amount === null) throw missingParam('amount');
  const { type, price } = typeAndPrice(params);
  const label = params.optionalString('label') ?? '';
  if (label.length > 64) throw invalidParam('label', 'at most 64 characters');
  const wanted = params.optionalString('time_in_force') ?? 'good_til_cancelled';
  const timeInForce = timesInForce.find((known) => known === wanted);
  if (timeInForce === undefined) throw invalidParam('time_in_force', 'unknown time in force');
  const flag = (name: string) => params.optionalBoolean(name) ?? false;
  return place(exchange, placer(call), {
    instrument,
    direction,
    amount,
    type,
    price,
    label,
    timeInForce,
    postOnly: type === 'limit' && flag('post_only'),
    rejectPostOnly: flag('reject_post_only'),
    reduceOnly: flag('reduce_only'),
  });
}

function edit(exchange: Exchange, call: PrivateCall, found: Order): unknown {
  const { params } = call;
  return replace(exchange, placer(call), {
    order: found,
    amount: amountOf(params, instrumentNamed(found.instrument_name)),
    price: params.optionalNumber('price'),
    postOnly: params.optionalBoolean('post_only'),
  });
}

function closePosition(exchange: Exchange, call: PrivateCall): unknown {
  const instrument = instrumentOf(call.params);
  call.params.requiredString('type');
  const { type, price } = typeAndPrice(call.params);
  const size = exchange.ledger.sizeOf(call.grant.accountId, instrument);
  if (size === 0) throw orderRefused('no position to close');
  return place(exchange, placer(call), {
    instrument,
    direction: size > 0 ? 'sell' : 'buy',
    amount: Math.abs(size),
    type,
    price,
    reduceOnly: true,
  });
}

function placer({ grant, connection }: PrivateCall): Placer {
  return { accountId: grant.accountId, connectionId: connection?.id ?? null };
}

/** The amount, or that of the contracts; null where neither is given. */
function amountOf(params: Params, instrument: Instrument): number | null {
  const contracts = params.optionalNumber('contracts');
  return params.optionalNumber('amount') ?? (contracts === null ? null : contracts * instrument.contract_size);
}

/** The order's type, and its price: null for a market order. */
function typeAndPrice(params: Params): { readonly type: Order['order_type']; readonly price: number | null } {
  const type = params.optionalString('type') ?? 'limit';
  if (type !== 'limit' && type !== 'market') throw invalidParam('type', 'unknown order type');
  const price = params.optionalNumber('price');
  if (type === 'limit' && price === null) throw missingParam('price');
  return { type, price: type === 'market' ? null : price };
}

function ownOrder(exchange: Exchange, { params, grant }: PrivateCall): Order {
  const found = exchange.orders.get(grant.accountId, params.requiredString('order_id'));
  if (found === undefined) throw orderRefused('no such order');
  return found;
}

function openOrder(exchange: Exchange, call: PrivateCall): Order {
  const found = ownOrder(exchange, call);
  if (found.order_state !== 'open') throw orderRefused('not open');
  return found;
}

/** Reads from a request which orders it is about. @throws RpcError -32602 */
type Choice = (params: Params) => (order: Order) => boolean;

/** A method that cancels open orders: it answers how many, or with `detailed` the orders by instrument and type. */
function cancelling(choice: Choice): PrivateMethod {
  return trades((exchange, call) => {
    const orders = openOrders(exchange, call, choice);
    const detailed = call.params.optionalBoolean('detailed') ?? false;
    const cancelled = cancelOrders(exchange, { accountId: call.grant.accountId, orders });
    if (!detailed) return cancelled.length;
    return cancelledInDetail(cancelled, ({ instrument_name: name }) => bookedIn(instrumentNamed(name)));
  });
}

function listing(choice: Choice): PrivateMethod {
  return reads((exchange, call) => openOrders(exchange, call, choice));
}

function openOrders(exchange: Exchange, { params, grant }: PrivateCall, choice: Choice): readonly Order[] {
  const chosen = choice(params);
  return exchange.orders.open(grant.accountId).flatMap(({ order }) => (chosen(order) ? [order] : []));
}

function byLabel(params: Params): (order: Order) => boolean {
  const label = params.requiredString('label');
  const chosen = isChosen(params);
  return (one) => one.label === label && chosen(one);
}

function byCurrency(params: Params): (order: Order) => boolean {
  params.requiredString('currency');
  return isChosen(params);
}

function byInstrument(params: Params): (order: Order) => boolean {
  instrumentOf(params);
  return isChosen(params);
}

/** Whether an order is of the request's `type`, and of its instruments. */
function isChosen(params: Params): (order: Order) => boolean {
  const type = params.optionalString('type') ?? 'all';
  const names = new Set(instrumentsOf(params).map((instrument) => instrument.instrument_name));
  return (one) => names.has(one.instrument_name) && (type === 'all' || type === one.order_type);
}
