import type { Exchange } from '../core/exchange.js';
import {
  currencies,
  currencyFacts,
  expiryMs,
  type Instrument,
  indexOf,
  isListed,
  listInstruments,
  priceOf,
} from '../core/instruments.js';
import { bestOf, impliedVolatility, isPerpetual } from '../core/market.js';
import { bookChanges, groupedBook, userChannel } from './feeds.js';
import type { Channel, HubEvent } from './hub.js';

const fastMs = 100;
const slowMs = 1000;

/** Where a channel is opened, and for whom: null without a login. */
interface ChannelContext {
  readonly exchange: Exchange;
  readonly accountId: number | null;
}

/** With the parameters in the channel's name. */
interface NamedContext extends ChannelContext {
  readonly params: Readonly<Record<string, string>>;
  /** What the parameter `interval` stands for. */
  readonly everyMs: number;
}

/** Channels whose names differ in their parameters only. */
interface ChannelFamily {
  /** As Deribit documents it. */
  readonly name: string;
  readonly pattern: RegExp;
  /** The channel with these parameters; null where one of them is unknown. */
  open(context: NamedContext): Channel | null;
}

/** What each parameter of a name can be. */
const parameters = {
  instrument_name: '[A-Z0-9_-]+',
  currency: '[A-Za-z]+',
  // `combo` is one of the user's channels only
  kind: 'any|combo|future|option|spot|future_combo|option_combo',
  interval: 'raw|100ms|agg2',
  group: 'none|\\d+',
  depth: '1|10|20',
  resolution: '1|3|5|10|15|30|60|120|180|360|720|1D',
  index_name: '(?:btc|eth)_usdc?',
  period: '[1-9]\\d{1,5}',
};

const marketFamilies: readonly ChannelFamily[] = [
  instrumentFamily('ticker.{instrument_name}.{interval}', (instrument, { exchange, everyMs }) => {
    const say = () => [exchange.market.ticker(instrument)];
    return { readableBy: null, first: say, everyMs, tick: say };
  }),
  instrumentFamily('incremental_ticker.{instrument_name}', (instrument, { exchange }) => {
    let last: Readonly<Record<string, unknown>> = {};
    const say = (type: 'snapshot' | 'change') => {
      const ticker = exchange.market.ticker(instrument);
      const { instrument_name, timestamp } = ticker;
      const changed = Object.entries(ticker).filter(([key, value]) => differ(value, last[key]));
      last = ticker;
      const fields = type === 'snapshot' ? ticker : { ...Object.fromEntries(changed), instrument_name, timestamp };
      return [{ ...fields, type }];
    };
    return { readableBy: null, first: () => say('snapshot'), everyMs: slowMs, tick: () => say('change') };
  }),
  instrumentFamily('quote.{instrument_name}', (instrument, { exchange }) => {
    const say = () => {
      const { bids, asks } = exchange.market.book(instrument);
      const { instrument_name } = instrument;
      return [{ instrument_name, timestamp: exchange.now(), ...bestOf(bids, asks) }];
    };
    const on = (event: HubEvent) => ('instrument' in event && event.instrument === instrument ? say() : []);
    return { readableBy: null, first: say, everyMs: slowMs, tick: say, on };
  }),
  instrumentFamily('book.{instrument_name}.{interval}', (instrument, { exchange, everyMs }) =>
    bookChanges(exchange, instrument, everyMs),
  ),
  instrumentFamily('book.{instrument_name}.{group}.{depth}.{interval}', (instrument, { exchange, params, everyMs }) => {
    const [group, depth] = [Number(params.group) || null, Number(params.depth)];
    return params.interval === 'raw' ? null : groupedBook(exchange, instrument, { group, depth, everyMs });
  }),
  instrumentFamily('trades.{instrument_name}.{interval}', (instrument, { exchange }) =>
    tradesOf(exchange, [instrument]),
  ),
  kindFamily('trades.{kind}.{currency}.{interval}', (instruments, { exchange, params }) =>
    params.kind === 'combo' ? null : tradesOf(exchange, instruments),
  ),
  instrumentFamily('chart.trades.{instrument_name}.{resolution}', (instrument, { exchange, params }) => {
    const lengthMs = (params.resolution === '1D' ? 1440 : Number(params.resolution)) * 60_000;
    return { readableBy: null, everyMs: slowMs, tick: () => [candle(exchange, instrument, lengthMs)] };
  }),
  instrumentFamily('perpetual.{instrument_name}.{interval}', (instrument, { exchange }) => {
    const say = () => [{ interest: 0, index_price: indexOf(instrument), timestamp: exchange.now() }];
    return isPerpetual(instrument) ? { readableBy: null, everyMs: slowMs, tick: say } : null;
  }),
  indexFamily('deribit_price_index', (index, price, timestamp) => ({ index_name: index, price, timestamp })),
  indexFamily('deribit_price_statistics', (index, price) => ({
    index_name: index,
    high24h: price,
    low24h: price,
    change24h: 0,
    high_volatility: false,
  })),
  indexFamily('deribit_volatility_index', (index, _price, timestamp) => ({
    index_name: index,
    volatility: impliedVolatility,
    timestamp,
  })),
  indexFamily('estimated_expiration_price', (_index, price, timestamp) => ({
    seconds: Math.max(0, Math.ceil((expiryMs - timestamp) / 1000)),
    price,
    is_estimated: false,
  })),
  indexFamily('markprice.options', (index) =>
    listInstruments({ kind: 'option' })
      .filter((option) => option.price_index === index)
      .map((option) => ({
        instrument_name: option.instrument_name,
        mark_price: priceOf(option),
        iv: impliedVolatility / 100,
      })),
  ),
  // Nothing ever changes in these two.
  kindFamily('instrument.state.{kind}.{currency}', (_instruments, { params }) =>
    params.kind === 'combo' ? null : { readableBy: null },
  ),
  family('platform_state', () => ({ readableBy: null })),
];

const userFamilies: readonly ChannelFamily[] = (['orders', 'trades', 'changes'] as const).flatMap((what) => {
  const open = (instruments: readonly Instrument[], { accountId, params }: NamedContext) =>
    userChannel({ what, accountId, instruments, isRaw: params.interval === 'raw' });
  return [
    instrumentFamily(`user.${what}.{instrument_name}.{interval}`, (one, context) => open([one], context)),
    kindFamily(`user.${what}.{kind}.{currency}.{interval}`, open),
  ];
});

const accountFamilies: readonly ChannelFamily[] = [
  family('user.portfolio.{currency}', ({ exchange, accountId, params: { currency = '' } }) => {
    const wanted = currency.toUpperCase();
    const listed = wanted === 'ANY' ? currencies : currencies.filter((known) => known === wanted);
    if (listed.length === 0) return null;
    const say = (one: string) => exchange.ledger.portfolio(accountId ?? 0, one);
    return {
      readableBy: ['account', 'trade'],
      first: () => listed.map(say),
      everyMs: slowMs,
      tick: (count) => [say(listed[(count - 1) % listed.length] ?? wanted)],
      on: (event) => {
        if (event.accountId !== accountId || !('instrument' in event)) return [];
        const { base_currency: base, quote_currency: quote } = event.instrument;
        return listed.filter((one) => one === base || one === quote).map(say);
      },
    };
  }),
  family('user.access_log', ({ accountId }) => ({
    readableBy: ['account'],
    on: (event) => (event.accountId === accountId && 'login' in event ? [event.login] : []),
  })),
];

/** The sandbox's own channel, which counts from 1 while a connection is subscribed to it. */
const counter = family('sandbox.counter.{period}ms', ({ exchange, params }) => ({
  readableBy: null,
  everyMs: Number(params.period),
  tick: (count) => [{ count, timestamp: exchange.now() }],
}));

const families = [...marketFamilies, ...userFamilies, ...accountFamilies];

/** Every family of channels of the exchange. */
export const channelNames: readonly string[] = families.map(({ name }) => name);

/** The channel of that name; null for an unknown one. */
export function findChannel(context: ChannelContext, name: string): Channel | null {
  for (const { pattern, open } of [...families, counter]) {
    const match = pattern.exec(name);
    const params = match?.groups ?? {};
    const everyMs = params.interval === 'agg2' ? slowMs : fastMs;
    const channel = match === null ? null : open({ ...context, params, everyMs });
    if (channel !== null) return channel;
  }
  return null;
}

/** Whether a channel sends every change, which Deribit does for logged-in connections only. */
export function isRaw(name: string): boolean {
  return name.endsWith('.raw');
}

function family(name: string, open: ChannelFamily['open']): ChannelFamily {
  let pattern = name.replaceAll('.', '\\.');
  for (const [parameter, values] of Object.entries(parameters)) {
    pattern = pattern.replace(`{${parameter}}`, `(?<${parameter}>${values})`);
  }
  return { name, pattern: new RegExp(`^${pattern}$`), open };
}

/** The channels of an instrument. */
function instrumentFamily(
  name: string,
  open: (instrument: Instrument, context: NamedContext) => Channel | null,
): ChannelFamily {
  return family(name, (context) => {
    const [instrument] = listInstruments({ instrument_name: context.params.instrument_name ?? '' });
    return instrument === undefined ? null : open(instrument, context);
  });
}

/** The channels of a kind and a currency; those of a kind without an instrument stay silent. */
function kindFamily(
  name: string,
  open: (instruments: readonly Instrument[], context: NamedContext) => Channel | null,
): ChannelFamily {
  return family(name, (context) => {
    const { kind = 'any', currency = '' } = context.params;
    const wanted = currency.toUpperCase();
    if (wanted !== 'ANY' && !isListed(wanted)) return null;
    return open(listInstruments({ kind, currency: wanted === 'ANY' ? null : wanted }), context);
  });
}

/** The channels of an index, which notify at once and every second of its constant price. */
function indexFamily(name: string, say: (index: string, price: number, nowMs: number) => unknown): ChannelFamily {
  return family(`${name}.{index_name}`, ({ exchange, params: { index_name: index = '' } }) => {
    const [base = ''] = index.toUpperCase().split('_');
    const { index: price } = currencyFacts(base);
    const tick = () => [say(index, price, exchange.now())];
    return { readableBy: null, first: tick, everyMs: slowMs, tick };
  });
}

/** The trades of instruments, in one list per instrument. */
function tradesOf(exchange: Exchange, instruments: readonly Instrument[]): Channel {
  const { market } = exchange;
  const lastSeq = (instrument: Instrument) => market.trades(instrument).at(-1)?.trade_seq ?? 0;
  const told = new Map(instruments.map((instrument) => [instrument, lastSeq(instrument)]));
  const say = () =>
    instruments.flatMap((instrument) => {
      const after = told.get(instrument) ?? 0;
      const fresh = market.trades(instrument).filter(({ trade_seq: seq }) => seq > after);
      told.set(instrument, lastSeq(instrument));
      return fresh.length === 0 ? [] : [fresh];
    });
  const on = (event: HubEvent) => ('instrument' in event && event.trades.length > 0 ? say() : []);
  return { readableBy: null, everyMs: slowMs, tick: say, on };
}

/** The candle that is open now, of the trades that are remembered. */
function candle(exchange: Exchange, instrument: Instrument, lengthMs: number): Readonly<Record<string, number>> {
  const tick = Math.floor(exchange.now() / lengthMs) * lengthMs;
  const trades = exchange.market.trades(instrument);
  const inside = trades.filter(({ timestamp }) => timestamp >= tick);
  const prices = (inside.length === 0 ? trades.slice(-1) : inside).map(({ price }) => price);
  const volume = inside.reduce((sum, { amount }) => sum + amount, 0);
  return {
    tick,
    open: prices[0] ?? 0,
    high: Math.max(...prices),
    low: Math.min(...prices),
    close: prices.at(-1) ?? 0,
    volume,
    cost: volume,
  };
}

function differ(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) !== JSON.stringify(other);
}
