import type { KeptReading } from '../deribit/clock.js';
import type { DeribitKeysError } from '../errors.js';

/** Why a session signed a login: it opened, came back after a cut, its refresh was refused, its
 * token had expired or was refused, or a rotation replaced its key. */
export type LoginReason = 'open' | 'reconnect' | 'refresh-refused' | 'expired' | 'unauthorized' | 'rotated';

/** The events of a session; none holds a secret. */
export interface SessionEvents {
  /** A signed login was granted. */
  readonly login: {
    readonly reason: LoginReason;
    /** As granted. */
    readonly scope: string;
    /** Words that were asked for and not granted: the exchange narrows a scope instead of refusing it. */
    readonly missing: readonly string[];
    readonly expiresInS: number;
    readonly tookMs: number;
  };
  /** A token was renewed by its refresh token. */
  readonly refresh: { readonly scope: string; readonly expiresInS: number };
  /** A token that another session logged in for was taken from the token store. */
  readonly shared: { readonly scope: string; readonly expiresInS: number };
  /** The token store could not be reached: the token in use serves on, or the session logged in only for itself. */
  readonly unshared: { readonly error: DeribitKeysError };
  /** A connection was lost, or an attempt to connect failed; the next one comes in `retryInMs`. */
  readonly disconnect: {
    readonly error: DeribitKeysError | null;
    readonly attempt: number;
    readonly retryInMs: number;
  };
  /** Back: logged in, subscriptions restored. `attempts` were needed, `awayMs` it took. */
  readonly reconnect: { readonly attempts: number; readonly awayMs: number };
  /** The exchange's clock was compared with the local one. */
  readonly clock: KeptReading;
  /** The exchange would not give these channels again after a reconnect; their listeners are gone. */
  readonly unsubscribed: { readonly channels: readonly string[]; readonly error: DeribitKeysError };
  /** The last event: `error` is null where the session was closed by its owner. */
  readonly closed: { readonly error: DeribitKeysError | null };
}

/** What a listener throws becomes an uncaught exception, and does not stop anything here. */
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
  readonly #tap: (name: keyof Events, event: Events[keyof Events]) => void;
  #held: (() => void)[] | null = [];

  /** @param tap called with each event when it happens */
  constructor(tap: (name: keyof Events, event: Events[keyof Events]) => void = () => {}) {
    this.#tap = tap;
  }

  /** Calls `listener` for each such event; returns the function that stops it. */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => this.off(name, listener);
  }

  off<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): void {
    this.#listeners.get(name)?.delete(listener);
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    this.#tap(name, event);
    if (this.#held === null) this.#deliver(name, event);
    else this.#held.push(() => this.#deliver(name, event));
  }

  /** Delivers what was held back, and everything else at once from now on. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const deliver of held) deliver();
  }

  #deliver<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    const listeners = [...(this.#listeners.get(name) ?? [])];
    for (const listener of listeners) callListener(listener as (e: unknown) => void, event);
  }
}
