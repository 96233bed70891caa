import { onAbort, requireNumber, requireObject } from '../util/checks.js';
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

  /** @throws `ERR_USAGE` for a rate by which no call could ever be paid */
  constructor(rate: CreditRate, time: Time) {
    requireObject('the rate', rate);
    requireNumber({ name: 'rate.cost', value: rate.cost, least: Number.MIN_VALUE });
    requireNumber({ name: 'rate.pool', value: rate.pool, least: rate.cost });
    requireNumber({ name: 'rate.refillPerS', value: rate.refillPerS, least: Number.MIN_VALUE });
    this.#rate = rate;
    this.#time = time;
    this.#credits = rate.pool;
    this.#atMs = time.monotonicMs();
  }

  /** Pays for one call where there is enough and nobody waits. */
  tryPay(): boolean {
    return this.#waiting.size === 0 && this.#take();
  }

  /** How many wait to pay. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Waits until one call is paid for. False where one of the signals fires first, and at once where the calls ahead leave
   * no credits for it within `withinMs`: who is let in is served.
   */
  pay(withinMs: number, ...signals: readonly (AbortSignal | undefined)[]): Promise<boolean> {
    if (signals.some((signal) => signal?.aborted)) return Promise.resolve(false);
    if (this.tryPay()) return Promise.resolve(true);
    if (this.#waitMs(this.#waiting.size + 1) > withinMs) return Promise.resolve(false);
    return new Promise((resolve) => {
      const leave = (paid: boolean) => {
        this.#waiting.delete(leave);
        for (const stop of stops) stop();
        if (this.#waiting.size === 0) this.#stopTimer();
        resolve(paid);
      };
      const giveUp = () => leave(false);
      const stops = signals.map((signal) => onAbort(signal, giveUp));
      this.#waiting.add(leave);
      this.#serve();
    });
  }

  #serve(): void {
    this.#stopTimer();
    for (const leave of [...this.#waiting]) {
      if (!this.#take()) {
        this.#timer = this.#time.setTimeout(() => this.#serve(), Math.ceil(this.#waitMs(1)));
        return;
      }
      leave(true);
    }
  }

  /** How long until there are credits for so many calls. */
  #waitMs(calls: number): number {
    this.#refill();
    return Math.max(0, ((calls * this.#rate.cost - this.#credits) / this.#rate.refillPerS) * 1000);
  }

  #stopTimer(): void {
    if (this.#timer !== null) this.#time.clearTimeout(this.#timer);
    this.#timer = null;
  }

  #take(): boolean {
    this.#refill();
    if (this.#credits < this.#rate.cost) return false;
    this.#credits -= this.#rate.cost;
    return true;
  }

  #refill(): void {
    const nowMs = this.#time.monotonicMs();
    const { pool, refillPerS } = this.#rate;
    this.#credits = Math.min(pool, this.#credits + ((nowMs - this.#atMs) / 1000) * refillPerS);
    this.#atMs = nowMs;
  }
}

/** Decides when a session may connect, log in or refresh; a fleet's sessions share one. */
export interface Scheduler {
  /**
   * Waits for a turn to connect and log in. Resolves to the function that ends the turn, also where `signal` fires
   * first.
   */
  connectTurn(signal: AbortSignal): Promise<() => void>;
  /** Waits until one more login or refresh over HTTP is within what the exchange allows, or until `signal` fires. */
  loginTurn(signal: AbortSignal): Promise<void>;
}

/** For a session on its own, which never waits. */
export const unscheduled: Scheduler = {
  connectTurn: () => Promise.resolve(() => {}),
  loginTurn: () => Promise.resolve(),
};

/** Turns for those who connect, in the order in which they came; each login is paid for. */
export class FleetScheduler implements Scheduler {
  readonly #atOnce: number;
  readonly #logins: CreditPool | null;
  readonly #waiting = new Set<() => void>();
  #busy = 0;

  constructor(atOnce: number, logins: CreditPool | null) {
    this.#atOnce = atOnce;
    this.#logins = logins;
  }

  async connectTurn(signal: AbortSignal): Promise<() => void> {
    await this.#enter(signal);
    if (this.#logins !== null) await this.loginTurn(signal);
    let ended = false;
    return () => {
      if (!ended) this.#leave();
      ended = true;
    };
  }

  async loginTurn(signal: AbortSignal): Promise<void> {
    if (this.#logins !== null && !this.#logins.tryPay()) await this.#logins.pay(2 ** 31 - 1, signal);
  }

  #enter(signal: AbortSignal): Promise<void> {
    if (this.#busy < this.#atOnce && this.#waiting.size === 0) {
      this.#busy += 1;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      // one that gives up enters nevertheless, and leaves at once
      const enter = () => {
        this.#waiting.delete(enter);
        stop();
        this.#busy += 1;
        resolve();
      };
      this.#waiting.add(enter);
      const stop = onAbort(signal, enter);
    });
  }

  #leave(): void {
    this.#busy -= 1;
    const [next] = this.#waiting;
    if (this.#busy < this.#atOnce) next?.();
  }
}
