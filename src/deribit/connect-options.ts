import type { ProxyOptions } from './proxy.js';

/** What both transports take. */
export interface ConnectOptions extends ProxyOptions {
  /** For opening, and for each request that sets none of its own; 15 s where left out. */
  readonly timeoutMs?: number | undefined;
  /** Gives up opening. */
  readonly signal?: AbortSignal | undefined;
  /** Called once when the other side is there, while TLS and the WebSocket handshake are still to come. */
  readonly onReached?: (() => void) | undefined;
  /** 4 MiB where left out. */
  readonly maxReplyBytes?: number | undefined;
  /** PEM of certificate authorities that are trusted beside the public ones. */
  readonly ca?: string | undefined;
}

export const DEFAULT_TIMEOUT_MS = 15_000;
export const DEFAULT_MAX_REPLY_BYTES = 4 * 1024 * 1024;

/** The longest that a timer can be set to; it would fire at once beyond that. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Starts the timer of a time-out. */
export function startTimer(timeoutMs: number, onTimeout: () => void): NodeJS.Timeout {
  return setTimeout(onTimeout, Math.min(timeoutMs, LONGEST_TIMER_MS));
}
