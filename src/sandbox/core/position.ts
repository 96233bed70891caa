import { type Instrument, leverage, priceOf, rounded, worthOf } from './instruments.js';

/** What an account has of one instrument. */
export interface Position {
  /** Negative for a short one. */
  readonly size: number;
  readonly averagePrice: number;
  readonly realized: number;
}

export const nothing: Position = { size: 0, averagePrice: 0, realized: 0 };

/** The margin of a short option, by amount. */
export const optionMargin = 0.15;

/** Options: the rate is of the underlying, and at most an eighth of the price. */
export function feeOf(instrument: Instrument, amount: number, price: number): number {
  const { kind, taker_commission: rate } = instrument;
  if (kind === 'option') return rounded(amount * Math.min(rate, price / 8));
  return rounded(worthOf(instrument, amount, price) * rate);
}

/** What a trade realises of a future's position: that of the part that it closes. */
export function profitOf(
  instrument: Instrument,
  { size, averagePrice }: Position,
  signed: number,
  price: number,
): number {
  if (size === 0 || Math.sign(size) === Math.sign(signed)) return 0;
  const closed = Math.min(Math.abs(size), Math.abs(signed)) * Math.sign(size);
  return worthOf(instrument, closed, averagePrice) - worthOf(instrument, closed, price);
}

export function moved(
  { kind }: Instrument,
  { size, averagePrice, realized }: Position,
  signed: number,
  { price, profit }: { readonly price: number; readonly profit: number },
): Position {
  const after = rounded(size + signed);
  const total = rounded(realized + profit);
  if (after === 0) return { ...nothing, realized: total };
  if (size === 0 || Math.sign(after) !== Math.sign(size)) return { size: after, averagePrice: price, realized: total };
  if (Math.sign(size) !== Math.sign(signed)) return { size: after, averagePrice, realized: total };
  // A reversed future is worth the reciprocal of its price.
  const average =
    kind === 'future' ? after / (size / averagePrice + signed / price) : (averagePrice * size + price * signed) / after;
  return { size: after, averagePrice: rounded(average), realized: total };
}

export function floatingOf(instrument: Instrument, { size, averagePrice }: Position): number {
  if (size === 0) return 0;
  const mark = priceOf(instrument);
  return instrument.kind === 'future' ? size / averagePrice - size / mark : size * (mark - averagePrice);
}

/** A long option has been paid for and needs none. */
export function marginOf(instrument: Instrument, size: number): number {
  if (instrument.kind === 'future') return Math.abs(size) / priceOf(instrument) / leverage;
  return Math.max(0, -size) * optionMargin;
}
