/** How long to wait between attempts. */
export interface BackoffOptions {
  /** Before the second attempt; 250 ms where left out. It doubles from there on. */
  readonly firstMs?: number;
  /** 30 s where left out. */
  readonly longestMs?: number;
}

/** Attempts that fail one after the other wait longer and longer: capped, and spread at random over the upper half. */
export class Backoff {
  readonly #firstMs: number;
  readonly #longestMs: number;
  readonly #random: () => number;
  #failures = 0;

  constructor({ firstMs = 250, longestMs = 30_000 }: BackoffOptions, random: () => number) {
    this.#firstMs = firstMs;
    this.#longestMs = longestMs;
    this.#random = random;
  }

  /** How many attempts have failed since the last {@link reset}. */
  get failures(): number {
    return this.#failures;
  }

  /** Counts a failure and says how long to wait, in milliseconds. */
  next(): number {
    const fullMs = Math.min(this.#longestMs, this.#firstMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return fullMs * (0.5 + this.#random() / 2);
  }

  reset(): void {
    this.#failures = 0;
  }
}
