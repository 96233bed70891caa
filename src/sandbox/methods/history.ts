import { missingParam } from '../core/errors.js';
import {
  type Exchange,
  type Method,
  type Methods,
  type PrivateCall,
  privateMethod,
  publicMethod,
} from '../core/exchange.js';
import {
  currencyFacts,
  indexOf,
  instrumentNamed,
  instrumentOf,
  instrumentsOf,
  listInstruments,
  priceOf,
} from '../core/instruments.js';
import { isPerpetual, type PublicTrade } from '../core/market.js';
import type { Params } from '../core/params.js';

const dayMs = 86_400_000;
const settledAtMs = 8 * 3_600_000;

/** What happened: public trades, and an account's orders, trades and bookings. */
export const historyMethods: Methods = {
  ...eachWay('public/get_last_trades', (needs) =>
    publicMethod((exchange, { params }) => page(params, needs, publicTrades(exchange, params, needs))),
  ),
  ...eachWay('private/get_user_trades', (needs) =>
    privateMethod('trade', 'read', (exchange, { params, grant }) => {
      const chosen = chosenBy(params, needs);
      return page(params, needs, exchange.ledger.trades(grant.accountId).filter(chosen));
    }),
  ),
  'private/get_user_trades_by_order': privateMethod('trade', 'read', (exchange, { params, grant }) => {
    const id = params.requiredString('order_id');
    return exchange.ledger.trades(grant.accountId).filter((trade) => trade.order_id === id);
  }),

  'private/get_order_history_by_currency': privateMethod('trade', 'read', orderHistory('currency')),
  'private/get_order_history_by_instrument': privateMethod('trade', 'read', orderHistory('instrument_name')),
  'private/get_trigger_order_history': privateMethod('trade', 'read', (_exchange, { params }) => {
    currencyFacts(params.requiredString('currency'));
    return { entries: [] };
  }),

  'private/get_transaction_log': privateMethod('account', 'read', (exchange, { params, grant }) => {
    const currency = params.requiredString('currency');
    currencyFacts(currency);
    const [start, end] = [params.requiredInteger('start_timestamp'), params.requiredInteger('end_timestamp')];
    const count = params.optionalInteger('count') ?? 100;
    const before = params.optionalInteger('continuation') ?? Number.POSITIVE_INFINITY;
    const entries = exchange.ledger.log(grant.accountId).filter((entry) => {
      return entry.currency === currency && entry.timestamp >= start && entry.timestamp <= end && entry.id < before;
    });
    const logs = entries.slice(-count).reverse();
    return { logs, continuation: entries.length > count ? (logs.at(-1)?.id ?? null) : null };
  }),

  // A position is never settled here: profits are booked at once.
  'private/get_settlement_history_by_currency': privateMethod('trade', 'read', (_exchange, { params }) => {
    currencyFacts(params.requiredString('currency'));
    return { settlements: [], continuation: 'none' };
  }),
  'private/get_settlement_history_by_instrument': privateMethod('trade', 'read', (_exchange, { params }) => {
    instrumentOf(params);
    return { settlements: [], continuation: 'none' };
  }),
  'public/get_last_settlements_by_currency': publicMethod((exchange, { params }) => {
    params.requiredString('currency');
    return settlements(exchange, params);
  }),
  'public/get_last_settlements_by_instrument': publicMethod((exchange, { params }) => {
    instrumentOf(params);
    return settlements(exchange, params);
  }),
};

/** What a request must name, and whether it must name a span of time. */
interface Needs {
  readonly subject: 'currency' | 'instrument_name';
  readonly span: boolean;
}

/** The four ways to ask for trades: by currency or by instrument, each with or without a span of time. */
function eachWay(name: string, method: (needs: Needs) => Method): Methods {
  return {
    [`${name}_by_currency`]: method({ subject: 'currency', span: false }),
    [`${name}_by_currency_and_time`]: method({ subject: 'currency', span: true }),
    [`${name}_by_instrument`]: method({ subject: 'instrument_name', span: false }),
    [`${name}_by_instrument_and_time`]: method({ subject: 'instrument_name', span: true }),
  };
}

/** Which orders and trades a request is about. @throws RpcError -32602 where it does not say so */
function chosenBy(
  params: Params,
  { subject }: Pick<Needs, 'subject'>,
): (entry: Pick<PublicTrade, 'instrument_name'>) => boolean {
  const value = params.requiredString(subject);
  if (subject === 'instrument_name') instrumentNamed(value);
  const chosen = listInstruments({ [subject]: value, kind: params.optionalString('kind') });
  return (entry) => chosen.some(({ instrument_name: name }) => name === entry.instrument_name);
}

function publicTrades(exchange: Exchange, params: Params, needs: Needs): readonly PublicTrade[] {
  const chosen = chosenBy(params, needs);
  const trades = listInstruments({})
    .filter(chosen)
    .flatMap((instrument) => exchange.market.trades(instrument));
  return trades.sort((a, b) => a.timestamp - b.timestamp);
}

/** A page of trades that come oldest first: the newest first unless `sorting` is `asc`. */
function page(params: Params, { span }: Needs, trades: readonly PublicTrade[]): unknown {
  const limit = (name: string, otherwise: number) => params.optionalInteger(name) ?? otherwise;
  const [start, end] = [limit('start_timestamp', 0), limit('end_timestamp', Number.POSITIVE_INFINITY)];
  if (span && start === 0) throw missingParam('start_timestamp');
  const [startSeq, endSeq] = [limit('start_seq', 0), limit('end_seq', Number.POSITIVE_INFINITY)];
  const idOf = (name: string, otherwise: number) => Number(params.optionalString(name) ?? otherwise);
  const [startId, endId] = [idOf('start_id', 0), idOf('end_id', Number.POSITIVE_INFINITY)];
  const found = trades.filter(
    ({ timestamp, trade_seq: seq, trade_id: id }) =>
      timestamp >= start && timestamp <= end && seq >= startSeq && seq <= endSeq && +id >= startId && +id <= endId,
  );
  const sorting = params.optionalString('sorting') ?? 'default';
  const ordered = sorting === 'asc' ? found : [...found].reverse();
  const count = Math.max(1, Math.min(limit('count', 10), 1000));
  return { trades: ordered.slice(0, count), has_more: ordered.length > count };
}

/** Orders that are no longer open, the newest first; without `include_unfilled` only those that were filled in part. */
function orderHistory(subject: Needs['subject']) {
  return (exchange: Exchange, { params, grant }: PrivateCall): unknown => {
    const chosen = chosenBy(params, { subject });
    const unfilledToo = params.optionalBoolean('include_unfilled') ?? false;
    const offset = params.optionalInteger('offset') ?? 0;
    const count = params.optionalInteger('count') ?? 20;
    const orders = exchange.orders.list(grant.accountId).filter((order) => {
      return order.order_state !== 'open' && chosen(order) && (unfilledToo || order.filled_amount > 0);
    });
    return orders.reverse().slice(offset, offset + count);
  };
}

/** The last daily settlement of each perpetual; there were no deliveries and no bankruptcies. */
function settlements(exchange: Exchange, params: Params): unknown {
  const timestamp = Math.floor((exchange.now() - settledAtMs) / dayMs) * dayMs + settledAtMs;
  const type = params.optionalString('type') ?? 'settlement';
  const settled = type === 'settlement' ? instrumentsOf(params).filter(isPerpetual) : [];
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
