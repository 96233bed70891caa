import { DeribitKeysError } from '../errors.js';
import { onAbort } from '../util/on-abort.js';
import type { Time } from './time.js';

/** A pool of credits, as Deribit counts them: every call costs some, time refills it. */
export interface CreditRate {
  readonly cost: number;
  readonly pool: number;
  readonly refillPerS: number;
}

/** What Deribit documents: 100 calls at once, then 20 a second. */
export const DOCUMENTED_RATE: CreditRate = { cost: 500, pool: 50_000, refillPerS: 10_000 };

/** Keeps calls within a pool, in the order in which they came. */
export class CreditPool {
  readonly #rate: CreditRate;
  readonly #time: Time;
  readonly #waiting = new Set<(paid: boolean) => void>();
  #credits: number;
  #atMs: number;
  #timer: unknown = null;

  /** Throws `ERR_USAGE` for a rate by which no call could ever be paid. */
  constructor(rate: CreditRate, time: Time) {
    if (!(rate.cost > 0 && rate.pool >= rate.cost && rate.refillPerS > 0)) {
      throw new DeribitKeysError('ERR_USAGE', 'the rate allows no call', {
        hint: 'give a cost above 0, a pool of at least that, and a refill above 0',
      });
    }
    this.#rate = rate;
    this.#time = time;
    this.#credits = rate.pool;
    this.#atMs = time.monotonicMs();
  }

  /** Pays for one call where there is enough and nobody waits. */
  tryPay(): boolean {
    return this.#waiting.size === 0 && this.#take();
  }

  /** Waits until one call is paid for; false where one of the signals fires first, or `withinMs` passes. */
  pay(withinMs: number, ...signals: readonly (AbortSignal | undefined)[]): Promise<boolean> {
    if (signals.some((signal) => signal?.aborted)) return Promise.resolve(false);
    if (this.tryPay()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const leave = (paid: boolean) => {
        this.#waiting.delete(leave);
        this.#time.clearTimeout(deadline);
        for (const stop of stops) stop();
        if (this.#waiting.size === 0) this.#stopTimer();
        resolve(paid);
      };
      const giveUp = () => leave(false);
      const deadline = this.#time.setTimeout(giveUp, withinMs);
      const stops = signals.map((signal) => onAbort(signal, giveUp));
      this.#waiting.add(leave);
      this.#serve();
    });
  }

  #serve(): void {
    this.#stopTimer();
    for (const leave of [...this.#waiting]) {
      if (!this.#take()) {
        const missing = this.#rate.cost - this.#credits;
        const waitMs = Math.ceil((missing / this.#rate.refillPerS) * 1000);
        this.#timer = this.#time.setTimeout(() => this.#serve(), waitMs);
        return;
      }
      leave(true);
    }
  }

  #stopTimer(): void {
    if (this.#timer !== null) this.#time.clearTimeout(this.#timer);
    this.#timer = null;
  }

  #take(): boolean {
    const nowMs = this.#time.monotonicMs();
    const { pool, cost, refillPerS } = this.#rate;
    this.#credits = Math.min(pool, this.#credits + ((nowMs - this.#atMs) / 1000) * refillPerS);
    this.#atMs = nowMs;
    if (this.#credits < cost) return false;
    this.#credits -= cost;
    return true;
  }
}
