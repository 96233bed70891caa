import { invalidParam } from './errors.js';
import { leverage, optionFeeCap, optionMargin, takerCommission } from './guesses.js';
import type { Params } from './params.js';

interface CurrencyFacts {
  readonly name: string;
  readonly index: number;
  readonly balance: number;
  readonly feePrecision: number;
  /** The chain that it lives on, in the exchange's words. */
  readonly coinType: 'BITCOIN' | 'ETHER';
}

const facts: ReadonlyMap<string, CurrencyFacts> = new Map([
  ['BTC', { name: 'Bitcoin', index: 50_000, balance: 10, feePrecision: 4, coinType: 'BITCOIN' }],
  ['ETH', { name: 'Ethereum', index: 2_500, balance: 100, feePrecision: 6, coinType: 'ETHER' }],
  ['USDC', { name: 'USD Coin', index: 1, balance: 100_000, feePrecision: 6, coinType: 'ETHER' }],
]);

export const currencies = [...facts.keys()];

/** Currencies that Deribit has and clients ask for, in which the sandbox has no instrument. */
const withoutInstruments: readonly string[] = ['USDT', 'EURR', 'SOL'];

/** Whether instruments can be asked for by this currency. */
export function isListed(currency: string): boolean {
  return currencies.includes(currency) || withoutInstruments.includes(currency);
}

/** Facts of a currency; -32602 for one that the sandbox does not have. */
export function currencyFacts(currency: string): CurrencyFacts {
  const found = facts.get(currency);
  if (found === undefined) throw unknownCurrency();
  return found;
}

function unknownCurrency() {
  return invalidParam('currency', 'unknown currency');
}

/** `public/get_currencies`. */
export function describeCurrencies(): readonly unknown[] {
  return [...facts].map(([currency, { name, feePrecision, coinType }]) => ({
    currency,
    currency_long: name,
    coin_type: coinType,
    in_cross_collateral_pool: false,
    fee_precision: feePrecision,
    min_confirmations: 1,
    min_withdrawal_fee: 0.0001,
    withdrawal_fee: 0.0001,
    withdrawal_priorities: [],
  }));
}

/** The one expiry of dated instruments, in instrument names and in ms since the epoch. */
export const expiry = '27DEC30';
export const expiryMs = Date.UTC(2030, 11, 27, 8);
const neverMs = 32_503_708_800_000;

/** What an option costs, in its base currency: always, so that prices stay deterministic. */
const optionPrice = 0.05;

type Kind = 'future' | 'option' | 'spot';

/** What an instrument's kind and name do not say. */
interface Terms {
  readonly id: number;
  readonly tick: number;
  /** The smallest amount; of a reversed future, also the size of a contract. */
  readonly smallest: number;
}

/** An instrument with the fields that the exchange answers. */
export type Instrument = ReturnType<typeof instrument>;

function instrument(kind: Kind, name: string, { id, tick, smallest }: Terms) {
  const [base = '', , strike, letter] = name.split(/[-_]/);
  const isLinear = name.startsWith(`${base}_USDC`);
  const type = isLinear ? 'linear' : 'reversed';
  const quote = isLinear ? 'USDC' : kind === 'option' ? base : 'USD';
  const isDated = name.includes(expiry);
  return {
    instrument_name: name,
    instrument_id: id,
    kind,
    base_currency: base,
    quote_currency: quote,
    ...(kind === 'spot' ? {} : { settlement_currency: isLinear ? quote : base }),
    instrument_type: type,
    tick_size: tick,
    min_trade_amount: smallest,
    // an integer in the description of the API, whatever the kind
    contract_size: kind === 'future' && !isLinear ? smallest : 1,
    ...(kind === 'option' ? { option_type: letter === 'C' ? 'call' : 'put', strike: Number(strike) } : {}),
    price_index: `${base}_${isLinear ? 'usdc' : 'usd'}`.toLowerCase(),
    counter_currency: kind === 'option' ? 'USD' : quote,
    settlement_period: isDated ? 'month' : 'perpetual',
    expiration_timestamp: isDated ? expiryMs : neverMs,
    ...(kind === 'future' ? { max_leverage: leverage, future_type: type } : {}),
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
  [
    instrument('future', 'BTC-PERPETUAL', { id: 1, tick: 0.5, smallest: 10 }),
    instrument('future', 'ETH-PERPETUAL', { id: 2, tick: 0.05, smallest: 1 }),
    instrument('spot', 'BTC_USDC', { id: 3, tick: 1, smallest: 0.0001 }),
    instrument('future', `BTC-${expiry}`, { id: 4, tick: 0.5, smallest: 10 }),
    instrument('option', `BTC-${expiry}-50000-C`, { id: 5, tick: 0.0005, smallest: 0.1 }),
    instrument('option', `BTC-${expiry}-50000-P`, { id: 6, tick: 0.0005, smallest: 0.1 }),
    instrument('option', `ETH-${expiry}-2500-C`, { id: 7, tick: 0.0005, smallest: 1 }),
    instrument('option', `ETH-${expiry}-2500-P`, { id: 8, tick: 0.0005, smallest: 1 }),
    instrument('future', 'BTC_USDC-PERPETUAL', { id: 9, tick: 0.5, smallest: 0.001 }),
    instrument('future', 'ETH_USDC-PERPETUAL', { id: 10, tick: 0.05, smallest: 0.01 }),
  ].map((one) => [one.instrument_name, one]),
);

/** Which instruments a request or a channel is about. `any`, or null, stands for all. */
interface Selection {
  readonly instrument_name?: string | null;
  readonly currency?: string | null;
  readonly kind?: string | null;
}

/** Kinds that Deribit has, those included of which there is no instrument here. */
const kinds: readonly string[] = ['future', 'option', 'spot', 'future_combo', 'option_combo'];

/** Those of the selection; a spot pair belongs to both of its currencies, others to that in which they settle. @throws RpcError -32602 */
export function listInstruments({
  instrument_name = null,
  currency = null,
  kind = null,
}: Selection): readonly Instrument[] {
  if (currency !== null && currency !== 'any' && !isListed(currency)) throw unknownCurrency();
  if (kind !== null && kind !== 'any' && kind !== 'combo' && !kinds.includes(kind)) {
    throw invalidParam('kind', 'unknown kind');
  }
  const matches = (wanted: string | null, ...values: readonly string[]) =>
    wanted === null || wanted === 'any' || values.includes(wanted);
  return [...instruments.values()].filter(
    (one) =>
      matches(instrument_name, one.instrument_name) &&
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

/** The instrument that a request names. @throws RpcError -32602 */
export function instrumentOf(params: Params): Instrument {
  return instrumentNamed(params.requiredString('instrument_name'));
}

/** The instruments of a request's `instrument_name`, `currency` and `kind`, as far as it names them. @throws RpcError -32602 */
export function instrumentsOf(params: Params): readonly Instrument[] {
  return listInstruments({
    instrument_name: params.optionalString('instrument_name'),
    currency: params.optionalString('currency'),
    kind: params.optionalString('kind'),
  });
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
export function bookedIn({ settlement_currency: settled, quote_currency: quote }: Instrument): string {
  return settled ?? quote;
}

/** Without the noise of binary fractions. */
export function rounded(value: number): number {
  return Number(value.toFixed(10));
}

/** What an account has of one instrument. */
export interface Position {
  /** Negative for a short one. */
  readonly size: number;
  readonly averagePrice: number;
  readonly realized: number;
}

export const nothing: Position = { size: 0, averagePrice: 0, realized: 0 };

/** What a taker pays. */
export function feeOf(instrument: Instrument, amount: number, price: number): number {
  const { kind, taker_commission: rate } = instrument;
  if (kind === 'option') return rounded(amount * Math.min(rate, price * optionFeeCap));
  return rounded(worthOf(instrument, amount, price) * rate);
}

/** A trade's effect on a position: `signed` is its amount, negative for a sale. */
interface Move {
  readonly signed: number;
  readonly price: number;
}

/** What a trade realises of a future's position: that of the part that it closes. */
export function profitOf(instrument: Instrument, { size, averagePrice }: Position, { signed, price }: Move): number {
  if (size === 0 || Math.sign(size) === Math.sign(signed)) return 0;
  const closed = Math.min(Math.abs(size), Math.abs(signed)) * Math.sign(size);
  return gainOf(instrument, closed, [averagePrice, price]);
}

/** What a size gains from one price to another: a reversed future is worth the reciprocal of its price. */
function gainOf(instrument: Instrument, size: number, [from, to]: readonly [from: number, to: number]): number {
  const gain = worthOf(instrument, size, to) - worthOf(instrument, size, from);
  return isReversed(instrument) ? -gain : gain;
}

/** The position after a trade that realised `profit`. */
export function moved(
  instrument: Instrument,
  { size, averagePrice, realized }: Position,
  { signed, price, profit }: Move & { readonly profit: number },
): Position {
  const after = rounded(size + signed);
  const total = rounded(realized + profit);
  if (after === 0) return { ...nothing, realized: total };
  if (size === 0 || Math.sign(after) !== Math.sign(size)) return { size: after, averagePrice: price, realized: total };
  if (Math.sign(size) !== Math.sign(signed)) return { size: after, averagePrice, realized: total };
  const average = isReversed(instrument)
    ? after / (size / averagePrice + signed / price)
    : (averagePrice * size + price * signed) / after;
  return { size: after, averagePrice: rounded(average), realized: total };
}

export function floatingOf(instrument: Instrument, { size, averagePrice }: Position): number {
  if (size === 0) return 0;
  return gainOf(instrument, size, [averagePrice, priceOf(instrument)]);
}

/** A long option has been paid for and needs none. */
export function marginOf(instrument: Instrument, size: number): number {
  if (instrument.kind === 'future') return worthOf(instrument, Math.abs(size), priceOf(instrument)) / leverage;
  return Math.max(0, -size) * optionMargin;
}
