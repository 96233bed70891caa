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

/** The channel of that name; null for one that there is not. */
export function findChannel(name: string): Channel | null {
  const ticker = /^ticker\.([A-Z_-]+)\.(raw|100ms|agg2)$/.exec(name);
  const instrument = listInstruments(null, null).find((known) => known.instrument_name === ticker?.[1]);
  if (instrument !== undefined) {
    const everyMs = ticker?.[2] === 'agg2' ? slowMs : rawMs;
    return { everyMs, isPrivate: false, data: (_count, nowMs) => describeTicker(instrument, nowMs) };
  }
  const index = /^deribit_price_index\.(btc|eth)_usd$/.exec(name)?.[1]?.toUpperCase();
  if (index !== undefined) {
    const price = priceOf(instrumentNamed(`${index}-PERPETUAL`));
    const indexName = `${index.toLowerCase()}_usd`;
    const data = (_count: number, timestamp: number) => ({ index_name: indexName, price, timestamp });
    return { everyMs: slowMs, isPrivate: false, data };
  }
  const currency = /^user\.portfolio\.([A-Za-z]+)$/.exec(name)?.[1]?.toUpperCase();
  if (currency !== undefined && currencies.includes(currency)) {
    return { everyMs: slowMs, isPrivate: true, data: () => describePortfolio(currency) };
  }
  const counterMs = /^sandbox\.counter\.([1-9]\d{1,5})ms$/.exec(name)?.[1];
  if (counterMs !== undefined) {
    return { everyMs: Number(counterMs), isPrivate: false, data: (count, timestamp) => ({ count, timestamp }) };
  }
  return null;
}
