import type { Connection } from '../core/exchange.js';
import type { ScopeGroup } from '../core/scope.js';

/** A channel that the sandbox has: how often it speaks, who may listen, and what it says the n-th time. */
export interface Channel {
  readonly everyMs: number;
  /** Scope groups of which the listener must be able to read one; null for a public channel. */
  readonly readableBy: readonly ScopeGroup[] | null;
  data(count: number, nowMs: number): unknown;
}

interface Topic {
  readonly timer: NodeJS.Timeout;
  readonly listeners: Set<Connection>;
}

/** Sends what channels say to those who subscribed. A channel has a timer only while a connection is subscribed to it. */
export class Hub {
  readonly #topics = new Map<string, Topic>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  subscribe(connection: Connection, name: string, channel: Channel): void {
    connection.channels.set(name, channel.readableBy !== null);
    const topic = this.#topics.get(name) ?? this.#open(name, channel);
    topic.listeners.add(connection);
  }

  unsubscribe(connection: Connection, name: string): void {
    connection.channels.delete(name);
    const topic = this.#topics.get(name);
    topic?.listeners.delete(connection);
    if (topic?.listeners.size !== 0) return;
    clearInterval(topic.timer);
    this.#topics.delete(name);
  }

  unsubscribeAll(connection: Connection): void {
    for (const name of [...connection.channels.keys()]) this.unsubscribe(connection, name);
  }

  #open(name: string, channel: Channel): Topic {
    const listeners = new Set<Connection>();
    let count = 0;
    const timer = setInterval(() => {
      count += 1;
      const data = channel.data(count, this.#now());
      const text = JSON.stringify({ jsonrpc: '2.0', method: 'subscription', params: { channel: name, data } });
      for (const listener of listeners) listener.send(text);
    }, channel.everyMs);
    const topic = { timer, listeners };
    this.#topics.set(name, topic);
    return topic;
  }
}
