import type { Connection } from '../core/exchange.js';
import type { AccessLogEntry } from '../core/logs.js';
import type { Report } from '../core/matching.js';
import type { ScopeGroup } from '../core/scope.js';

/** What happened: orders and trades of an account, or a login. */
export type HubEvent = Report | { readonly accountId: number; readonly login: AccessLogEntry };

/** A channel that the sandbox has: who may listen, and when it says what. It is opened anew for its first listener. */
export interface Channel {
  /** Scope groups of which the listener must be able to read one; null for a public channel. */
  readonly readableBy: readonly ScopeGroup[] | null;
  /** What each listener gets on subscribing. */
  first?(): readonly unknown[];
  /** How often `tick` is asked what there is to say; `count` starts with 1. */
  readonly everyMs?: number;
  tick?(count: number): readonly unknown[];
  /** What there is to say after an event. */
  on?(event: HubEvent): readonly unknown[];
}

interface Subscription {
  readonly name: string;
  readonly channel: Channel;
  /** Whose private channel it is; that of another account is another one. */
  readonly accountId: number | null;
}

interface Topic {
  readonly name: string;
  readonly channel: Channel;
  readonly timer: NodeJS.Timeout | null;
  readonly listeners: Set<Connection>;
}

/**
 * Sends what channels say to those who subscribed, after the answer to the request that caused it. A channel has a timer
 * only while a connection is subscribed to it.
 */
export class Hub {
  readonly #topics = new Map<string, Topic>();

  subscribe(connection: Connection, { name, channel, accountId }: Subscription): void {
    connection.channels.set(name, channel.readableBy !== null);
    queueMicrotask(() => {
      if (!connection.channels.has(name)) return;
      const key = channel.readableBy === null ? name : `${name} ${accountId}`;
      const topic = this.#topics.get(key) ?? this.#open(key, name, channel);
      if (topic.listeners.has(connection)) return;
      for (const data of topic.channel.first?.() ?? []) connection.send(notification(name, data));
      topic.listeners.add(connection);
    });
  }

  unsubscribe(connection: Connection, name: string): void {
    connection.channels.delete(name);
    for (const [key, topic] of this.#topics) {
      if (topic.name !== name || !topic.listeners.delete(connection) || topic.listeners.size > 0) continue;
      if (topic.timer !== null) clearInterval(topic.timer);
      this.#topics.delete(key);
    }
  }

  /** @param privateToo whether subscriptions to private channels end, too */
  unsubscribeAll(connection: Connection, privateToo: boolean): void {
    for (const [name, isPrivate] of [...connection.channels]) {
      if (privateToo || !isPrivate) this.unsubscribe(connection, name);
    }
  }

  /** Tells the channels that listen to events. */
  report(event: HubEvent): void {
    // after the subscriptions that were asked for before
    queueMicrotask(() => {
      for (const topic of this.#topics.values()) send(topic, topic.channel.on?.(event) ?? []);
    });
  }

  #open(key: string, name: string, channel: Channel): Topic {
    let count = 0;
    const onTime = () => {
      count += 1;
      send(topic, channel.tick?.(count) ?? []);
    };
    const timer = channel.everyMs === undefined ? null : setInterval(onTime, channel.everyMs);
    const topic: Topic = { name, channel, timer, listeners: new Set() };
    this.#topics.set(key, topic);
    return topic;
  }
}

function send({ name, listeners }: Topic, messages: readonly unknown[]): void {
  for (const data of messages) {
    const text = notification(name, data);
    for (const listener of listeners) listener.send(text);
  }
}

function notification(channel: string, data: unknown): string {
  return JSON.stringify({ jsonrpc: '2.0', method: 'subscription', params: { channel, data } });
}
