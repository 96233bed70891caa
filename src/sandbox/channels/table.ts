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

/** Channels whose names differ in their parameters only. */
interface ChannelFamily {
  /** As Deribit documents it. */
  readonly name: string;
  readonly pattern: RegExp;
  /** The channel with these parameters; null where one of them is unknown. */
  open(context: ChannelContext, ...params: readonly string[]): Channel | null;
}

const interval = '(raw|100ms|agg2)';
const anInstrument = '([A-Z0-9_-]+)';
const aKind = '(any|future|option|spot|future_combo|option_combo)';

const marketFamilies: readonly ChannelFamily[] = [
  family('ticker.{instrument_name}.{interval}', `ticker\\.${anInstrument}\\.${interval}`, ({ exchange }, name, every) =>
    ofInstrument(name, (instrument) => {
      const say = () => [exchange.market.ticker(instrument)];
      return { readableBy: null, first: say, everyMs: every === 'agg2' ? slowMs : fastMs, tick: say };
    }),
  ),
  family('incremental_ticker.{instrument_name}', `incremental_ticker\\.${anInstrument}`, ({ exchange }, name) =>
    ofInstrument(name, (instrument) => {
      let last: Readonly<Record<string, unknown>> = {};
      const say = (type: 'snapshot' | 'change') => {
        const ticker = exchange.market.ticker(instrument);
        const { instrument_name, timestamp } = ticker;
        const changed = Object.entries(ticker).filter(([key, value]) => differ(value, last[key]));
        last = ticker;
        return [
          type === 'snapshot'
            ? { ...ticker, type }
            : { ...Object.fromEntries(changed), instrument_name, timestamp, type },
        ];
      };
      return { readableBy: null, first: () => say('snapshot'), everyMs: slowMs, tick: () => say('change') };
    }),
  ),
  family('quote.{instrument_name}', `quote\\.${anInstrument}`, ({ exchange }, name) =>
    ofInstrument(name, (instrument) => {
      const say = () => {
        const { bids, asks } = exchange.market.book(instrument);
        return [{ instrument_name: name, timestamp: exchange.now(), ...bestOf(bids, asks) }];
      };
      return { readableBy: null, first: say, everyMs: slowMs, tick: say, on: ifAbout(instrument, say) };
    }),
  ),
  family('book.{instrument_name}.{interval}', `book\\.${anInstrument}\\.${interval}`, ({ exchange }, name, every) =>
    ofInstrument(name, (instrument) => bookChanges(exchange, instrument, every === 'agg2' ? slowMs : fastMs)),
  ),
  family(
    'book.{instrument_name}.{group}.{depth}.{interval}',
    `book\\.${anInstrument}\\.(none|\\d+)\\.(1|10|20)\\.(100ms|agg2)`,
    ({ exchange }, name, group, depth, every) =>
      ofInstrument(name, (instrument) => {
        const everyMs = every === 'agg2' ? slowMs : fastMs;
        return groupedBook(exchange, instrument, { group: Number(group) || null, depth: Number(depth), everyMs });
      }),
  ),
  family('trades.{instrument_name}.{interval}', `trades\\.${anInstrument}\\.${interval}`, ({ exchange }, name) =>
    ofInstrument(name, (instrument) => tradesOf(exchange, [instrument])),
  ),
  family(
    'trades.{kind}.{currency}.{interval}',
    `trades\\.${aKind}\\.([A-Za-z]+)\\.${interval}`,
    ({ exchange }, kind, currency) => ofKind(kind, currency, (instruments) => tradesOf(exchange, instruments)),
  ),
  family(
    'chart.trades.{instrument_name}.{resolution}',
    `chart\\.trades\\.${anInstrument}\\.(1|3|5|10|15|30|60|120|180|360|720|1D)`,
    ({ exchange }, name, resolution) =>
      ofInstrument(name, (instrument) => {
        const lengthMs = (resolution === '1D' ? 1440 : Number(resolution)) * 60_000;
        return { readableBy: null, everyMs: slowMs, tick: () => [candle(exchange, instrument, lengthMs)] };
      }),
  ),
  family('perpetual.{instrument_name}.{interval}', `perpetual\\.${anInstrument}\\.${interval}`, ({ exchange }, name) =>
    ofInstrument(name, (instrument) => {
      const say = () => [{ interest: 0, index_price: indexOf(instrument), timestamp: exchange.now() }];
      return isPerpetual(instrument) ? { readableBy: null, everyMs: slowMs, tick: say } : null;
    }),
  ),
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
  family(
    'instrument.state.{kind}.{currency}',
    `instrument\\.state\\.${aKind}\\.([A-Za-z]+)`,
    (_context, kind, currency) => ofKind(kind, currency, () => ({ readableBy: null })),
  ),
  family('platform_state', 'platform_state', () => ({ readableBy: null })),
];

const userFamilies: readonly ChannelFamily[] = (['orders', 'trades', 'changes'] as const).flatMap((what) => [
  family(
    `user.${what}.{instrument_name}.{interval}`,
    `user\\.${what}\\.${anInstrument}\\.${interval}`,
    ({ accountId }, name, every) =>
      ofInstrument(name, (one) => userChannel({ what, accountId, instruments: [one], isRaw: every === 'raw' })),
  ),
  family(
    `user.${what}.{kind}.{currency}.{interval}`,
    `user\\.${what}\\.(any|combo|future|option|spot|future_combo|option_combo)\\.([A-Za-z]+)\\.${interval}`,
    ({ accountId }, kind, currency, every) =>
      ofKind(kind, currency, (instruments) => userChannel({ what, accountId, instruments, isRaw: every === 'raw' })),
  ),
]);

const accountFamilies: readonly ChannelFamily[] = [
  family('user.portfolio.{currency}', 'user\\.portfolio\\.([A-Za-z]+)', ({ exchange, accountId }, currency = '') => {
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
  family('user.access_log', 'user\\.access_log', ({ accountId }) => ({
    readableBy: ['account'],
    on: (event) => (event.accountId === accountId && 'login' in event ? [event.login] : []),
  })),
];

/** The sandbox's own channel, which counts from 1 while a connection is subscribed to it. */
const counter = family(
  'sandbox.counter.{interval}',
  'sandbox\\.counter\\.([1-9]\\d{1,5})ms',
  ({ exchange }, everyMs) => ({
    readableBy: null,
    everyMs: Number(everyMs),
    tick: (count) => [{ count, timestamp: exchange.now() }],
  }),
);

const families = [...marketFamilies, ...userFamilies, ...accountFamilies];

/** Every family of channels of the exchange. */
export const channelNames: readonly string[] = families.map(({ name }) => name);

/** The channel of that name; null for an unknown one. */
export function findChannel(context: ChannelContext, name: string): Channel | null {
  for (const { pattern, open } of [...families, counter]) {
    const match = pattern.exec(name);
    const channel = match === null ? null : open(context, ...match.slice(1));
    if (channel !== null) return channel;
  }
  return null;
}

/** Whether a channel sends every change, which Deribit does for logged-in connections only. */
export function isRaw(name: string): boolean {
  return name.endsWith('.raw');
}

function family(name: string, pattern: string, open: ChannelFamily['open']): ChannelFamily {
  return { name, pattern: new RegExp(`^${pattern}$`), open };
}

/** The channels of an index, which notify at once and every second of its constant price. */
function indexFamily(name: string, say: (index: string, price: number, nowMs: number) => unknown): ChannelFamily {
  const pattern = `${name.replace('.', '\\.')}\\.((btc|eth)_usdc?)`;
  return family(`${name}.{index_name}`, pattern, ({ exchange }, index = '', base = '') => {
    const { index: price } = currencyFacts(base.toUpperCase());
    const tick = () => [say(index, price, exchange.now())];
    return { readableBy: null, first: tick, everyMs: slowMs, tick };
  });
}

function ofInstrument(name: string | undefined, open: (instrument: Instrument) => Channel | null): Channel | null {
  const [instrument] = listInstruments({ instrument_name: name ?? '' });
  return instrument === undefined ? null : open(instrument);
}

/** The channel of a kind and a currency; a kind without an instrument has a channel that stays silent. */
function ofKind(
  kind: string | undefined,
  currency: string | undefined,
  open: (instruments: readonly Instrument[]) => Channel,
): Channel | null {
  const wanted = (currency ?? '').toUpperCase();
  if (wanted !== 'ANY' && !isListed(wanted)) return null;
  return open(listInstruments({ kind: kind ?? 'any', currency: wanted === 'ANY' ? null : wanted }));
}

/** What a channel says after an event, where that is about the orders or trades of an instrument. */
function ifAbout(instrument: Instrument, say: () => readonly unknown[]): (event: HubEvent) => readonly unknown[] {
  return (event) => ('instrument' in event && event.instrument === instrument ? say() : []);
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
