import { invalidParam } from './errors.js';
import { leverage, takerCommission } from './guesses.js';

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

/** Currencies that Deribit has and clients ask for, in which the sandbox has no instrument. */
const withoutInstruments: readonly string[] = ['USDT', 'EURR', 'SOL'];

/** Whether instruments can be asked for by this currency. */
export function isListed(currency: string): boolean {
  return currencies.includes(currency) || withoutInstruments.includes(currency);
}

/** Facts of a currency; -32602 for one that the sandbox does not have. */
export function currencyFacts(currency: string): CurrencyFacts {
  const found = Object.hasOwn(facts, currency) ? facts[currency] : undefined;
  if (found === undefined) throw unknownCurrency();
  return found;
}

function unknownCurrency() {
  return invalidParam('currency', 'unknown currency');
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

type Kind = 'future' | 'option' | 'spot';

interface InstrumentTerms {
  readonly instrument_name: string;
  readonly instrument_id: number;
  readonly kind: Kind;
  readonly base_currency: string;
  readonly quote_currency: string;
  readonly settlement_currency?: string;
  readonly instrument_type: 'reversed' | 'linear';
  readonly tick_size: number;
  readonly min_trade_amount: number;
  readonly contract_size: number;
  readonly option_type?: 'call' | 'put';
  readonly strike?: number;
}

/** The one expiry of dated instruments, in instrument names and in ms since the epoch. */
export const expiry = '27DEC30';
export const expiryMs = Date.UTC(2030, 11, 27, 8);
const neverMs = 32_503_708_800_000;

/** What an option costs, in its base currency: always, so that prices stay deterministic. */
const optionPrice = 0.05;

/** Of spot pairs and linear perpetuals: the description of the API has an integer, whatever the kind. */
const integerContractSize = 1;

const terms: readonly InstrumentTerms[] = [
  future({ name: 'BTC-PERPETUAL', id: 1, tickSize: 0.5, contractSize: 10 }),
  future({ name: 'ETH-PERPETUAL', id: 2, tickSize: 0.05, contractSize: 1 }),
  {
    instrument_name: 'BTC_USDC',
    instrument_id: 3,
    kind: 'spot',
    base_currency: 'BTC',
    quote_currency: 'USDC',
    instrument_type: 'linear',
    tick_size: 1,
    min_trade_amount: 0.0001,
    contract_size: integerContractSize,
  },
  future({ name: `BTC-${expiry}`, id: 4, tickSize: 0.5, contractSize: 10 }),
  option({ currency: 'BTC', id: 5, strike: 50_000, type: 'call', smallest: 0.1 }),
  option({ currency: 'BTC', id: 6, strike: 50_000, type: 'put', smallest: 0.1 }),
  option({ currency: 'ETH', id: 7, strike: 2_500, type: 'call', smallest: 1 }),
  option({ currency: 'ETH', id: 8, strike: 2_500, type: 'put', smallest: 1 }),
  linearPerpetual({ currency: 'BTC', id: 9, tickSize: 0.5, smallest: 0.001 }),
  linearPerpetual({ currency: 'ETH', id: 10, tickSize: 0.05, smallest: 0.01 }),
];

interface FutureTerms {
  readonly name: string;
  readonly id: number;
  readonly tickSize: number;
  readonly contractSize: number;
}

function future({ name, id, tickSize, contractSize }: FutureTerms): InstrumentTerms {
  const [currency = ''] = name.split('-');
  return {
    instrument_name: name,
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

interface LinearTerms {
  readonly currency: string;
  readonly id: number;
  readonly tickSize: number;
  readonly smallest: number;
}

/** Traded in its base currency, settled in USDC. */
function linearPerpetual({ currency, id, tickSize, smallest }: LinearTerms): InstrumentTerms {
  return {
    instrument_name: `${currency}_USDC-PERPETUAL`,
    instrument_id: id,
    kind: 'future',
    base_currency: currency,
    quote_currency: 'USDC',
    settlement_currency: 'USDC',
    instrument_type: 'linear',
    tick_size: tickSize,
    min_trade_amount: smallest,
    contract_size: integerContractSize,
  };
}

interface OptionTerms {
  readonly currency: string;
  readonly id: number;
  readonly strike: number;
  readonly type: 'call' | 'put';
  readonly smallest: number;
}

function option({ currency, id, strike, type, smallest }: OptionTerms): InstrumentTerms {
  return {
    instrument_name: `${currency}-${expiry}-${strike}-${type === 'call' ? 'C' : 'P'}`,
    instrument_id: id,
    kind: 'option',
    base_currency: currency,
    quote_currency: currency,
    settlement_currency: currency,
    instrument_type: 'reversed',
    tick_size: 0.0005,
    min_trade_amount: smallest,
    contract_size: 1,
    option_type: type,
    strike,
  };
}

/** An instrument with the fields that are the same for all. */
export type Instrument = ReturnType<typeof complete>;

function complete(instrument: InstrumentTerms) {
  const { kind, instrument_name: name, base_currency: base, quote_currency: quote } = instrument;
  const isDated = name.includes(expiry);
  return {
    ...instrument,
    price_index: `${base}_${quote === 'USDC' ? 'usdc' : 'usd'}`.toLowerCase(),
    counter_currency: kind === 'option' ? 'USD' : quote,
    settlement_period: isDated ? 'month' : 'perpetual',
    expiration_timestamp: isDated ? expiryMs : neverMs,
    ...(kind === 'future' ? { max_leverage: leverage, future_type: instrument.instrument_type } : {}),
    creation_timestamp: 1_534_167_754_000,
    is_active: true,
    state: 'open',
    rfq: false,
    maker_commission: 0,
    taker_commission: takerCommission[kind],
    block_trade_commission: 0.0003,
    tick_size_steps: [],
  };
}

const instruments: ReadonlyMap<string, Instrument> = new Map(
  terms.map((instrument) => [instrument.instrument_name, complete(instrument)]),
);

/** Which instruments a request or a channel is about. `any`, or null, stands for all. */
interface Selection {
  readonly instrument?: string | null;
  readonly currency?: string | null;
  readonly kind?: string | null;
}

/** Kinds that Deribit has, those included of which there is no instrument here. */
const kinds: readonly string[] = ['future', 'option', 'spot', 'future_combo', 'option_combo'];

/** Those of the selection; a spot pair belongs to both of its currencies, others to that in which they settle. @throws RpcError -32602 */
export function listInstruments({ instrument = null, currency = null, kind = null }: Selection): readonly Instrument[] {
  if (currency !== null && currency !== 'any' && !isListed(currency)) throw unknownCurrency();
  if (kind !== null && kind !== 'any' && kind !== 'combo' && !kinds.includes(kind)) {
    throw invalidParam('kind', 'unknown kind');
  }
  const matches = (wanted: string | null, ...values: readonly string[]) =>
    wanted === null || wanted === 'any' || values.includes(wanted);
  return [...instruments.values()].filter(
    (one) =>
      matches(instrument, one.instrument_name) &&
      matches(currency, ...(one.kind === 'spot' ? [one.base_currency, one.quote_currency] : [bookedIn(one)])) &&
      matches(kind, one.kind),
  );
}

/** The instrument of that name; -32602 for one that the sandbox does not have. */
export function instrumentNamed(name: string): Instrument {
  const found = instruments.get(name);
  if (found === undefined) throw invalidParam('instrument_name', 'wrong format');
  return found;
}

/** The price of the instrument's base currency. */
export function indexOf({ base_currency: base }: Instrument): number {
  return currencyFacts(base).index;
}

/** The mark price, which never moves: the index price, or an option's price in its base currency. */
export function priceOf(instrument: Instrument): number {
  return instrument.kind === 'option' ? optionPrice : indexOf(instrument);
}

/** A reversed future: its amounts are in USD, and its profits in its base currency. */
export function isReversed({ kind, instrument_type: type }: Instrument): boolean {
  return kind === 'future' && type === 'reversed';
}

/** What an amount is worth, in the currency that profits and fees are booked in. */
export function worthOf(instrument: Instrument, amount: number, price: number): number {
  return isReversed(instrument) ? amount / price : amount * price;
}

/** The currency that profits and fees are booked in. */
export function bookedIn({
  settlement_currency: settled,
  quote_currency: quote,
}: Pick<Instrument, 'settlement_currency' | 'quote_currency'>): string {
  return settled ?? quote;
}

/** Without the noise of binary fractions. */
export function rounded(value: number): number {
  return Number(value.toFixed(10));
}
