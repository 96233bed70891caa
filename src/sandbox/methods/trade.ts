import { invalidParam, missingParam } from '../core/errors.js';
import { type Exchange, type Methods, type PrivateCall, privateMethod } from '../core/exchange.js';
import { cancelledInDetail, orderRefused } from '../core/guesses.js';
import { bookedIn, type Instrument, instrumentNamed, listInstruments } from '../core/instruments.js';
import { bandOf } from '../core/market.js';
import { cancelOrders, type Placer, place, replace } from '../core/matching.js';
import { type Order, timesInForce } from '../core/orders.js';
import {
  optionalBoolean,
  optionalNumber,
  optionalString,
  optionalStrings,
  type Params,
  requiredNumber,
  requiredString,
} from '../core/params.js';

type Handler = (exchange: Exchange, call: PrivateCall) => unknown;
const reads = (handle: Handler) => privateMethod('trade', 'read', handle);
const trades = (handle: Handler) => privateMethod('trade', 'read_write', handle);

/** Orders: they are matched with the market maker's quotes and with other accounts' orders. */
export const tradeMethods: Methods = {
  'private/buy': trades((exchange, call) => order(exchange, call, 'buy')),
  'private/sell': trades((exchange, call) => order(exchange, call, 'sell')),
  'private/edit': trades((exchange, call) => edit(exchange, call, openOrder(exchange, call))),
  'private/edit_by_label': trades((exchange, call) => {
    const label = requiredString(call.params, 'label');
    const { instrument_name: name } = instrumentNamed(requiredString(call.params, 'instrument_name'));
    const [found] = openOrders(exchange, call, (one) => one.label === label && one.instrument_name === name);
    if (found === undefined) throw orderRefused('no such order');
    return edit(exchange, call, found);
  }),
  'private/close_position': trades(closePosition),

  'private/cancel': trades((exchange, call) => {
    const [cancelled] = cancelOrders(exchange, call.grant.accountId, [openOrder(exchange, call)]);
    return cancelled;
  }),
  'private/cancel_by_label': trades((exchange, call) => {
    const label = requiredString(call.params, 'label');
    return cancelAll(exchange, call, (one) => one.label === label);
  }),
  'private/cancel_all': trades((exchange, call) => cancelAll(exchange, call)),
  'private/cancel_all_by_currency': trades((exchange, call) => {
    requiredString(call.params, 'currency');
    return cancelAll(exchange, call);
  }),
  'private/cancel_all_by_currency_pair': trades((exchange, call) => {
    const pair = requiredString(call.params, 'currency_pair').toLowerCase();
    return cancelAll(exchange, call, (one) => instrumentNamed(one.instrument_name).price_index === pair);
  }),
  'private/cancel_all_by_kind_or_type': trades((exchange, call) => {
    const { values, loose } = call.params;
    // one currency, or a list of them
    const isOne = typeof values.currency === 'string' && !loose;
    const currencies = isOne ? [values.currency] : (optionalStrings(call.params, 'currency') ?? [null]);
    const each = currencies.map((currency) => isChosen({ loose, values: { ...values, currency } }));
    const params = { loose, values: { ...values, currency: null } };
    return cancelAll(exchange, { ...call, params }, (one) => each.some((chosen) => chosen(one)));
  }),
  'private/cancel_all_by_instrument': trades((exchange, call) => {
    instrumentNamed(requiredString(call.params, 'instrument_name'));
    return cancelAll(exchange, call);
  }),

  'private/get_order_state': reads(ownOrder),
  'private/get_order_state_by_label': reads((exchange, call) => {
    const chosen = isChosen(call.params);
    const label = requiredString(call.params, 'label');
    return exchange.orders.list(call.grant.accountId).filter((one) => one.label === label && chosen(one));
  }),
  'private/get_open_orders': reads((exchange, call) => openOrders(exchange, call)),
  'private/get_open_orders_by_currency': reads((exchange, call) => {
    requiredString(call.params, 'currency');
    return openOrders(exchange, call);
  }),
  'private/get_open_orders_by_instrument': reads((exchange, call) => {
    instrumentNamed(requiredString(call.params, 'instrument_name'));
    return openOrders(exchange, call);
  }),
  'private/get_open_orders_by_label': reads((exchange, call) => {
    const label = requiredString(call.params, 'label');
    return openOrders(exchange, call, (one) => one.label === label);
  }),

  'private/get_position': reads((exchange, { params, grant }) =>
    exchange.ledger.describePosition(grant.accountId, instrumentNamed(requiredString(params, 'instrument_name'))),
  ),
  'private/get_margins': reads((exchange, { params, grant }) => {
    const instrument = instrumentNamed(requiredString(params, 'instrument_name'));
    const [amount, price] = [requiredNumber(params, 'amount'), requiredNumber(params, 'price')];
    const need = (direction: Order['direction']) =>
      exchange.ledger.need(grant.accountId, { instrument, direction, amount, price }).amount;
    return { buy: need('buy'), sell: need('sell'), ...bandOf(instrument) };
  }),
  'private/get_positions': reads((exchange, { params, grant }) => {
    const [currency, kind] = [optionalString(params, 'currency'), optionalString(params, 'kind')];
    const chosen = listInstruments({ currency, kind });
    const held = exchange.ledger.held(grant.accountId).filter((instrument) => chosen.includes(instrument));
    return held.map((instrument) => exchange.ledger.describePosition(grant.accountId, instrument));
  }),
};

function order(exchange: Exchange, call: PrivateCall, direction: Order['direction']): unknown {
  const { params } = call;
  const instrument = instrumentNamed(requiredString(params, 'instrument_name'));
  const amount = amountOf(params, instrument);
  if (amount === null) throw missingParam('amount');
  const type = typeOf(params);
  const price = optionalNumber(params, 'price');
  if (type === 'limit' && price === null) throw missingParam('price');
  const label = optionalString(params, 'label') ?? '';
  if (label.length > 64) throw invalidParam('label', 'at most 64 characters');
  const wanted = optionalString(params, 'time_in_force') ?? 'good_til_cancelled';
  const timeInForce = timesInForce.find((known) => known === wanted);
  if (timeInForce === undefined) throw invalidParam('time_in_force', 'unknown time in force');
  const flag = (name: string) => optionalBoolean(params, name) ?? false;
  return place(exchange, placer(call), {
    instrument,
    direction,
    amount,
    type,
    price: type === 'market' ? null : price,
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
    price: optionalNumber(params, 'price'),
    postOnly: optionalBoolean(params, 'post_only'),
  });
}

function closePosition(exchange: Exchange, call: PrivateCall): unknown {
  const instrument = instrumentNamed(requiredString(call.params, 'instrument_name'));
  const type = typeOf({ ...call.params, values: { type: requiredString(call.params, 'type') } });
  const price = optionalNumber(call.params, 'price');
  if (type === 'limit' && price === null) throw missingParam('price');
  const size = exchange.ledger.sizeOf(call.grant.accountId, instrument);
  if (size === 0) throw orderRefused('no position to close');
  return place(exchange, placer(call), {
    instrument,
    direction: size > 0 ? 'sell' : 'buy',
    amount: Math.abs(size),
    type,
    price: type === 'market' ? null : price,
    label: '',
    timeInForce: 'good_til_cancelled',
    postOnly: false,
    rejectPostOnly: false,
    reduceOnly: true,
  });
}

function placer({ grant, connection }: PrivateCall): Placer {
  return { accountId: grant.accountId, connectionId: connection?.id ?? null };
}

/** The amount, or that of the contracts; null where neither is given. */
function amountOf(params: Params, instrument: Instrument): number | null {
  const contracts = optionalNumber(params, 'contracts');
  return optionalNumber(params, 'amount') ?? (contracts === null ? null : contracts * instrument.contract_size);
}

function typeOf(params: Params): Order['order_type'] {
  const type = optionalString(params, 'type') ?? 'limit';
  if (type !== 'limit' && type !== 'market') throw invalidParam('type', 'unknown order type');
  return type;
}

function ownOrder(exchange: Exchange, { params, grant }: PrivateCall): Order {
  const found = exchange.orders.get(grant.accountId, requiredString(params, 'order_id'));
  if (found === undefined) throw orderRefused('no such order');
  return found;
}

function openOrder(exchange: Exchange, call: PrivateCall): Order {
  const found = ownOrder(exchange, call);
  if (found.order_state !== 'open') throw orderRefused('not open');
  return found;
}

/** How many were cancelled; with `detailed` the orders, a group for each instrument and type. */
function cancelAll(exchange: Exchange, call: PrivateCall, also: (order: Order) => boolean = () => true): unknown {
  const detailed = optionalBoolean(call.params, 'detailed') ?? false;
  const cancelled = cancelOrders(exchange, call.grant.accountId, openOrders(exchange, call, also));
  if (!detailed) return cancelled.length;
  return cancelledInDetail(cancelled, ({ instrument_name: name }) => bookedIn(instrumentNamed(name)));
}

function openOrders(exchange: Exchange, call: PrivateCall, also: (order: Order) => boolean = () => true) {
  const chosen = isChosen(call.params);
  const orders = exchange.orders.open(call.grant.accountId).map((entry) => entry.order);
  return orders.filter((one) => chosen(one) && also(one));
}

/** Whether an order is of the request's `instrument_name`, `currency`, `kind` and `type`, as far as it names them. */
export function isChosen(params: Params): (order: Pick<Order, 'instrument_name' | 'order_type'>) => boolean {
  const type = optionalString(params, 'type') ?? 'all';
  const chosen = new Set(
    listInstruments({
      instrument: optionalString(params, 'instrument_name'),
      currency: optionalString(params, 'currency'),
      kind: optionalString(params, 'kind'),
    }).map((instrument) => instrument.instrument_name),
  );
  return (one) => chosen.has(one.instrument_name) && (type === 'all' || type === one.order_type);
}
