import { invalidParam } from './errors.js';

interface CurrencyFacts {
  readonly name: string;
  readonly index: number;
  readonly balance: number;
  readonly feePrecision: number;
  /** The chain that it lives on, in the exchange's words. */
  readonly coinType: 'BITCOIN' | 'ETHER';
}

const facts: Readonly<Record<string, CurrencyFacts>> = {
  BTC: { name: 'Bitcoin', index: 50_000, balance: 10, feePrecision: 4, coinType: 'BITCOIN' },
  ETH: { name: 'Ethereum', index: 2_500, balance: 100, feePrecision: 6, coinType: 'ETHER' },
  USDC: { name: 'USD Coin', index: 1, balance: 100_000, feePrecision: 6, coinType: 'ETHER' },
};

export const currencies = Object.keys(facts);

/** Facts of a currency; -32602 for one that the sandbox does not have. */
export function currencyFacts(currency: string): CurrencyFacts {
  const found = Object.hasOwn(facts, currency) ? facts[currency] : undefined;
  if (found === undefined) throw invalidParam('currency', 'unknown currency');
  return found;
}

/** `public/get_currencies`. */
export function describeCurrencies(): readonly unknown[] {
  return currencies.map((currency) => {
    const { name, feePrecision, coinType } = currencyFacts(currency);
    return {
      currency,
      currency_long: name,
      coin_type: coinType,
      in_cross_collateral_pool: false,
      fee_precision: feePrecision,
      min_confirmations: 1,
      min_withdrawal_fee: 0.0001,
      withdrawal_fee: 0.0001,
      withdrawal_priorities: [],
    };
  });
}

interface InstrumentTerms {
  readonly instrument_name: string;
  readonly instrument_id: number;
  readonly kind: 'future' | 'spot';
  readonly base_currency: string;
  readonly quote_currency: string;
  readonly settlement_currency?: string;
  readonly instrument_type: 'reversed' | 'linear';
  readonly tick_size: number;
  readonly min_trade_amount: number;
  readonly contract_size: number;
}

const terms: readonly InstrumentTerms[] = [
  perpetual('BTC', 1, 0.5, 10),
  perpetual('ETH', 2, 0.05, 1),
  {
    instrument_name: 'BTC_USDC',
    instrument_id: 3,
    kind: 'spot',
    base_currency: 'BTC',
    quote_currency: 'USDC',
    instrument_type: 'linear',
    tick_size: 1,
    min_trade_amount: 0.0001,
    // an integer in the description of the API, whatever the kind
    contract_size: 1,
  },
];

function perpetual(currency: string, id: number, tickSize: number, contractSize: number): InstrumentTerms {
  return {
    instrument_name: `${currency}-PERPETUAL`,
    instrument_id: id,
    kind: 'future',
    base_currency: currency,
    quote_currency: 'USD',
    settlement_currency: currency,
    instrument_type: 'reversed',
    tick_size: tickSize,
    min_trade_amount: contractSize,
    contract_size: contractSize,
  };
}

/** An instrument with the fields that are the same for all. */
export type Instrument = ReturnType<typeof complete>;

function complete(instrument: InstrumentTerms) {
  const isFuture = instrument.kind === 'future';
  return {
    ...instrument,
    price_index: `${instrument.base_currency}_${isFuture ? 'usd' : 'usdc'}`.toLowerCase(),
    counter_currency: instrument.quote_currency,
    settlement_period: 'perpetual',
    expiration_timestamp: 32_503_708_800_000,
    ...(isFuture ? { max_leverage: 50 } : {}),
    creation_timestamp: 1_534_167_754_000,
    is_active: true,
    rfq: false,
    maker_commission: 0,
    taker_commission: 0.0005,
    block_trade_commission: 0.0003,
    tick_size_steps: [],
  };
}

const instruments: ReadonlyMap<string, Instrument> = new Map(
  terms.map((instrument) => [instrument.instrument_name, complete(instrument)]),
);

export function listInstruments(currency: string | null, kind: string | null): readonly Instrument[] {
  const all = currency === null || currency === 'any';
  if (!all) currencyFacts(currency);
  return [...instruments.values()].filter(
    (instrument) =>
      (all || instrument.base_currency === currency || instrument.settlement_currency === currency) &&
      (kind === null || kind === 'any' || instrument.kind === kind),
  );
}

/** The instrument of that name; -32602 for one that the sandbox does not have. */
export function instrumentNamed(name: string): Instrument {
  const found = instruments.get(name);
  if (found === undefined) throw invalidParam('instrument_name', 'wrong format');
  return found;
}

/** The last price: always the index price of the base currency. */
export function priceOf(instrument: Instrument): number {
  return currencyFacts(instrument.base_currency).index;
}

/** `public/ticker`, and the data of the `ticker.…` channels. */
export function describeTicker(instrument: Instrument, nowMs: number): Readonly<Record<string, unknown>> {
  const price = priceOf(instrument);
  return {
    instrument_name: instrument.instrument_name,
    timestamp: nowMs,
    state: 'open',
    last_price: price,
    mark_price: price,
    index_price: price,
    settlement_price: price,
    estimated_delivery_price: price,
    best_bid_price: price - instrument.tick_size,
    best_bid_amount: instrument.min_trade_amount * 100,
    best_ask_price: price + instrument.tick_size,
    best_ask_amount: instrument.min_trade_amount * 100,
    min_price: price * 0.9,
    max_price: price * 1.1,
    open_interest: 0,
    stats: { high: price, low: price, volume: 0, volume_usd: 0, volume_notional: 0, price_change: 0 },
  };
}

/** What `private/get_account_summary` says of one currency, and `user.portfolio.…` sends. */
export function describePortfolio(currency: string): Readonly<Record<string, unknown>> {
  const { balance } = currencyFacts(currency);
  return {
    currency,
    balance,
    equity: balance,
    available_funds: balance,
    available_withdrawal_funds: balance,
    margin_balance: balance,
    maintenance_margin: 0,
    initial_margin: 0,
    projected_initial_margin: 0,
    projected_maintenance_margin: 0,
    session_rpl: 0,
    session_upl: 0,
    total_pl: 0,
    delta_total: 0,
    projected_delta_total: 0,
    futures_pl: 0,
    futures_session_rpl: 0,
    futures_session_upl: 0,
    options_pl: 0,
    options_session_rpl: 0,
    options_session_upl: 0,
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
