import { leverage, optionFeeCap, optionMargin } from './guesses.js';
import { type Instrument, isReversed, priceOf, rounded, worthOf } from './instruments.js';

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
