/** One request that reached the sandbox, as it was handled. It holds no parameter, hence no secret. */
export interface SandboxCall {
  /** Empty for a frame or body that was no request. */
  readonly method: string;
  readonly transport: 'http' | 'websocket';
  /** The API key that asked, or that tried to log in; null where that is unknown. */
  readonly clientId: string | null;
  readonly handledAtMs: number;
  /**
   * `ok`, `challenge` (a second factor is wanted), the JSON-RPC error's code as text; or what a fault did: `cut-before`
   * and `silent` (not handled), `cut-after:…` and `drop-answer:…` (handled with the outcome named, not answered).
   */
  readonly outcome: string;
}

const longestText = 64;

/** The last `limit` calls; names that are longer than any of the exchange's are cut short. */
export class Calls {
  readonly #limit: number;
  readonly #ring: SandboxCall[] = [];
  #next = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(call: SandboxCall): void {
    if (this.#limit === 0) return;
    const { method, clientId } = call;
    this.#ring[this.#next] = { ...call, method: cut(method), clientId: clientId === null ? null : cut(clientId) };
    this.#next = (this.#next + 1) % this.#limit;
  }

  /** Oldest first; a copy. */
  list(): readonly SandboxCall[] {
    return this.#ring.length < this.#limit
      ? [...this.#ring]
      : [...this.#ring.slice(this.#next), ...this.#ring.slice(0, this.#next)];
  }
}

/** Copies by way of bytes: a slice would keep the original text in memory. */
function cut(text: string): string {
  return text.length <= longestText ? text : Buffer.from(text.slice(0, longestText)).toString();
}
