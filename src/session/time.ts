import { startTimer } from '../deribit/connect-options.js';
import { onAbort } from '../deribit/on-abort.js';

/** Clocks and timers; a test gives its own. */
export interface Time {
  /** Wall clock: milliseconds since the epoch. It may jump. */
  nowMs(): number;
  /** Milliseconds since some moment. It never goes back, and may stand still while the machine sleeps. */
  monotonicMs(): number;
  setTimeout(callback: () => void, delayMs: number): unknown;
  clearTimeout(timer: unknown): void;
}

export const systemTime: Time = {
  nowMs: Date.now,
  monotonicMs: () => performance.now(),
  setTimeout: (callback, delayMs) => startTimer(delayMs, callback),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
};

/** A moment, by both clocks. */
export interface Mark {
  readonly wallMs: number;
  readonly monotonicMs: number;
}

export function mark(time: Time): Mark {
  return { wallMs: time.nowMs(), monotonicMs: time.monotonicMs() };
}

/**
 * Milliseconds since `moment`: the more of what both clocks say, since one may have been set back and the other have
 * stood still. What must not be used for too long is never thought younger than it is.
 */
export function elapsedMs(time: Time, { wallMs, monotonicMs }: Mark): number {
  return Math.max(time.nowMs() - wallMs, time.monotonicMs() - monotonicMs);
}

/** Waits, at most until one of the signals fires; it never rejects. Afterwards the caller looks at them. */
export function pause(time: Time, delayMs: number, ...signals: readonly (AbortSignal | undefined)[]): Promise<void> {
  return new Promise((resolve) => {
    if (signals.some((signal) => signal?.aborted)) {
      resolve();
      return;
    }
    const end = () => {
      time.clearTimeout(timer);
      for (const stop of stops) stop();
      resolve();
    };
    const timer = time.setTimeout(end, Math.max(0, Math.ceil(delayMs)));
    const stops = signals.map((signal) => onAbort(signal, end));
  });
}
