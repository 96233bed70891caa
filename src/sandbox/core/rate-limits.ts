import { errorOf } from './errors.js';

/** A pool of credits: every call costs some, time refills it. */
export interface CreditOptions {
  readonly cost: number;
  readonly pool: number;
  readonly refillPerS: number;
  /** Whether the connection is closed after 10028. */
  readonly terminate: boolean;
}

export const documentedCredits: CreditOptions = { cost: 500, pool: 50_000, refillPerS: 10_000, terminate: false };

interface Pool {
  credits: number;
  atMs: number;
}

const mostPools = 10_000;

/** Counts calls against pools, one for each `owner`. */
export class Credits {
  readonly options: CreditOptions;
  readonly #pools = new Map<string, Pool>();

  constructor(options: CreditOptions) {
    this.options = options;
  }

  /** Pays for one call. @throws RpcError 10028 where the pool is empty */
  pay(owner: string, nowMs: number): void {
    const { cost, pool: full, refillPerS } = this.options;
    const pool = this.#pools.get(owner) ?? this.#open(owner, nowMs);
    pool.credits = Math.min(full, pool.credits + (Math.max(0, nowMs - pool.atMs) / 1000) * refillPerS);
    pool.atMs = nowMs;
    if (pool.credits < cost) throw errorOf(10_028);
    pool.credits -= cost;
  }

  #open(owner: string, nowMs: number): Pool {
    const [oldest] = this.#pools.keys();
    if (this.#pools.size >= mostPools && oldest !== undefined) this.#pools.delete(oldest);
    const pool = { credits: this.options.pool, atMs: nowMs };
    this.#pools.set(owner, pool);
    return pool;
  }
}
