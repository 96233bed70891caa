import { leverage, maintenanceShare, optionMargin } from './guesses.js';
import {
  bookedIn,
  currencies,
  currencyFacts,
  feeOf,
  floatingOf,
  type Instrument,
  indexOf,
  instrumentNamed,
  isReversed,
  marginOf,
  moved,
  nothing,
  type Position,
  priceOf,
  profitOf,
  rounded,
  worthOf,
} from './instruments.js';
import { addBounded } from './logs.js';
import type { PublicTrade } from './market.js';
import type { Order, Orders } from './orders.js';

/** A trade as those who made it see it. */
export interface UserTrade
  extends PublicTrade,
    Pick<Order, 'order_id' | 'order_type' | 'label' | 'post_only' | 'reduce_only' | 'api'> {
  readonly state: Order['order_state'];
  readonly liquidity: 'M' | 'T';
  readonly fee: number;
  readonly fee_currency: string;
  readonly profit_loss: number;
  readonly matching_id: null;
}

/** A line of `private/get_transaction_log`. */
type LogEntry = Readonly<Record<string, unknown>> & {
  readonly id: number;
  readonly timestamp: number;
  readonly currency: string;
};

interface AccountBooks {
  readonly balances: Map<string, number>;
  readonly positions: Map<string, Position>;
  readonly trades: UserTrade[];
  readonly log: LogEntry[];
}

/** One side of a trade. */
interface Fill {
  readonly accountId: number;
  readonly instrument: Instrument;
  /** The order after the trade. */
  readonly order: Order;
  readonly trade: PublicTrade;
  readonly liquidity: 'M' | 'T';
}

const mostEntries = 10_000;

/** What accounts own: balances, positions, and the trades that led to them. Profits are booked at once, not at a settlement. */
export class Ledger {
  readonly #accounts = new Map<number, AccountBooks>();
  readonly #orders: Orders;
  #entries = 0;

  constructor(orders: Orders) {
    this.#orders = orders;
  }

  /** Oldest first. */
  trades(accountId: number): readonly UserTrade[] {
    return this.#of(accountId).trades;
  }

  /** Oldest first. */
  log(accountId: number): readonly LogEntry[] {
    return this.#of(accountId).log;
  }

  /** How much the account has of an instrument: negative where it is short. */
  sizeOf(accountId: number, { instrument_name: name }: Instrument): number {
    return this.#of(accountId).positions.get(name)?.size ?? 0;
  }

  /** What an order would need to be taken, by currency. Those that only reduce a position need nothing. */
  need(accountId: number, { instrument, direction, amount, price }: Wanted) {
    const size = this.sizeOf(accountId, instrument);
    const after = size + (direction === 'buy' ? amount : -amount);
    const added = Math.max(0, Math.abs(after) - Math.abs(size));
    const { kind, base_currency: base, quote_currency: quote } = instrument;
    if (kind === 'spot') {
      return direction === 'buy' ? { currency: quote, amount: amount * price } : { currency: base, amount };
    }
    if (kind === 'future') {
      return { currency: bookedIn(instrument), amount: worthOf(instrument, added, price) / leverage };
    }
    return { currency: base, amount: direction === 'buy' ? amount * price : added * optionMargin };
  }

  /** What is neither margin of a position nor kept for an open order. */
  available(accountId: number, currency: string): number {
    return rounded(this.#equity(accountId, currency) - this.#margins(accountId, currency).initial);
  }

  /** Books one side of a trade. */
  fill({ accountId, instrument, order, trade, liquidity }: Fill): UserTrade {
    const { balances, positions, trades, log } = this.#of(accountId);
    const { amount, price } = trade;
    const { instrument_name: name, base_currency: base, kind } = instrument;
    const { direction, order_id, order_type, order_state: state, label, post_only, reduce_only, api } = order;
    const signed = direction === 'buy' ? amount : -amount;
    const currency = bookedIn(instrument);
    const fee = liquidity === 'M' ? 0 : feeOf(instrument, amount, price);
    const before = positions.get(name) ?? nothing;
    const profit = kind === 'future' ? profitOf(instrument, before, { signed, price }) : 0;
    const paid = kind === 'future' ? 0 : signed * price;
    const change = rounded(profit - paid - fee);
    balances.set(currency, rounded((balances.get(currency) ?? 0) + change));
    if (kind === 'spot') balances.set(base, rounded((balances.get(base) ?? 0) + signed));
    else positions.set(name, moved(instrument, before, { signed, price, profit }));
    const entry: UserTrade = {
      ...trade,
      direction,
      order_id,
      order_type,
      label,
      state,
      liquidity,
      fee,
      fee_currency: currency,
      profit_loss: rounded(profit),
      post_only,
      reduce_only,
      matching_id: null,
      api,
    };
    addBounded(trades, entry, mostEntries);
    this.#entries += 1;
    const line = {
      id: this.#entries,
      user_seq: log.length + 1,
      user_id: accountId,
      type: 'trade',
      timestamp: trade.timestamp,
      currency,
      balance: balances.get(currency) ?? 0,
      equity: this.#equity(accountId, currency),
      change,
      cashflow: rounded(change + fee),
      commission: fee,
      amount,
      price,
      instrument_name: name,
      order_id,
      trade_id: trade.trade_id,
      position: kind === 'spot' ? null : this.sizeOf(accountId, instrument),
      side: `${Math.sign(before.size) === -Math.sign(signed) ? 'close' : 'open'} ${direction}`,
      mark_price: priceOf(instrument),
      index_price: indexOf(instrument),
      interest_pl: null,
      user_role: liquidity === 'M' ? 'maker' : 'taker',
    };
    addBounded(log, line, mostEntries);
    return entry;
  }

  /** `private/get_position`. */
  describePosition(accountId: number, instrument: Instrument): Readonly<Record<string, unknown>> {
    const { size, averagePrice, realized } = this.#of(accountId).positions.get(instrument.instrument_name) ?? nothing;
    const mark = priceOf(instrument);
    const floating = rounded(floatingOf(instrument, { size, averagePrice, realized }));
    const margin = rounded(marginOf(instrument, size));
    const isFuture = instrument.kind === 'future';
    const inBase = rounded(isReversed(instrument) ? size / mark : size);
    return {
      instrument_name: instrument.instrument_name,
      kind: instrument.kind,
      direction: size > 0 ? 'buy' : size < 0 ? 'sell' : 'zero',
      size,
      ...(isFuture ? { size_currency: inBase, leverage } : {}),
      average_price: averagePrice,
      mark_price: mark,
      index_price: indexOf(instrument),
      settlement_price: mark,
      estimated_liquidation_price: 0,
      initial_margin: margin,
      maintenance_margin: rounded(margin * maintenanceShare),
      open_orders_margin: 0,
      delta: isFuture ? inBase : rounded(size * 0.5),
      floating_profit_loss: floating,
      realized_profit_loss: realized,
      realized_funding: 0,
      interest_value: 0,
      total_profit_loss: rounded(floating + realized),
    };
  }

  /** The account's positions in these instruments, as `private/get_position` answers them. */
  describePositions(accountId: number, among: readonly Instrument[]): readonly unknown[] {
    const positions = [...this.#of(accountId).positions].filter(([, { size }]) => size !== 0);
    const held = positions.map(([name]) => instrumentNamed(name)).filter((instrument) => among.includes(instrument));
    return held.map((instrument) => this.describePosition(accountId, instrument));
  }

  /** What `private/get_account_summary` says of one currency, and `user.portfolio.…` sends. */
  portfolio(accountId: number, currency: string): Readonly<Record<string, unknown>> {
    currencyFacts(currency);
    const { balances } = this.#of(accountId);
    const equity = this.#equity(accountId, currency);
    const balance = balances.get(currency) ?? 0;
    const { initial, maintenance } = this.#margins(accountId, currency);
    const futures = rounded(this.#floating(accountId, currency, 'future'));
    const options = rounded(this.#floating(accountId, currency, 'option'));
    const available = this.available(accountId, currency);
    return {
      currency,
      balance,
      equity,
      available_funds: available,
      available_withdrawal_funds: Math.max(0, Math.min(available, balance)),
      margin_balance: equity,
      maintenance_margin: maintenance,
      initial_margin: initial,
      projected_initial_margin: initial,
      projected_maintenance_margin: maintenance,
      session_rpl: 0,
      session_upl: futures,
      total_pl: rounded(futures + options),
      delta_total: 0,
      projected_delta_total: 0,
      futures_pl: futures,
      futures_session_rpl: 0,
      futures_session_upl: futures,
      options_pl: options,
      options_session_rpl: 0,
      options_session_upl: options,
      options_value: 0,
      options_delta: 0,
      options_gamma: 0,
      options_theta: 0,
      options_vega: 0,
      options_gamma_map: {},
      options_theta_map: {},
      options_vega_map: {},
      locked_balance: 0,
      margin_model: 'segregated_sm',
      portfolio_margining_enabled: false,
      cross_collateral_enabled: false,
    };
  }

  #of(accountId: number): AccountBooks {
    const known = this.#accounts.get(accountId);
    if (known !== undefined) return known;
    const balances = new Map(currencies.map((currency) => [currency, currencyFacts(currency).balance]));
    const books = { balances, positions: new Map<string, Position>(), trades: [], log: [] };
    this.#accounts.set(accountId, books);
    return books;
  }

  #floating(accountId: number, currency: string, kind: Instrument['kind']): number {
    let sum = 0;
    for (const [name, position] of this.#of(accountId).positions) {
      const instrument = instrumentNamed(name);
      if (instrument.kind === kind && bookedIn(instrument) === currency) sum += floatingOf(instrument, position);
    }
    return sum;
  }

  #equity(accountId: number, currency: string): number {
    const balance = this.#of(accountId).balances.get(currency) ?? 0;
    return rounded(balance + this.#floating(accountId, currency, 'future'));
  }

  #margins(accountId: number, currency: string): { readonly initial: number; readonly maintenance: number } {
    let positions = 0;
    for (const [name, { size }] of this.#of(accountId).positions) {
      const instrument = instrumentNamed(name);
      if (bookedIn(instrument) === currency) positions += marginOf(instrument, size);
    }
    let kept = 0;
    for (const { order } of this.#orders.open(accountId)) {
      const instrument = instrumentNamed(order.instrument_name);
      const need = this.need(accountId, { ...order, instrument, amount: order.amount - order.filled_amount });
      if (need.currency === currency) kept += need.amount;
    }
    return { initial: rounded(positions + kept), maintenance: rounded(positions * maintenanceShare) };
  }
}

/** What an order asks for, as far as funds are concerned. */
interface Wanted extends Pick<Order, 'direction' | 'amount' | 'price'> {
  readonly instrument: Instrument;
}
