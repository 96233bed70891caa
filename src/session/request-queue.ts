import { interruptedError, timeoutError } from '../deribit/network-errors.js';
import type { Transport } from '../deribit/transport.js';
import { DeribitKeysError } from '../errors.js';
import { onAbort } from '../util/on-abort.js';
import type { Time } from './time.js';

/** How long, and until when, somebody waits. */
export interface Wait {
  /** What waits, for messages. */
  readonly what: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Where requests wait while there is no connection that is logged in, in the order in which they came. Whoever waits too
 * long gets `ERR_TIMEOUT`, beyond `limit` everybody at once `ERR_CONNECTION_CLOSED`; all with `maybeSent: false`.
 */
export class RequestQueue {
  readonly #time: Time;
  readonly #limit: number;
  readonly #waiting = new Set<{ take(line: Transport): void; fail(error: DeribitKeysError): void }>();
  #line: Transport | null = null;
  #over: (() => DeribitKeysError) | null = null;

  constructor(time: Time, limit: number) {
    this.#time = time;
    this.#limit = limit;
  }

  /** The connection to send on; null while there is none. */
  get current(): Transport | null {
    return this.#line;
  }

  /** Waits for a connection. */
  wait({ what, timeoutMs, signal }: Wait): Promise<Transport> {
    if (this.#over !== null) return Promise.reject(this.#over());
    if (this.#line !== null) return Promise.resolve(this.#line);
    if (signal?.aborted) return Promise.reject(interruptedError(what, { maybeSent: false }));
    if (this.#waiting.size >= this.#limit) {
      const sentence = `there is no connection, and ${this.#limit} requests wait for one already`;
      return Promise.reject(
        new DeribitKeysError('ERR_CONNECTION_CLOSED', sentence, {
          hint: 'try again when the session is back',
          maybeSent: false,
        }),
      );
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.delete(waiter);
        this.#time.clearTimeout(timer);
        stop();
      };
      const waiter = {
        take: (line: Transport) => {
          leave();
          resolve(line);
        },
        fail: (error: DeribitKeysError) => {
          leave();
          reject(error);
        },
      };
      const timer = this.#time.setTimeout(
        () => waiter.fail(timeoutError(`waiting for a connection to send ${what}`, timeoutMs, { maybeSent: false })),
        timeoutMs,
      );
      const stop = onAbort(signal, () => waiter.fail(interruptedError(what, { maybeSent: false })));
      this.#waiting.add(waiter);
    });
  }

  /** There is a connection: who waits may send, in turn. */
  open(line: Transport): void {
    this.#line = line;
    for (const waiter of [...this.#waiting]) waiter.take(line);
  }

  /** From now on requests wait. */
  hold(): void {
    this.#line = null;
  }

  /** Nobody will be served any more. */
  close(error: () => DeribitKeysError): void {
    this.#line = null;
    this.#over = error;
    for (const waiter of [...this.#waiting]) waiter.fail(error());
  }
}
