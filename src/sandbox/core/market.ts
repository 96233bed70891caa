import { priceBand } from './guesses.js';
import { type Instrument, indexOf, priceOf, rounded } from './instruments.js';
import { addBounded } from './logs.js';
import type { Order, OrderEntry, Orders } from './orders.js';

/** A price, and the amount that is offered or wanted at it. */
export type Level = readonly [price: number, amount: number];

export interface Book {
  /** Another one after every change. */
  readonly changeId: number;
  /** The best price first. */
  readonly bids: readonly Level[];
  readonly asks: readonly Level[];
}

/** What an incoming order can be filled with: a resting order, or a quote of the market maker (`entry: null`). */
export interface Offer {
  readonly price: number;
  readonly amount: number;
  readonly entry: OrderEntry | null;
}

export interface PublicTrade {
  readonly trade_seq: number;
  readonly trade_id: string;
  readonly timestamp: number;
  readonly instrument_name: string;
  readonly direction: 'buy' | 'sell';
  readonly amount: number;
  readonly price: number;
  readonly mark_price: number;
  readonly index_price: number;
  readonly tick_direction: number;
}

interface Tape {
  readonly trades: PublicTrade[];
  seq: number;
  /** The second up to which the market maker's trades are on it. */
  untilS: number;
}

/** The fields of a ticker that a summary has, too. */
const summaryFields = [
  'mark_price',
  'open_interest',
  'estimated_delivery_price',
  'current_funding',
  'funding_8h',
  'mark_iv',
];
const depth = 10;
const firstTrades = 100;
const mostTrades = 1000;

/**
 * A market whose prices stand still. A market maker quotes ten levels on each side of the mark price and trades once a
 * second at that price. Its quotes come back as soon as they are filled, but never at a price that crosses a resting order.
 */
export class Market {
  readonly #orders: Orders;
  readonly #now: () => number;
  readonly #tapes = new Map<string, Tape>();
  readonly #changes = new Map<string, { text: string; id: number }>();

  constructor(orders: Orders, now: () => number) {
    this.#orders = orders;
    this.#now = now;
  }

  /** What an order of that direction meets, best price first, and at one price the oldest first. */
  offersFor(direction: Order['direction'], instrument: Instrument): readonly Offer[] {
    const { buy, sell } = this.#resting(instrument);
    const [own, across] = direction === 'buy' ? [sell, buy] : [buy, sell];
    const sign = direction === 'buy' ? 1 : -1;
    const pulledUpTo = Math.max(...across.map(({ order }) => order.price * sign), Number.NEGATIVE_INFINITY);
    const quotes = this.#quotes(instrument, sign).filter(({ price }) => price * sign > pulledUpTo);
    const resting = own.map((entry) => {
      const { price, amount, filled_amount } = entry.order;
      return { price, amount: rounded(amount - filled_amount), entry };
    });
    return [...resting, ...quotes].sort((a, b) => (a.price - b.price) * sign);
  }

  /** The book as it is now. */
  book(instrument: Instrument): Book {
    const bids = levelsOf(this.offersFor('sell', instrument));
    const asks = levelsOf(this.offersFor('buy', instrument));
    const text = JSON.stringify([bids, asks]);
    const last = this.#changes.get(instrument.instrument_name) ?? { text, id: 1 };
    const id = last.text === text ? last.id : last.id + 1;
    this.#changes.set(instrument.instrument_name, { text, id });
    return { changeId: id, bids, asks };
  }

  /** The last trades, oldest first. */
  trades(instrument: Instrument): readonly PublicTrade[] {
    return this.#tape(instrument).trades;
  }

  /** Puts a trade on the tape; its direction is the taker's. */
  print(instrument: Instrument, trade: Pick<PublicTrade, 'direction' | 'amount' | 'price'>): PublicTrade {
    return append(this.#tape(instrument), instrument, { ...trade, timestamp: this.#now() });
  }

  /** `public/ticker`, and the data of the `ticker.…` channels. */
  ticker(instrument: Instrument): Readonly<Record<string, unknown>> {
    const { bids, asks } = this.book(instrument);
    const trades = this.trades(instrument);
    const price = priceOf(instrument);
    const index = indexOf(instrument);
    const [high, low] = [Math.max(...trades.map((one) => one.price)), Math.min(...trades.map((one) => one.price))];
    const volume = rounded(trades.reduce((sum, { amount }) => sum + amount, 0));
    return {
      instrument_name: instrument.instrument_name,
      timestamp: this.#now(),
      state: 'open',
      last_price: trades.at(-1)?.price ?? price,
      mark_price: price,
      index_price: index,
      settlement_price: price,
      estimated_delivery_price: index,
      ...bestOf(bids, asks),
      ...bandOf(instrument),
      open_interest: 0,
      stats: { high, low, volume, volume_usd: volume, volume_notional: volume, price_change: 0 },
      ...(isPerpetual(instrument) ? { current_funding: 0, funding_8h: funding8h, interest_value: 0 } : {}),
      ...(instrument.kind === 'option' ? optionFacts(instrument, index) : {}),
    };
  }

  /** `public/get_book_summary_by_…`, of one instrument. */
  summary(instrument: Instrument): Readonly<Record<string, unknown>> {
    const ticker = this.ticker(instrument);
    return {
      ...(ticker.stats as object),
      ...Object.fromEntries(summaryFields.flatMap((name) => (name in ticker ? [[name, ticker[name]]] : []))),
      instrument_name: instrument.instrument_name,
      base_currency: instrument.base_currency,
      quote_currency: instrument.quote_currency,
      bid_price: ticker.best_bid_price,
      ask_price: ticker.best_ask_price,
      mid_price: priceOf(instrument),
      last: ticker.last_price,
      creation_timestamp: ticker.timestamp,
      ...(instrument.kind === 'option'
        ? { underlying_index: 'index_price', underlying_price: indexOf(instrument), interest_rate: 0 }
        : {}),
    };
  }

  #tape(instrument: Instrument): Tape {
    const nowS = Math.floor(this.#now() / 1000);
    const known = this.#tapes.get(instrument.instrument_name);
    const tape = known ?? { trades: [], seq: 0, untilS: nowS - firstTrades };
    this.#tapes.set(instrument.instrument_name, tape);
    for (let second = Math.max(tape.untilS, nowS - firstTrades) + 1; second <= nowS; second += 1) {
      const direction = second % 2 === 0 ? 'buy' : 'sell';
      const amount = instrument.min_trade_amount;
      append(tape, instrument, { direction, amount, price: priceOf(instrument), timestamp: second * 1000 });
    }
    tape.untilS = Math.max(tape.untilS, nowS);
    return tape;
  }

  #resting({ instrument_name: name }: Instrument): Record<Order['direction'], readonly OrderEntry[]> {
    const entries = this.#orders.open().filter(({ order }) => order.instrument_name === name);
    return {
      buy: entries.filter(({ order }) => order.direction === 'buy'),
      sell: entries.filter(({ order }) => order.direction === 'sell'),
    };
  }

  /** The market maker's side: asks for 1, bids for -1. Its deepest level changes every second, so that feeds have changes. */
  #quotes(instrument: Instrument, sign: 1 | -1): readonly Offer[] {
    const { tick_size: tick, min_trade_amount: smallest } = instrument;
    const odd = Math.floor(this.#now() / 1000) % 2;
    return Array.from({ length: depth }, (_, i) => ({
      price: rounded(priceOf(instrument) + sign * tick * (i + 1)),
      amount: rounded(smallest * (100 * (i + 1) + (i === depth - 1 ? odd : 0))),
      entry: null,
    }));
  }
}

function append(
  tape: Tape,
  instrument: Instrument,
  { direction, amount, price, timestamp }: Pick<PublicTrade, 'direction' | 'amount' | 'price' | 'timestamp'>,
): PublicTrade {
  tape.seq += 1;
  const last = tape.trades.at(-1)?.price ?? price;
  const trade = {
    trade_seq: tape.seq,
    trade_id: String(instrument.instrument_id * 1_000_000_000 + tape.seq),
    timestamp,
    instrument_name: instrument.instrument_name,
    direction,
    amount,
    price,
    mark_price: priceOf(instrument),
    index_price: indexOf(instrument),
    // 0 for a plus tick, 1 for the same price after one, 2 for a minus tick
    tick_direction: price > last ? 0 : price < last ? 2 : 1,
    ...(instrument.kind === 'future' ? { contracts: amount / instrument.contract_size } : {}),
    ...(instrument.kind === 'option' ? { iv: impliedVolatility } : {}),
  };
  addBounded(tape.trades, trade, mostTrades);
  return trade;
}

function levelsOf(offers: readonly Offer[]): readonly Level[] {
  const amounts = new Map<number, number>();
  for (const { price, amount } of offers) amounts.set(price, rounded((amounts.get(price) ?? 0) + amount));
  return [...amounts];
}

/** Of every option, and of the volatility indices, in percent. */
export const impliedVolatility = 60;

/** A perpetual's funding, which never changes. */
export const funding8h = 0.0001;

export function isPerpetual({ instrument_name: name }: Instrument): boolean {
  return name.endsWith('-PERPETUAL');
}

/** The fields of the best bid and ask, null on an empty side. */
export function bestOf(bids: readonly Level[], asks: readonly Level[]): Readonly<Record<string, number | null>> {
  const [[bid, wanted] = [null, 0]] = bids;
  const [[ask, offered] = [null, 0]] = asks;
  return { best_bid_price: bid, best_bid_amount: wanted, best_ask_price: ask, best_ask_amount: offered };
}

/** The lowest price for a sale, and the highest for a purchase. */
export function bandOf(instrument: Instrument): { readonly min_price: number; readonly max_price: number } {
  const price = priceOf(instrument);
  return { min_price: rounded(price * (1 - priceBand)), max_price: rounded(price * (1 + priceBand)) };
}

function optionFacts({ option_type: type }: Instrument, index: number): Readonly<Record<string, unknown>> {
  return {
    mark_iv: impliedVolatility,
    bid_iv: impliedVolatility - 1,
    ask_iv: impliedVolatility + 1,
    interest_rate: 0,
    underlying_price: index,
    greeks: { delta: type === 'put' ? -0.5 : 0.5, gamma: 0.00001, rho: 10, theta: -10, vega: 50 },
  };
}
