import type { Notification } from '../deribit/json-rpc.js';
import type { WebSocketTransport } from '../deribit/websocket-transport.js';
import { isDeribitKeysError } from '../errors.js';
import type { Cancellation } from './cancellation.js';
import { pause, type Time } from './time.js';

/** How long the answer to a question may take that is asked only because nothing was heard. */
const PROBE_MS = 10_000;

/**
 * Keeps one connection's heart beating: asks the exchange to say every `heartbeatS` that it is there, answers its test
 * requests, and closes the connection where nothing is heard for half as long again and a question stays unanswered.
 */
export class Heartbeat {
  readonly #transport: WebSocketTransport;
  readonly #heartbeatS: number;
  readonly #time: Time;
  #heardMs: number;
  #heardTimes = 0;
  #beats = false;

  constructor(transport: WebSocketTransport, heartbeatS: number, time: Time) {
    this.#transport = transport;
    this.#heartbeatS = heartbeatS;
    this.#time = time;
    this.#heardMs = time.monotonicMs();
  }

  /** Something came from the exchange. */
  heard(): void {
    this.#heardMs = this.#time.monotonicMs();
    this.#heardTimes += 1;
  }

  /** Answers a `heartbeat` notification, where it wants an answer. */
  answer({ params }: Notification): void {
    if (params.type === 'test_request') void this.#ask('public/test', {}, PROBE_MS);
  }

  /** Begins after `afterMs`. Returns when `stop` comes, or when the connection was closed for its silence. */
  async run(stop: Cancellation, afterMs = 0): Promise<void> {
    const quietMs = this.#heartbeatS * 1500;
    if (afterMs > 0) await pause(this.#time, afterMs, stop);
    if (stop.aborted) return;
    this.#beats = await this.#start();
    while (!stop.aborted) {
      const silentMs = this.#time.monotonicMs() - this.#heardMs;
      if (silentMs < quietMs) {
        await pause(this.#time, quietMs - silentMs, stop);
        continue;
      }
      this.#beats ||= await this.#start();
      const before = this.#heardTimes;
      await this.#ask('public/test', {}, PROBE_MS);
      if (this.#heardTimes === before) {
        await this.#transport.close();
        return;
      }
    }
  }

  #start(): Promise<boolean> {
    return this.#ask('public/set_heartbeat', { interval: this.#heartbeatS });
  }

  /** Whether the exchange said yes; any answer at all counts as heard. */
  async #ask(method: string, params: Readonly<Record<string, unknown>>, timeoutMs?: number): Promise<boolean> {
    try {
      await this.#transport.request(method, params, timeoutMs === undefined ? {} : { timeoutMs });
      this.heard();
      return true;
    } catch (error) {
      if (isDeribitKeysError(error) && error.rpc !== undefined) this.heard();
      return false;
    }
  }
}
