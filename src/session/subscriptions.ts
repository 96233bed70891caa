import { isTransientRefusal, type Notification } from '../deribit/json-rpc.js';
import { listOf } from '../deribit/shapes.js';
import type { Transport } from '../deribit/transport.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { defined } from '../util/defined.js';
import { callListener } from './session.js';

/** A notification of a channel. */
export interface ChannelMessage {
  readonly channel: string;
  readonly data: unknown;
}

/** Called with each notification of a channel. */
export type ChannelListener = (message: ChannelMessage) => void;

/** Channels in one request: with names of usual length far below the 32 kB that it may have. */
const CHANNELS_A_REQUEST = 200;

const NONE_REFUSED: Promise<ReadonlyMap<string, DeribitKeysError>> = Promise.resolve(new Map());

/**
 * Who wants which channels, and which of them the connection has. Both are brought together by {@link reconcile}, one
 * exchange of requests at a time.
 */
export class Subscriptions {
  readonly #listeners = new Map<string, Set<ChannelListener>>();
  /** Channels of the present connection. */
  readonly #given = new Set<string>();
  #busy: Promise<unknown> = Promise.resolve();
  #asking = 0;

  add(channels: readonly string[], listener: ChannelListener): void {
    for (const channel of channels) {
      const listeners = this.#listeners.get(channel) ?? new Set();
      this.#listeners.set(channel, listeners.add(listener));
    }
  }

  remove(channels: readonly string[], listener: ChannelListener): void {
    for (const channel of channels) {
      const listeners = this.#listeners.get(channel);
      listeners?.delete(listener);
      if (listeners?.size === 0) this.#listeners.delete(channel);
    }
  }

  /** A new connection has no channels yet. */
  forget(): void {
    this.#given.clear();
  }

  clear(): void {
    this.#listeners.clear();
    this.forget();
  }

  /** Hands on what a `subscription` notification says. */
  deliver({ params }: Notification): void {
    const { channel, data } = params;
    if (typeof channel !== 'string') return;
    for (const listener of [...(this.#listeners.get(channel) ?? [])]) callListener(listener, { channel, data });
  }

  /**
   * Subscribes to what is wanted and not given, unsubscribes from what is given and not wanted. Returns the channels
   * that the exchange refused, each with why; their listeners are gone. Throws where the connection fails, or the
   * exchange is busy.
   */
  reconcile(line: Transport, timeoutMs?: number): Promise<ReadonlyMap<string, DeribitKeysError>> {
    if (this.isSettled) return NONE_REFUSED;
    const work = this.#busy.then(() => this.#reconcile(limited(line, timeoutMs)));
    this.#asking += 1;
    this.#busy = work
      .catch(() => {})
      .finally(() => {
        this.#asking -= 1;
      });
    return work;
  }

  /** Whether nothing is wanted, and nothing given or asked for. */
  get isSettled(): boolean {
    return this.#listeners.size === 0 && this.#given.size === 0 && this.#asking === 0;
  }

  async #reconcile(line: Transport): Promise<ReadonlyMap<string, DeribitKeysError>> {
    const refused = new Map<string, DeribitKeysError>();
    const surplus = [...this.#given].filter((channel) => !this.#listeners.has(channel));
    for (const part of inParts(surplus)) {
      await line.request('private/unsubscribe', { channels: part });
      for (const channel of part) this.#given.delete(channel);
    }
    const missing = [...this.#listeners.keys()].filter((channel) => !this.#given.has(channel));
    for (const part of inParts(missing)) await this.#subscribe(line, part, refused);
    for (const channel of refused.keys()) this.#listeners.delete(channel);
    return refused;
  }

  /** One unknown channel can make the exchange refuse all of a request: then each half is tried separately. */
  async #subscribe(
    line: Transport,
    channels: readonly string[],
    refused: Map<string, DeribitKeysError>,
  ): Promise<void> {
    let given: readonly unknown[];
    try {
      given = listOf('private/subscribe', await line.request('private/subscribe', { channels }));
    } catch (error) {
      if (!isDeribitKeysError(error, 'ERR_RPC') || isTransientRefusal(error)) throw error;
      if (channels.length === 1) {
        for (const channel of channels) refused.set(channel, error);
        return;
      }
      const middle = Math.ceil(channels.length / 2);
      await this.#subscribe(line, channels.slice(0, middle), refused);
      await this.#subscribe(line, channels.slice(middle), refused);
      return;
    }
    for (const channel of channels) {
      if (given.includes(channel)) this.#given.add(channel);
      else refused.set(channel, notGiven(channel));
    }
  }
}

/** The transport with this timeout for every request. */
function limited(line: Transport, timeoutMs: number | undefined): Transport {
  const { kind, url } = line;
  const request: Transport['request'] = (method, params) => line.request(method, params, defined({ timeoutMs }));
  return { kind, url, request, close: () => line.close() };
}

function inParts(channels: readonly string[]): readonly (readonly string[])[] {
  const count = Math.ceil(channels.length / CHANNELS_A_REQUEST);
  return Array.from({ length: count }, (_, i) => channels.slice(i * CHANNELS_A_REQUEST, (i + 1) * CHANNELS_A_REQUEST));
}

function notGiven(channel: string): DeribitKeysError {
  return new DeribitKeysError(
    'ERR_NOT_ON_EXCHANGE',
    `the exchange does not offer the channel ${channel.slice(0, 80)}`,
    { hint: 'check its name, and that the instrument still trades' },
  );
}
