import { isDeribitKeysError } from '../../src/errors.js';
import type { Order } from '../../src/sandbox/index.js';

/** How an order ended for the one who sent it: by an answer, certainly not handled, or unknown. */
type Fate = 'done' | 'not handled' | 'unknown';

/** Keeps account of orders that were sent, each under a label of its own, and of what the exchange has. */
export class Ledger {
  readonly #open = new Set<string>();
  readonly #ended = new Map<string, Fate>();
  readonly codes = new Map<string, number>();
  readonly violations: string[] = [];
  sent = 0;
  done = 0;
  unknown = 0;
  executed = 0;

  /** Waits for the outcome of an order; it never rejects. */
  async record(label: string, outcome: Promise<unknown>): Promise<void> {
    this.sent += 1;
    this.#open.add(label);
    let fate: Fate = 'done';
    try {
      await outcome;
      this.done += 1;
    } catch (error) {
      fate = this.#fateOf(label, error);
      if (fate === 'unknown') this.unknown += 1;
    }
    this.#open.delete(label);
    this.#ended.set(label, fate);
  }

  /** Compares what ended with the exchange's orders, and forgets it. */
  settle(orders: readonly Order[]): void {
    const counts = new Map<string, number>();
    for (const { label } of orders) counts.set(label, (counts.get(label) ?? 0) + 1);
    for (const [label, fate] of this.#ended) {
      const count = counts.get(label) ?? 0;
      this.executed += count;
      if (count > 1) this.violations.push(`${label} was carried out ${count} times`);
      if (fate === 'done' && count === 0) this.violations.push(`${label} was answered and not carried out`);
      if (fate === 'not handled' && count > 0) this.violations.push(`${label} was said not to be handled, and was`);
    }
    this.#ended.clear();
  }

  /** Orders that nobody has heard of any more. */
  get lost(): number {
    return this.#open.size;
  }

  #fateOf(label: string, error: unknown): Fate {
    if (!isDeribitKeysError(error)) {
      this.violations.push(`${label} ended with an error that is none of ours: ${String(error)}`);
      return 'unknown';
    }
    this.codes.set(error.code, (this.codes.get(error.code) ?? 0) + 1);
    if (error.maybeSent === true) return 'unknown';
    if (error.maybeSent === false || error.rpc !== undefined) return 'not handled';
    this.violations.push(`${label} ended with ${error.code}, which does not say whether it was sent`);
    return 'unknown';
  }
}

/** A generator of pseudo-random numbers from 0 up to 1 (mulberry32), so that a run can be repeated. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
