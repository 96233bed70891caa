import { usageError } from '../errors.js';
import { requireNumber, requireObject, requireSignal } from '../util/checks.js';
import { isLoopback, parsedUrl } from './endpoints.js';

/** What both transports take. */
export interface ConnectOptions extends ProxyOptions {
  /** For opening, and for each request that sets none of its own; 15 s where left out. */
  readonly timeoutMs?: number | undefined;
  /** Cancels opening. */
  readonly signal?: AbortSignal | undefined;
  /** Called once when the other side is reached, before TLS and the WebSocket handshake. */
  readonly onReached?: (() => void) | undefined;
  /** 4 MiB where left out. */
  readonly maxReplyBytes?: number | undefined;
  /** PEM of certificate authorities that are trusted beside the public ones and those of NODE_EXTRA_CA_CERTS. */
  readonly ca?: string | undefined;
}

const DEFAULT_TIMEOUT_MS = 15_000;
const DEFAULT_MAX_REPLY_BYTES = 4 * 1024 * 1024;

/** The longest that a timer can be set to; it would fire at once beyond that. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

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
    timeoutMs: requireNumber({ name: 'timeoutMs', value: options.timeoutMs ?? DEFAULT_TIMEOUT_MS, least: 1 }),
    maxReplyBytes: requireNumber({
      name: 'maxReplyBytes',
      value: options.maxReplyBytes ?? DEFAULT_MAX_REPLY_BYTES,
      least: 1,
    }),
  };
}

/** The environment variables that name a proxy; lower case wins, as it does for curl. */
export interface ProxyEnvironment {
  readonly HTTPS_PROXY?: string | undefined;
  readonly https_proxy?: string | undefined;
  readonly NO_PROXY?: string | undefined;
  readonly no_proxy?: string | undefined;
}

/** Which proxy requests go through. */
export interface ProxyOptions {
  /** URL of an HTTP proxy (`http:` or `https:`, with its credentials where it wants some); null for none. */
  readonly proxy?: string | null | undefined;
  /** Read where `proxy` is left out, and for encrypted traffic to other machines only. */
  readonly env?: ProxyEnvironment | undefined;
}

/**
 * The proxy to go through, or null. `NO_PROXY` is a list of host names (each covers its subdomains), with or without
 * a port, separated by commas or spaces; `*` covers all.
 * @throws `ERR_USAGE` for a URL that is not an HTTP proxy's
 */
export function proxyFor(url: string, { proxy, env }: ProxyOptions): string | null {
  const target = parsedUrl(url);
  const chosen = proxy === undefined ? fromEnvironment(target, env ?? {}) : proxy;
  if (chosen === null || chosen === '') return null;
  const text = chosen.includes('://') ? chosen : `http://${chosen}`;
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw usageError(
      "the proxy's URL is not of the form http://host:port",
      'only HTTP proxies are supported; set NO_PROXY to bypass it',
    );
  }
  return text;
}

function fromEnvironment(target: Readonly<URL>, env: ProxyEnvironment): string | null {
  if (isLoopback(target) || !/^(wss|https):$/.test(target.protocol)) return null;
  const exceptions = (env.no_proxy || env.NO_PROXY || '').toLowerCase().split(/[\s,]+/);
  const host = target.hostname.toLowerCase();
  const port = target.port || '443';
  const excepted = exceptions.some((entry) => {
    const [, name = '', only] = /^\*?\.?([^:]+)(?::(\d+))?$/.exec(entry) ?? [];
    if (entry === '*') return true;
    return name !== '' && (host === name || host.endsWith(`.${name}`)) && (only === undefined || only === port);
  });
  return excepted ? null : env.https_proxy || env.HTTPS_PROXY || null;
}
