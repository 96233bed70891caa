import type { Connection } from './connection.js';
import { currencies, describePortfolio, describeTicker, instrumentNamed, listInstruments, priceOf } from './market.js';

/** A channel that the sandbox has: how often it speaks, whether it needs a login, and what it says the n-th time. */
export interface Channel {
  readonly everyMs: number;
  readonly isPrivate: boolean;
  data(count: number, nowMs: number): unknown;
}

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

interface Topic {
  readonly timer: NodeJS.Timeout;
  readonly listeners: Set<Connection>;
}

/** Sends what channels say to those who subscribed. A channel has a timer only while somebody listens. */
export class Hub {
  readonly #topics = new Map<string, Topic>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  subscribe(connection: Connection, name: string, channel: Channel): void {
    connection.channels.set(name, channel.isPrivate);
    const topic = this.#topics.get(name) ?? this.#open(name, channel);
    topic.listeners.add(connection);
  }

  unsubscribe(connection: Connection, name: string): void {
    connection.channels.delete(name);
    const topic = this.#topics.get(name);
    topic?.listeners.delete(connection);
    if (topic?.listeners.size !== 0) return;
    clearInterval(topic.timer);
    this.#topics.delete(name);
  }

  unsubscribeAll(connection: Connection): void {
    for (const name of [...connection.channels.keys()]) this.unsubscribe(connection, name);
  }

  #open(name: string, channel: Channel): Topic {
    const listeners = new Set<Connection>();
    let count = 0;
    const timer = setInterval(() => {
      count += 1;
      const data = channel.data(count, this.#now());
      const text = JSON.stringify({ jsonrpc: '2.0', method: 'subscription', params: { channel: name, data } });
      for (const listener of listeners) listener.send(text);
    }, channel.everyMs);
    const topic = { timer, listeners };
    this.#topics.set(name, topic);
    return topic;
  }
}
