import { interruptedError, timeoutError } from '../deribit/network-errors.js';
import { DeribitKeysError } from '../errors.js';
import { Backoff } from './backoff.js';
import type { SessionContext } from './context.js';
import { isSpentToken, outcomeOf } from './failures.js';
import type { SessionRequestOptions } from './session.js';
import { pause } from './time.js';

/** Methods that would log the session itself in or out. */
const OWN_METHODS: readonly string[] = ['public/auth', 'private/logout'];

/** The longest wait between two questions to an exchange that is busy. */
const LONGEST_BUSY_MS = 5_000;

/** One attempt to send something. */
export interface Attempt {
  readonly signal: AbortSignal | undefined;
  /** Whether to wait where there is no connection. */
  readonly queue: boolean;
  /** Milliseconds that are left. */
  readonly leftMs: number;
  /** To be set to the tokens's when it is sent. */
  generation: number;
}

/** Something to be asked, and how. */
export interface Question {
  readonly method: string;
  /** Rejects with the transport's errors; with `maybeSent: false` where it was not sent. */
  send(attempt: Attempt): Promise<unknown>;
  /** Whether it may be sent again, a little later, after it failed so. */
  mayRepeat(error: unknown): boolean;
}

/** What the session does about what goes wrong. */
export interface Recovery {
  /** Fires at the session's end. */
  readonly end: AbortSignal;
  /** Throws where the session has ended. */
  requireOpen(): void;
  /** Looks at every failure before the caller sees it. */
  onFailure(error: unknown): void;
  /** Sees to it that there is a newer token than that of `generation`. */
  replaceToken(generation: number): Promise<void>;
}

/** Throws `ERR_USAGE` for methods that are the session's own. */
export function refuseOwnMethods(method: string): void {
  if (!OWN_METHODS.includes(method)) return;
  throw new DeribitKeysError('ERR_USAGE', `${method} is the session's own affair`, {
    hint: 'a session logs in by itself, and logs out by close()',
    maybeSent: false,
  });
}

/** Sends until there is an answer, or until nothing more may be done without sending twice what must be sent once. */
export async function ask(
  { timeoutMs: usualMs, time, random, credits }: SessionContext,
  recovery: Recovery,
  question: Question,
  { signal, timeoutMs = usualMs, queue = true }: SessionRequestOptions,
): Promise<unknown> {
  const { method } = question;
  const startMs = time.monotonicMs();
  const leftMs = () => timeoutMs - (time.monotonicMs() - startMs);
  let busy: Backoff | null = null;
  let replaced = false;
  for (;;) {
    recovery.requireOpen();
    if (signal?.aborted) throw interruptedError(`the request ${method}`, { maybeSent: false });
    if (credits !== null && !credits.tryPay() && !(await credits.pay(leftMs(), signal, recovery.end))) {
      recovery.requireOpen();
      if (signal?.aborted) throw interruptedError(`the request ${method}`, { maybeSent: false });
      throw timeoutError(`the turn of ${method} within the rate`, timeoutMs, { maybeSent: false });
    }
    const attempt: Attempt = { signal, queue, leftMs: leftMs(), generation: -1 };
    try {
      return await question.send(attempt);
    } catch (error) {
      recovery.onFailure(error);
      if (isSpentToken(error) && !replaced) {
        replaced = true;
        await recovery.replaceToken(attempt.generation);
        continue;
      }
      busy ??= new Backoff({ longestMs: LONGEST_BUSY_MS }, random);
      const waitMs = question.mayRepeat(error) ? busy.next() : Number.POSITIVE_INFINITY;
      if (waitMs >= leftMs()) throw outcomeOf(method, error);
      await pause(time, waitMs, signal, recovery.end);
    }
  }
}
