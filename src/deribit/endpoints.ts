import { usageError } from '../errors.js';

/** Deribit's two environments. Their accounts, keys and money are separate. */
export type Environment = 'test' | 'prod';

/** Where requests go. */
export interface Endpoint {
  /** The complete URL: `…/ws/api/v2` for `ws:` and `wss:`, `…/api/v2` for `http:` and `https:`. */
  readonly url: string;
  /** For a host that is not one of Deribit's: as the caller says, or test. */
  readonly environment: Environment;
  /** What the replies' `testnet` flag must say; null where anything goes. */
  readonly expectTestnet: boolean | null;
  /** Whether the caller gave the URL, rather than an environment's name. */
  readonly custom: boolean;
}

/** The endpoint that {@link resolveEndpoint} makes. */
export interface EndpointChoice {
  readonly environment?: Environment | undefined;
  /** Where to connect; `environment` then says which of the two it is, unless the host is Deribit's own. */
  readonly url?: string | undefined;
}

/** Where each environment is found by its name. */
const HOSTS: Readonly<Record<Environment, string>> = { test: 'test.deribit.com', prod: 'www.deribit.com' };

/** Deribit's documented hosts, event nodes included: a URL with one of them belongs to that environment, whatever the caller says. */
const ENVIRONMENT_OF_HOST: ReadonlyMap<string, Environment> = new Map([
  [HOSTS.test, 'test'],
  [HOSTS.prod, 'prod'],
  ['deribit.com', 'prod'],
  ['streams.deribit.com', 'prod'],
  ['history.deribit.com', 'prod'],
]);
/** The test environment's event node has a path of its own. */
const EVENT_NODE_PATH = '/den/ws';
const WEBSOCKET_PATH = '/ws/api/v2';
const HTTP_PATH = '/api/v2';

/**
 * The endpoint for an environment (test by default) or for a URL; a URL without a path gets
 * Deribit's.
 * @throws `ERR_USAGE` for anything but `ws:`, `wss:`, `http:` and `https:`, for credentials, a query or a fragment in the
 *   URL, and for unencrypted traffic to anything but loopback
 */
export function resolveEndpoint(choice: EndpointChoice = {}): Endpoint {
  const said = choice.environment ?? 'test';
  if (!Object.hasOwn(HOSTS, said)) {
    throw usageError('the environment is neither test nor prod', 'choose test or prod, or give a URL');
  }
  const given = choice.url === undefined ? null : parseUrl(choice.url);
  const environment = given === null ? said : (ENVIRONMENT_OF_HOST.get(hostOf(given)) ?? said);
  const url = given?.href ?? `wss://${HOSTS[said]}${WEBSOCKET_PATH}`;
  return { url, environment, expectTestnet: environment === 'test', custom: given !== null };
}

/** Whether both lead to the same server: the same host and port. Scheme, path and trailing dots do not matter. */
export function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  return authorityOf(a) === authorityOf(b);
}

/** The HTTP form of an endpoint's URL; one that is HTTP already stays as it is. */
export function httpUrlOf(url: string): string {
  return inScheme(url, 'http', (path) =>
    path === EVENT_NODE_PATH ? HTTP_PATH : path.replace(/\/ws(\/api\/v2\/?)$/, '$1'),
  );
}

/** The WebSocket form of an endpoint's URL; one that is WebSocket already stays as it is. */
export function websocketUrlOf(url: string): string {
  return inScheme(url, 'ws', (path) => path.replace(/(?<!\/ws)(\/api\/v2\/?)$/, '/ws$1'));
}

/** Whether the URL is a WebSocket URL and not an HTTP one. */
export function isWebSocketUrl(url: string): boolean {
  return /^wss?:/i.test(url);
}

/** Whether the host is one of Deribit's own. */
export function isOfDeribit(url: Readonly<URL>): boolean {
  return ENVIRONMENT_OF_HOST.has(hostOf(url));
}

/** Whether the host is this machine: `localhost`, 127.0.0.0/8 or `[::1]`. */
export function isLoopback(url: Readonly<URL>): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostOf(url));
}

let lastParsed = { text: '', url: new URL('wss://localhost') };

/** The parsed form of a valid URL, not to be changed. The last one is kept: sessions that reconnect ask for the same. */
export function parsedUrl(text: string): Readonly<URL> {
  if (lastParsed.text !== text) lastParsed = { text, url: new URL(text) };
  return lastParsed.url;
}

/** The last answer: hundreds of sessions that reconnect ask for the same. */
let lastInScheme = { text: '', scheme: '', href: '' };

function inScheme(text: string, scheme: 'http' | 'ws', path: (old: string) => string): string {
  if (lastInScheme.text === text && lastInScheme.scheme === scheme) return lastInScheme.href;
  const url = new URL(text);
  const encrypted = isEncrypted(url);
  const href = `${scheme}${encrypted ? 's' : ''}:${url.href.slice(url.protocol.length)}`;
  const changed = new URL(href);
  changed.pathname = path(changed.pathname);
  lastInScheme = { text, scheme, href: changed.href };
  return changed.href;
}

function parseUrl(text: string): URL {
  const refuse = (what: string, hint: string) => usageError(`the URL ${what}`, hint);
  const example = 'give the complete endpoint, such as wss://test.deribit.com/ws/api/v2';
  if (!URL.canParse(text)) throw refuse('cannot be read', example);
  const url = new URL(text);
  if (!/^(wss?|https?):$/.test(url.protocol)) throw refuse('is not a ws:, wss:, http: or https: URL', example);
  if (url.username !== '' || url.password !== '') {
    throw refuse('holds credentials', 'leave them out: a signed login needs none');
  }
  if (/[?#]/.test(text)) throw refuse('has a query or a fragment', example);
  if (!isEncrypted(url) && !isLoopback(url)) {
    throw refuse(`would send unencrypted traffic to ${url.host}`, 'use wss: or https:, or a host on loopback');
  }
  if (url.pathname === '/') url.pathname = isWebSocketUrl(url.href) ? WEBSOCKET_PATH : HTTP_PATH;
  return url;
}

function isEncrypted(url: URL): boolean {
  return url.protocol === 'wss:' || url.protocol === 'https:';
}

function hostOf(url: Readonly<URL>): string {
  return url.hostname.toLowerCase().replace(/\.$/, '');
}

function authorityOf(endpoint: Endpoint): string {
  const url = new URL(endpoint.url);
  const known = ENVIRONMENT_OF_HOST.get(hostOf(url));
  const host = known === undefined ? hostOf(url) : HOSTS[known];
  return `${host}:${url.port || (isEncrypted(url) ? '443' : '80')}`;
}
