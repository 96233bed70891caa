import { startTimer } from '../deribit/connect-options.js';
import { type Cancellation, whenOver } from './cancellation.js';

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

/** Timers of equal length share one queue: hundreds of sessions with random ones would have as many queues. */
function roundUp(delayMs: number): number {
  const stepMs = delayMs > 60_000 ? 1_000 : delayMs > 1_000 ? 100 : delayMs > 100 ? 10 : 1;
  return Math.max(0, Math.ceil(delayMs / stepMs) * stepMs);
}

/** Waits, at most until one of the ends comes; it never rejects. Afterwards the caller looks at them. */
export function pause(
  time: Time,
  delayMs: number,
  ...ends: readonly (Cancellation | AbortSignal | undefined)[]
): Promise<void> {
  return new Promise((resolve) => {
    const stops: (() => void)[] = [];
    const end = () => {
      time.clearTimeout(timer);
      for (const stop of stops) stop();
      resolve();
    };
    const timer = time.setTimeout(end, roundUp(delayMs));
    for (const over of ends) {
      if (over?.aborted) return end();
      stops.push(whenOver(over, end));
    }
  });
}
