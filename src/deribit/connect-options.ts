import { requireNumber, requireObject, requireSignal } from '../util/checks.js';
import type { ProxyOptions } from './proxy.js';

/** What both transports take. */
export interface ConnectOptions extends ProxyOptions {
  /** For opening, and for each request that sets none of its own; 15 s where left out. */
  readonly timeoutMs?: number | undefined;
  /** Gives up opening. */
  readonly signal?: AbortSignal | undefined;
  /** Called once when the other side is reached, before TLS and the WebSocket handshake. */
  readonly onReached?: (() => void) | undefined;
  /** 4 MiB where left out. */
  readonly maxReplyBytes?: number | undefined;
  /** PEM of certificate authorities that are trusted beside the public ones and those of NODE_EXTRA_CA_CERTS. */
  readonly ca?: string | undefined;
}

export const DEFAULT_TIMEOUT_MS = 15_000;
export const DEFAULT_MAX_REPLY_BYTES = 4 * 1024 * 1024;

/** The longest that a timer can be set to; it would fire at once beyond that. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Starts the timer of a timeout. */
export function startTimer(timeoutMs: number, onTimeout: () => void): ReturnType<typeof setTimeout> {
  return setTimeout(onTimeout, Math.min(timeoutMs, LONGEST_TIMER_MS));
}

/**
 * The options with the defaults filled in.
 * @throws `ERR_USAGE` for numbers that make no sense and for a signal that is not an `AbortSignal`
 */
export function checkConnectOptions<T extends ConnectOptions>(
  options: T,
): T & { readonly timeoutMs: number; readonly maxReplyBytes: number } {
  requireObject('the connection options', options);
  requireSignal(options.signal);
  return {
    ...options,
    timeoutMs: requireNumber('timeoutMs', options.timeoutMs ?? DEFAULT_TIMEOUT_MS, 1),
    maxReplyBytes: requireNumber('maxReplyBytes', options.maxReplyBytes ?? DEFAULT_MAX_REPLY_BYTES, 1),
  };
}
