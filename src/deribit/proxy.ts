import { DeribitKeysError } from '../errors.js';
import { isLoopback } from './endpoints.js';

/** The environment variables that name a proxy; lower case wins, as it does for curl. */
export interface ProxyEnvironment {
  readonly HTTPS_PROXY?: string | undefined;
  readonly https_proxy?: string | undefined;
  readonly NO_PROXY?: string | undefined;
  readonly no_proxy?: string | undefined;
}

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
  const target = new URL(url);
  const chosen = proxy === undefined ? fromEnvironment(target, env ?? {}) : proxy;
  if (chosen === null || chosen === '') return null;
  const text = chosen.includes('://') ? chosen : `http://${chosen}`;
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new DeribitKeysError('ERR_USAGE', "the proxy's URL is not of the form http://host:port", {
      hint: 'only HTTP proxies are supported; set NO_PROXY to go around it',
    });
  }
  return text;
}

function fromEnvironment(target: URL, env: ProxyEnvironment): string | null {
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
