import { onAbort } from '../util/on-abort.js';

/** An end that is announced once: what an `AbortController` is, for things that begin and end often. */
export class Cancellation {
  readonly #listeners = new Set<() => void>();
  #isOver = false;

  get aborted(): boolean {
    return this.#isOver;
  }

  /** Calls `listener` at the end; gives the function that stops that. */
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

/** Calls `listener` when either kind of end comes; gives the function that stops that. */
export function whenOver(end: Cancellation | AbortSignal | undefined, listener: () => void): () => void {
  return end instanceof Cancellation ? end.on(listener) : onAbort(end, listener);
}
