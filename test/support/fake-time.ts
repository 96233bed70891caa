import type { Time } from '../../src/session/time.js';

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly callback: () => void;
}

/** A time that passes only when it is told to. Timers fire in their order, with everything settled in between. */
export class FakeTime implements Time {
  #elapsedMs = 0;
  #order = 0;
  readonly #timers = new Set<Timer>();
  /** What the wall clock shows beside the time that has passed. */
  wallMs: number;

  constructor(wallMs = 1_700_000_000_000) {
    this.wallMs = wallMs;
  }

  nowMs(): number {
    return this.wallMs + this.#elapsedMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  setTimeout(callback: () => void, delayMs: number): Timer {
    const timer = { atMs: this.#elapsedMs + Math.max(0, delayMs), order: this.#order++, callback };
    this.#timers.add(timer);
    return timer;
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as Timer);
  }

  /** How many timers wait. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Lets `ms` pass. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#elapsedMs + ms;
    await settled();
    for (;;) {
      let first: Timer | null = null;
      for (const timer of this.#timers) {
        if (timer.atMs > untilMs) continue;
        if (first === null || timer.atMs < first.atMs || (timer.atMs === first.atMs && timer.order < first.order)) {
          first = timer;
        }
      }
      if (first === null) break;
      this.#elapsedMs = Math.max(this.#elapsedMs, first.atMs);
      this.#timers.delete(first);
      first.callback();
      await settled();
    }
    this.#elapsedMs = untilMs;
  }
}

/** Lets everything run that waits for nothing but its turn. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
