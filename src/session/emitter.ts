/** A listener's own mistake is its own: it shows as an uncaught exception, and stops nothing here. */
export function callListener<T>(listener: (value: T) => void, value: T): void {
  try {
    listener(value);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

type Listener = (event: never) => void;

/** Typed events. Those that come before {@link Emitter.release} wait for it. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<Listener>>();
  #held: (() => void)[] | null = [];

  /** Calls `listener` for each such event; gives the function that stops it. */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
    let listeners = this.#listeners.get(name);
    if (listeners === undefined) {
      listeners = new Set();
      this.#listeners.set(name, listeners);
    }
    listeners.add(listener);
    return () => this.off(name, listener);
  }

  off<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): void {
    this.#listeners.get(name)?.delete(listener);
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    if (this.#held !== null) {
      this.#held.push(() => this.#deliver(name, event));
      return;
    }
    this.#deliver(name, event);
  }

  /** Delivers what was held back, and from now on everything at once. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const deliver of held) deliver();
  }

  #deliver<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    const listeners = this.#listeners.get(name);
    if (listeners === undefined || listeners.size === 0) return;
    for (const listener of [...listeners]) callListener(listener as (e: unknown) => void, event);
  }
}
