import { invalidParam, missingParam } from '../core/errors.js';
import { type Exchange, type Methods, publicMethod } from '../core/exchange.js';
import {
  currencies,
  currencyFacts,
  describeCurrencies,
  expiry,
  type Instrument,
  indexOf,
  instrumentOf,
  listInstruments,
  priceOf,
} from '../core/instruments.js';
import { funding8h, impliedVolatility, isPerpetual } from '../core/market.js';
import type { Params } from '../core/params.js';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const mostCandles = 5000;
const mostHours = 744;
const markHistoryS = 300;
/** Seconds, or a day. */
const volatilityResolutions = ['1', '60', '3600', '43200', '1D'];
const resolutions = ['1', '3', '5', '10', '15', '30', '60', '120', '180', '360', '720', '1D'];
const indexNames = ['btc_usd', 'eth_usd', 'btc_usdc', 'eth_usdc'];

/** A market whose prices stand still. */
export const marketMethods: Methods = {
  'public/get_currencies': publicMethod(() => describeCurrencies()),

  'public/get_instruments': publicMethod((_exchange, { params }) => {
    const chosen = { currency: params.optionalString('currency'), kind: params.optionalString('kind') };
    return params.optionalBoolean('expired') === true ? [] : listInstruments(chosen);
  }),

  'public/get_instrument': publicMethod((_exchange, { params }) => instrumentOf(params)),

  'public/get_contract_size': publicMethod((_exchange, { params }) => {
    const { contract_size } = instrumentOf(params);
    return { contract_size };
  }),

  'public/get_expirations': publicMethod((_exchange, { params }) => {
    params.requiredString('currency');
    return { future: [expiry, 'PERPETUAL'], option: [expiry] };
  }),

  'public/ticker': publicMethod((exchange, { params }) => exchange.market.ticker(instrumentOf(params))),

  'public/get_order_book': publicMethod((exchange, { params }) => orderBook(exchange, params, instrumentOf(params))),

  'public/get_order_book_by_instrument_id': publicMethod((exchange, { params }) => {
    const id = params.requiredInteger('instrument_id');
    const instrument = listInstruments({}).find((one) => one.instrument_id === id);
    if (instrument === undefined) throw invalidParam('instrument_id', 'unknown instrument');
    return orderBook(exchange, params, instrument);
  }),

  'public/get_book_summary_by_currency': publicMethod((exchange, { params }) =>
    listInstruments({ currency: params.requiredString('currency'), kind: params.optionalString('kind') }).map(
      (instrument) => exchange.market.summary(instrument),
    ),
  ),

  'public/get_book_summary_by_instrument': publicMethod((exchange, { params }) => [
    exchange.market.summary(instrumentOf(params)),
  ]),

  'public/get_index_price': publicMethod((_exchange, { params }) => {
    const { index } = currencyFacts(baseOf(params.requiredString('index_name')));
    return { index_price: index, estimated_delivery_price: index };
  }),
  'public/get_index_price_names': publicMethod(() => indexNames),
  'public/get_supported_index_names': publicMethod(() => indexNames),

  'public/get_index_chart_data': publicMethod((exchange, { params }) => {
    const { index } = currencyFacts(baseOf(params.requiredString('index_name')));
    const hour = Math.floor(exchange.now() / hourMs);
    return Array.from({ length: 24 }, (_, i) => [(hour - 23 + i) * hourMs, index]);
  }),
  'public/get_delivery_prices': publicMethod((exchange, { params }) => {
    const { index } = currencyFacts(baseOf(params.requiredString('index_name')));
    const yesterday = new Date(exchange.now() - dayMs).toISOString().slice(0, 10);
    return { data: [{ date: yesterday, delivery_price: index }], records_total: 1 };
  }),

  'public/get_tradingview_chart_data': publicMethod((exchange, { params }) => candles(exchange, params)),

  'public/get_funding_rate_history': publicMethod((exchange, { params }) => {
    const instrument = perpetualOf(params);
    return hoursOf(exchange, params).map((timestamp) => ({
      timestamp,
      interest_1h: funding8h / 8,
      interest_8h: funding8h,
      index_price: indexOf(instrument),
      prev_index_price: indexOf(instrument),
    }));
  }),
  'public/get_funding_rate_value': publicMethod((exchange, { params }) => {
    perpetualOf(params);
    return (hoursOf(exchange, params).length * funding8h) / 8;
  }),
  'public/get_funding_chart_data': publicMethod((exchange, { params }) => {
    const instrument = perpetualOf(params);
    const timestamp = Math.floor(exchange.now() / hourMs) * hourMs;
    const data = [{ timestamp, index_price: indexOf(instrument), interest_8h: funding8h }];
    return { current_interest: 0, interest_8h: funding8h, data };
  }),

  'public/get_mark_price_history': publicMethod((exchange, { params }) => {
    const price = priceOf(instrumentOf(params));
    const seconds = ticksOf(exchange, params, { lengthMs: 1000, most: markHistoryS });
    return seconds.map((timestamp) => [timestamp, price]).reverse();
  }),

  'public/get_volatility_index_data': publicMethod((exchange, { params }) => {
    currencyFacts(params.requiredString('currency'));
    const asked = params.values.resolution ?? null;
    if (asked === null) throw missingParam('resolution');
    if (!volatilityResolutions.includes(String(asked))) throw invalidParam('resolution', 'unknown resolution');
    const lengthMs = asked === '1D' ? dayMs : Number(asked) * 1000;
    const ticks = ticksOf(exchange, params, { lengthMs, most: mostCandles });
    return { data: ticks.map((tick) => [tick, ...Array(4).fill(impliedVolatility)]), continuation: null };
  }),

  'public/get_historical_volatility': publicMethod((exchange, { params }) => {
    currencyFacts(params.requiredString('currency'));
    const hour = Math.floor(exchange.now() / hourMs) * hourMs;
    return [[hour, 60]];
  }),

  'public/get_trade_volumes': publicMethod(() =>
    currencies.map((currency) => ({ currency, calls_volume: 0, puts_volume: 0, futures_volume: 0, spot_volume: 0 })),
  ),
};

function perpetualOf(params: Params): Instrument {
  const instrument = instrumentOf(params);
  if (!isPerpetual(instrument)) throw invalidParam('instrument_name', 'must be a perpetual');
  return instrument;
}

function baseOf(indexName: string): string {
  const [base = ''] = indexName.split('_');
  return base.toUpperCase();
}

function orderBook(exchange: Exchange, params: Params, instrument: Instrument): unknown {
  const depth = params.optionalInteger('depth') ?? 20;
  const { changeId, bids, asks } = exchange.market.book(instrument);
  const ticker = exchange.market.ticker(instrument);
  return { ...ticker, change_id: changeId, bids: bids.slice(0, depth), asks: asks.slice(0, depth) };
}

/** Flat candles, as many as were asked for, up to now. */
function candles(exchange: Exchange, params: Params): unknown {
  const instrument = instrumentOf(params);
  const resolution = params.requiredString('resolution');
  if (!resolutions.includes(resolution)) throw invalidParam('resolution', 'unknown resolution');
  const lengthMs = (resolution === '1D' ? 1440 : Number(resolution)) * 60_000;
  const ticks = ticksOf(exchange, params, { lengthMs, most: mostCandles });
  const prices = ticks.map(() => priceOf(instrument));
  const volume = ticks.map(() => (instrument.min_trade_amount * lengthMs) / 1000);
  const status = ticks.length === 0 ? 'no_data' : 'ok';
  return { status, ticks, open: prices, high: prices, low: prices, close: prices, volume, cost: volume };
}

/** The full hours between the request's timestamps and before now, the last month of them at most. */
function hoursOf(exchange: Exchange, params: Params): readonly number[] {
  return ticksOf(exchange, params, { lengthMs: hourMs, most: mostHours });
}

/** The multiples of a length between the request's timestamps and before now: the last `most` of them, oldest first. */
function ticksOf(
  exchange: Exchange,
  params: Params,
  { lengthMs, most }: { readonly lengthMs: number; readonly most: number },
): readonly number[] {
  const last = Math.floor(Math.min(params.requiredInteger('end_timestamp'), exchange.now()) / lengthMs);
  const first = Math.max(Math.ceil(params.requiredInteger('start_timestamp') / lengthMs), last - most + 1);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * lengthMs);
}
