import { missingParam } from '../core/errors.js';
import { type Exchange, type Methods, type PrivateCall, privateMethod, publicMethod } from '../core/exchange.js';
import { currencyFacts, indexOf, instrumentNamed, listInstruments, priceOf } from '../core/instruments.js';
import { isPerpetual, type PublicTrade } from '../core/market.js';
import {
  optionalBoolean,
  optionalInteger,
  optionalString,
  type Params,
  requiredInteger,
  requiredString,
} from '../core/params.js';
import { isChosen } from './trade.js';

const dayMs = 86_400_000;
const settledAtMs = 8 * 3_600_000;

/** What happened: public trades, and an account's orders, trades and bookings. */
export const historyMethods: Methods = {
  ...eachWay('public/get_last_trades', (name, needs) => ({
    [name]: publicMethod((exchange, { params }) => page(params, needs, publicTrades(exchange, params, needs))),
  })),
  ...eachWay('private/get_user_trades', (name, needs) => ({
    [name]: privateMethod('trade', 'read', (exchange, { params, grant }) => {
      const chosen = chosenBy(params, needs[0]);
      return page(params, needs, exchange.ledger.trades(grant.accountId).filter(chosen));
    }),
  })),
  'private/get_user_trades_by_order': privateMethod('trade', 'read', (exchange, { params, grant }) => {
    const id = requiredString(params, 'order_id');
    return exchange.ledger.trades(grant.accountId).filter((trade) => trade.order_id === id);
  }),

  'private/get_order_history_by_currency': privateMethod('trade', 'read', orderHistory('currency')),
  'private/get_order_history_by_instrument': privateMethod('trade', 'read', orderHistory('instrument_name')),
  'private/get_trigger_order_history': privateMethod('trade', 'read', (_exchange, { params }) => {
    currencyFacts(requiredString(params, 'currency'));
    return { entries: [] };
  }),

  'private/get_transaction_log': privateMethod('account', 'read', (exchange, { params, grant }) => {
    const currency = requiredString(params, 'currency');
    currencyFacts(currency);
    const [start, end] = [requiredInteger(params, 'start_timestamp'), requiredInteger(params, 'end_timestamp')];
    const count = optionalInteger(params, 'count') ?? 100;
    const before = optionalInteger(params, 'continuation') ?? Number.POSITIVE_INFINITY;
    const entries = exchange.ledger.log(grant.accountId).filter((entry) => {
      return entry.currency === currency && entry.timestamp >= start && entry.timestamp <= end && entry.id < before;
    });
    const logs = entries.slice(-count).reverse();
    return { logs, continuation: entries.length > count ? (logs.at(-1)?.id ?? null) : null };
  }),

  // A position is never settled here: profits are booked at once.
  'private/get_settlement_history_by_currency': privateMethod('trade', 'read', (_exchange, { params }) => {
    currencyFacts(requiredString(params, 'currency'));
    return { settlements: [], continuation: 'none' };
  }),
  'private/get_settlement_history_by_instrument': privateMethod('trade', 'read', (_exchange, { params }) => {
    instrumentNamed(requiredString(params, 'instrument_name'));
    return { settlements: [], continuation: 'none' };
  }),
  'public/get_last_settlements_by_currency': publicMethod((exchange, { params }) => {
    requiredString(params, 'currency');
    return settlements(exchange, params);
  }),
  'public/get_last_settlements_by_instrument': publicMethod((exchange, { params }) => {
    instrumentNamed(requiredString(params, 'instrument_name'));
    return settlements(exchange, params);
  }),
};

type Subject = 'currency' | 'instrument_name';
/** What a request must name, and whether it must name a span of time. */
type Needs = readonly [Subject, 'and_time' | null];

/** The four ways to ask for trades: by currency or by instrument, each with or without a span of time. */
function eachWay(name: string, entry: (name: string, needs: Needs) => Methods): Methods {
  return {
    ...entry(`${name}_by_currency`, ['currency', null]),
    ...entry(`${name}_by_currency_and_time`, ['currency', 'and_time']),
    ...entry(`${name}_by_instrument`, ['instrument_name', null]),
    ...entry(`${name}_by_instrument_and_time`, ['instrument_name', 'and_time']),
  };
}

/** Which orders and trades a request is about. @throws RpcError -32602 where it does not say so */
function chosenBy(params: Params, subject: Subject): (entry: { readonly instrument_name: string }) => boolean {
  const value = requiredString(params, subject);
  if (subject === 'instrument_name') instrumentNamed(value);
  const chosen = isChosen({ ...params, values: { [subject]: value, kind: params.values.kind } });
  return ({ instrument_name }) => chosen({ instrument_name, order_type: 'limit' });
}

function publicTrades(exchange: Exchange, params: Params, [subject]: Needs): readonly PublicTrade[] {
  const chosen = chosenBy(params, subject);
  const trades = listInstruments({})
    .filter(chosen)
    .flatMap((instrument) => exchange.market.trades(instrument));
  return trades.sort((a, b) => a.timestamp - b.timestamp);
}

/** A page of trades that come oldest first: the newest first unless `sorting` is `asc`. */
function page(params: Params, [, time]: Needs, trades: readonly PublicTrade[]): unknown {
  const limit = (name: string, otherwise: number) => optionalInteger(params, name) ?? otherwise;
  const [start, end] = [limit('start_timestamp', 0), limit('end_timestamp', Number.POSITIVE_INFINITY)];
  if (time !== null && start === 0) throw missingParam('start_timestamp');
  const [startSeq, endSeq] = [limit('start_seq', 0), limit('end_seq', Number.POSITIVE_INFINITY)];
  const [startId, endId] = [idOf(params, 'start_id', 0), idOf(params, 'end_id', Number.POSITIVE_INFINITY)];
  const found = trades.filter(
    ({ timestamp, trade_seq: seq, trade_id: id }) =>
      timestamp >= start && timestamp <= end && seq >= startSeq && seq <= endSeq && +id >= startId && +id <= endId,
  );
  const sorting = optionalString(params, 'sorting') ?? 'default';
  const ordered = sorting === 'asc' ? found : [...found].reverse();
  const count = Math.max(1, Math.min(limit('count', 10), 1000));
  return { trades: ordered.slice(0, count), has_more: ordered.length > count };
}

function idOf(params: Params, name: string, otherwise: number): number {
  const id = optionalString(params, name);
  return id === null ? otherwise : Number(id);
}

/** Orders that are no longer open, the newest first; without `include_unfilled` only those that were filled in part. */
function orderHistory(subject: Subject) {
  return (exchange: Exchange, { params, grant }: PrivateCall): unknown => {
    const chosen = chosenBy(params, subject);
    const unfilledToo = optionalBoolean(params, 'include_unfilled') ?? false;
    const offset = optionalInteger(params, 'offset') ?? 0;
    const count = optionalInteger(params, 'count') ?? 20;
    const orders = exchange.orders.list(grant.accountId).filter((order) => {
      return order.order_state !== 'open' && chosen(order) && (unfilledToo || order.filled_amount > 0);
    });
    return orders.reverse().slice(offset, offset + count);
  };
}

/** The last daily settlement of each perpetual; there were no deliveries and no bankruptcies. */
function settlements(exchange: Exchange, params: Params): unknown {
  const chosen = isChosen({ ...params, values: { ...params.values, type: null } });
  const timestamp = Math.floor((exchange.now() - settledAtMs) / dayMs) * dayMs + settledAtMs;
  const type = optionalString(params, 'type') ?? 'settlement';
  const settled = listInstruments({}).filter(
    (instrument) => type === 'settlement' && isPerpetual(instrument) && chosen({ ...instrument, order_type: 'limit' }),
  );
  return {
    settlements: settled.map((instrument) => ({
      type: 'settlement',
      timestamp,
      instrument_name: instrument.instrument_name,
      position: 0,
      index_price: indexOf(instrument),
      mark_price: priceOf(instrument),
      session_profit_loss: 0,
      profit_loss: 0,
      funding: 0,
    })),
    continuation: 'none',
  };
}
