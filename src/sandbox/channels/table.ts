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

/** The channel of that name; null for an unknown one. */
export function findChannel(name: string): Channel | null {
  const ticker = /^ticker\.([A-Z_-]+)\.(raw|100ms|agg2)$/.exec(name);
  const instrument = listInstruments(null, null).find((known) => known.instrument_name === ticker?.[1]);
  if (instrument !== undefined) {
    const everyMs = ticker?.[2] === 'agg2' ? slowMs : rawMs;
    return { everyMs, readableBy: null, data: (_count, nowMs) => describeTicker(instrument, nowMs) };
  }
  const index = /^deribit_price_index\.(btc|eth)_usd$/.exec(name)?.[1]?.toUpperCase();
  if (index !== undefined) {
    const price = priceOf(instrumentNamed(`${index}-PERPETUAL`));
    const indexName = `${index.toLowerCase()}_usd`;
    const data = (_count: number, timestamp: number) => ({ index_name: indexName, price, timestamp });
    return { everyMs: slowMs, readableBy: null, data };
  }
  const currency = /^user\.portfolio\.([A-Za-z]+)$/.exec(name)?.[1]?.toUpperCase();
  const listed = currency === 'ANY' ? currencies : currencies.filter((known) => known === currency);
  if (listed.length > 0) {
    const data = (count: number) => describePortfolio(listed[(count - 1) % listed.length] ?? 'BTC');
    return { everyMs: slowMs, readableBy: ['account', 'trade'], data };
  }
  const counterMs = /^sandbox\.counter\.([1-9]\d{1,5})ms$/.exec(name)?.[1];
  if (counterMs !== undefined) {
    return { everyMs: Number(counterMs), readableBy: null, data: (count, timestamp) => ({ count, timestamp }) };
  }
  return null;
}

/** Whether a channel sends every change, which Deribit does for logged-in connections only. */
export function isRaw(name: string): boolean {
  return name.endsWith('.raw');
}
