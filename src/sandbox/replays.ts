import { createHash } from 'node:crypto';

const bucketMs = 10_000;
const longestPlainNonce = 64;

/** The signatures that were accepted and whose timestamps would still be: none of them is taken twice. */
export class Replays {
  readonly #buckets = new Map<number, Set<string>>();
  readonly #keepMs: number;

  /** @param keepMs how long after its timestamp a signature could still be accepted */
  constructor(keepMs: number) {
    this.#keepMs = keepMs;
  }

  /** Remembers a signature; false where it was there already. The same nonce with another timestamp is another one. */
  add(clientId: string, timestampMs: number, nonce: string, nowMs: number): boolean {
    const bucket = Math.floor(timestampMs / bucketMs);
    let seen = this.#buckets.get(bucket);
    if (seen === undefined) {
      this.#prune(nowMs);
      seen = new Set();
      this.#buckets.set(bucket, seen);
    }
    const short = nonce.length > longestPlainNonce ? createHash('sha256').update(nonce).digest('base64') : nonce;
    const entry = `${timestampMs}\n${clientId}\n${short}`;
    if (seen.has(entry)) return false;
    seen.add(entry);
    return true;
  }

  get size(): number {
    let size = 0;
    for (const seen of this.#buckets.values()) size += seen.size;
    return size;
  }

  #prune(nowMs: number): void {
    for (const bucket of this.#buckets.keys()) {
      if ((bucket + 1) * bucketMs + this.#keepMs < nowMs) this.#buckets.delete(bucket);
    }
  }
}
