import type { LocalClock } from '../deribit/clock.js';
import { startTimer } from '../deribit/connect-options.js';
import { onAbort } from '../util/checks.js';

/** Clocks and timers; a test supplies its own. */
export interface Time extends LocalClock {
  setTimeout(callback: () => void, delayMs: number): unknown;
  clearTimeout(timer: unknown): void;
}

export const systemTime: Time = {
  nowMs: Date.now,
  monotonicMs: () => performance.now(),
  setTimeout: (callback, delayMs) => startTimer(delayMs, callback),
  clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
};

/** Timers of equal length share one queue: hundreds of sessions with random ones would have as many queues. */
function roundUp(delayMs: number): number {
  const stepMs = delayMs > 60_000 ? 1_000 : delayMs > 1_000 ? 100 : delayMs > 100 ? 10 : 1;
  return Math.max(0, Math.ceil(delayMs / stepMs) * stepMs);
}

/** Waits, at most until one of the ends comes; it never rejects. Afterwards the caller looks at them. */
export function pause(
  time: Time,
  delayMs: number,
  ...ends: readonly (Cancellation | AbortSignal | undefined)[]
): Promise<void> {
  return new Promise((resolve) => {
    const stops: (() => void)[] = [];
    const end = () => {
      time.clearTimeout(timer);
      for (const stop of stops) stop();
      resolve();
    };
    const timer = time.setTimeout(end, roundUp(delayMs));
    for (const over of ends) {
      if (over?.aborted) return end();
      stops.push(whenOver(over, end));
    }
  });
}

/** An end that is announced once: an `AbortController` for things that begin and end often. */
export class Cancellation {
  readonly #listeners = new Set<() => void>();
  #isOver = false;

  get aborted(): boolean {
    return this.#isOver;
  }

  /** Calls `listener` at the end; returns the function that stops that. */
  on(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  fire(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
  }
}

/** Calls `listener` when either kind of end comes; returns the function that stops that. */
function whenOver(end: Cancellation | AbortSignal | undefined, listener: () => void): () => void {
  return end instanceof Cancellation ? end.on(listener) : onAbort(end, listener);
}

/** How long to wait between attempts to connect. */
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
