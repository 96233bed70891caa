import { interruptedError } from '../deribit/network-errors.js';
import type { Transport } from '../deribit/transport.js';
import { type DeribitKeysError, usageError } from '../errors.js';
import { onAbort } from '../util/checks.js';
import { isSpentToken, notSent, outcomeOf } from './failures.js';
import type { CreditPool } from './rate-limits.js';
import type { SessionRequestOptions } from './session.js';
import { Backoff, pause, type Time } from './time.js';

/** Methods that would log the session itself in or out. */
const OWN_METHODS: readonly string[] = ['public/auth', 'private/logout'];

/** The longest wait between two attempts to send a request to an exchange that is busy. */
const LONGEST_BUSY_MS = 5_000;

/** Answers may have become slower since the last one came. */
const MARGIN = 1.25;

/**
 * How long answers take, learned from recent round trips as TCP does (RFC 6298): a request that is sent with less time
 * left would be carried out without anybody hearing of it.
 */
export class AnswerTimes {
  readonly #leastMs: number;
  #smoothedMs: number | null = null;
  #variationMs = 0;

  /** @param leastMs what is left for an answer in any case */
  constructor(leastMs: number) {
    this.#leastMs = leastMs;
  }

  learn(roundTripMs: number): void {
    if (this.#smoothedMs === null) {
      this.#smoothedMs = roundTripMs;
      this.#variationMs = roundTripMs / 2;
      return;
    }
    this.#variationMs += (Math.abs(roundTripMs - this.#smoothedMs) - this.#variationMs) / 4;
    this.#smoothedMs += (roundTripMs - this.#smoothedMs) / 8;
  }

  /** How much of a request's timeout must be left when it is sent: never more than half, so that one is always tried. */
  neededMs(timeoutMs: number): number {
    const estimateMs = this.#smoothedMs === null ? 0 : MARGIN * this.#smoothedMs + 4 * this.#variationMs;
    return Math.min(timeoutMs / 2, Math.max(this.#leastMs, estimateMs));
  }
}

/** What waits, and for how long. */
interface Wait {
  /** For messages: a method, or "the access token". */
  readonly what: string;
  readonly withinMs: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Where requests wait while there is no connection that is logged in, in the order in which they came. Those that have
 * waited too long, and all beyond `limit`, are rejected with `ERR_NOT_SENT`.
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

  /** The connection to send on; null while not connected. */
  get current(): Transport | null {
    return this.#line;
  }

  /** Waits for a connection. */
  wait({ what, withinMs, signal }: Wait): Promise<Transport> {
    if (this.#over !== null) return Promise.reject(this.#over());
    if (this.#line !== null) return Promise.resolve(this.#line);
    if (signal?.aborted) return Promise.reject(interruptedError(what, { maybeSent: false }));
    if (this.#waiting.size >= this.#limit) {
      return Promise.reject(notSent(what, `there is no connection, and ${this.#limit} requests wait for one already`));
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
        () => waiter.fail(notSent(what, `there was no connection within ${Math.round(withinMs)} ms`)),
        withinMs,
      );
      const stop = onAbort(signal, () => waiter.fail(interruptedError(what, { maybeSent: false })));
      this.#waiting.add(waiter);
    });
  }

  /** There is a connection: those that wait may send, in turn. */
  open(line: Transport): void {
    this.#line = line;
    for (const waiter of [...this.#waiting]) waiter.take(line);
  }

  /** From now on requests wait. */
  hold(): void {
    this.#line = null;
  }

  /** Rejects all that wait and all that come. */
  close(error: () => DeribitKeysError): void {
    this.#line = null;
    this.#over = error;
    for (const waiter of [...this.#waiting]) waiter.fail(error());
  }
}

/** One attempt to send a request. */
export interface Attempt {
  readonly signal: AbortSignal | undefined;
  /** Whether to wait where there is no connection. */
  readonly queue: boolean;
  /** Milliseconds that are left for waiting, sending and the answer. */
  leftMs(): number;
  /** Milliseconds that must be left for the answer when it is sent. */
  neededMs(): number;
  /** To be set to the token's when it is sent. */
  generation: number;
}

/** Timers fire a little late: who was let in is not refused for that. */
const SLACK = 0.9;

/**
 * The timeout to send with: what is left.
 * @throws `ERR_NOT_SENT` where that is too little for an answer
 */
export function timeoutToSend(method: string, attempt: Attempt): number {
  const leftMs = attempt.leftMs();
  if (leftMs >= attempt.neededMs() * SLACK) return Math.max(1, leftMs);
  throw notSent(method, 'too little of its timeout was left for an answer');
}

/** Something to send, and what may be done where that fails. */
export interface PendingRequest {
  readonly method: string;
  /** Rejects with the transport's errors; with `maybeSent: false` where it was not sent. */
  send(attempt: Attempt): Promise<unknown>;
  /** Whether it may be sent again, a little later, after it failed so. */
  mayRepeat(error: unknown): boolean;
}

/** What requests need of their session. */
export interface RequestContext {
  readonly timeoutMs: number;
  readonly queueLimit: number;
  readonly time: Time;
  readonly random: () => number;
  readonly credits: CreditPool | null;
  readonly answers: AnswerTimes;
  /** Fires at the session's end. */
  readonly ended: AbortSignal;
  /** @throws where the session has ended */
  requireOpen(): void;
  /** Sees every failure before the caller does. */
  onFailure(error: unknown): void;
  /** How often a request that is refused for its token (13009) is sent again with another one. */
  readonly mostTokens: number;
  /** Makes sure that there is a newer token than that of `generation`. */
  replaceToken(generation: number): Promise<void>;
}

/** @throws `ERR_USAGE` for methods that are managed by the session */
export function refuseOwnMethods(method: string): void {
  if (!OWN_METHODS.includes(method)) return;
  throw usageError(
    `${method} is managed by the session`,
    'a session logs in itself, and logs out by close({ logout: true })',
  );
}

/** Sends until there is an answer, or until nothing more may be done without sending twice what must be sent once. */
export async function sendRequest(
  session: RequestContext,
  request: PendingRequest,
  { signal, timeoutMs = session.timeoutMs, queue = true }: SessionRequestOptions,
): Promise<unknown> {
  const { time, answers } = session;
  const { method } = request;
  const startMs = time.monotonicMs();
  const leftMs = () => timeoutMs - (time.monotonicMs() - startMs);
  const neededMs = () => answers.neededMs(timeoutMs);
  let busy: Backoff | null = null;
  let replaced = 0;
  for (;;) {
    session.requireOpen();
    if (signal?.aborted) throw interruptedError(`the request ${method}`, { maybeSent: false });
    await payFor(session, method, { withinMs: leftMs() - neededMs(), signal });
    const attempt: Attempt = { signal, queue, leftMs, neededMs, generation: -1 };
    try {
      return await request.send(attempt);
    } catch (error) {
      session.onFailure(error);
      if (isSpentToken(error) && replaced < session.mostTokens) {
        replaced += 1;
        await session.replaceToken(attempt.generation);
        continue;
      }
      busy ??= new Backoff({ longestMs: LONGEST_BUSY_MS }, session.random);
      const waitMs = request.mayRepeat(error) ? busy.next() : Number.POSITIVE_INFINITY;
      if (waitMs >= leftMs() - neededMs()) throw outcomeOf(method, error);
      await pause(time, waitMs, signal, session.ended);
    }
  }
}

/** Waits for the credits of one call. Who would wait too long is refused at once, so that the others are answered. */
async function payFor(
  { credits, queueLimit, ended, requireOpen }: RequestContext,
  method: string,
  { withinMs, signal }: { readonly withinMs: number; readonly signal: AbortSignal | undefined },
): Promise<void> {
  if (credits === null || credits.tryPay()) return;
  if (credits.waiting < queueLimit && (await credits.pay(withinMs, signal, ended))) return;
  requireOpen();
  if (signal?.aborted) throw interruptedError(`the request ${method}`, { maybeSent: false });
  throw notSent(method, 'too many requests wait for their turn within the rate');
}
