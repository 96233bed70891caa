import {
  currencies,
  describePortfolio,
  describeTicker,
  instrumentNamed,
  listInstruments,
  priceOf,
} from '../core/market.js';
import type { Channel } from './hub.js';

const rawMs = 100;
const slowMs = 1000;

/** Channels whose names differ in their parameters only. */
interface ChannelFamily {
  /** As Deribit documents it. */
  readonly name: string;
  readonly pattern: RegExp;
  /** The channel with these parameters; null where one of them is unknown. */
  open(...params: readonly string[]): Channel | null;
}

const families: readonly ChannelFamily[] = [
  {
    name: 'ticker.{instrument_name}.{interval}',
    pattern: /^ticker\.([A-Z_-]+)\.(raw|100ms|agg2)$/,
    open(name, interval) {
      const instrument = listInstruments(null, null).find((known) => known.instrument_name === name);
      if (instrument === undefined) return null;
      const everyMs = interval === 'agg2' ? slowMs : rawMs;
      return { everyMs, readableBy: null, data: (_count, nowMs) => describeTicker(instrument, nowMs) };
    },
  },
  {
    name: 'deribit_price_index.{index_name}',
    pattern: /^deribit_price_index\.((btc|eth)_usd)$/,
    open(index = '', base = '') {
      const price = priceOf(instrumentNamed(`${base.toUpperCase()}-PERPETUAL`));
      const data = (_count: number, timestamp: number) => ({ index_name: index, price, timestamp });
      return { everyMs: slowMs, readableBy: null, data };
    },
  },
  {
    name: 'user.portfolio.{currency}',
    pattern: /^user\.portfolio\.([A-Za-z]+)$/,
    open(currency = '') {
      const wanted = currency.toUpperCase();
      const listed = wanted === 'ANY' ? currencies : currencies.filter((known) => known === wanted);
      if (listed.length === 0) return null;
      const data = (count: number) => describePortfolio(listed[(count - 1) % listed.length] ?? wanted);
      return { everyMs: slowMs, readableBy: ['account', 'trade'], data };
    },
  },
];

/** The sandbox's own channel, which counts from 1 while a connection is subscribed to it. */
const counter: ChannelFamily = {
  name: 'sandbox.counter.{interval}',
  pattern: /^sandbox\.counter\.([1-9]\d{1,5})ms$/,
  open: (everyMs) => ({
    everyMs: Number(everyMs),
    readableBy: null,
    data: (count, timestamp) => ({ count, timestamp }),
  }),
};

/** Every family of channels of the exchange. */
export const channelNames: readonly string[] = families.map(({ name }) => name);

/** The channel of that name; null for an unknown one. */
export function findChannel(name: string): Channel | null {
  for (const { pattern, open } of [...families, counter]) {
    const match = pattern.exec(name);
    if (match !== null) return open(...match.slice(1));
  }
  return null;
}

/** Whether a channel sends every change, which Deribit does for logged-in connections only. */
export function isRaw(name: string): boolean {
  return name.endsWith('.raw');
}
