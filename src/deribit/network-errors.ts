import { DeribitKeysError } from '../errors.js';
import { onAbort } from '../util/checks.js';
import { startTimer } from './connect-options.js';
import { parsedUrl } from './endpoints.js';

/** How far a request may have come when it failed. */
interface Sent {
  readonly maybeSent: boolean;
}

interface Explanation {
  readonly sentence: (host: string) => string;
  readonly hint: string;
}

const CERTIFICATE: Explanation = {
  sentence: (host) => `the TLS certificate of ${host} is not trusted`,
  hint: 'check the clock and the host name; for a private authority, name its PEM file: --ca-file or DERIBIT_KEYS_CA_FILE (in the library the option ca), or NODE_EXTRA_CA_CERTS',
};
const RESET: Explanation = {
  sentence: (host) => `the connection to ${host} was cut`,
  hint: 'try again; if it happens again, a firewall or proxy may be in the way',
};
const UNREACHABLE: Explanation = {
  sentence: (host) => `${host} cannot be reached`,
  hint: 'check the network connection, and whether a proxy is needed',
};
const NO_TLS: Explanation = {
  sentence: (host) => `${host} does not speak TLS`,
  hint: 'check the port; an endpoint without TLS has a URL that begins with ws: or http:',
};
const NAME_UNKNOWN: Explanation = {
  sentence: (host) => `the name ${host} cannot be resolved`,
  hint: 'check the URL and DNS',
};

/** Failures before any byte of a request can have been sent, by Node's codes. */
const BEFORE_SENDING: ReadonlyMap<string, Explanation> = new Map([
  ['ENOTFOUND', NAME_UNKNOWN],
  ['EAI_AGAIN', NAME_UNKNOWN],
  [
    'ECONNREFUSED',
    {
      sentence: (host) => `${host} refused the connection`,
      hint: 'check the host and the port, and that the server is running',
    },
  ],
  ['UND_ERR_CONNECT_TIMEOUT', UNREACHABLE],
  ['ERR_SSL_WRONG_VERSION_NUMBER', NO_TLS],
  ['ERR_SSL_PACKET_LENGTH_TOO_LONG', NO_TLS],
  ['ERR_TLS_CERT_ALTNAME_INVALID', CERTIFICATE],
  ['CERT_HAS_EXPIRED', CERTIFICATE],
  ['CERT_NOT_YET_VALID', CERTIFICATE],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', CERTIFICATE],
  ['SELF_SIGNED_CERT_IN_CHAIN', CERTIFICATE],
  ['UNABLE_TO_GET_ISSUER_CERT', CERTIFICATE],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', CERTIFICATE],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', CERTIFICATE],
]);
const AT_ANY_TIME: ReadonlyMap<string, Explanation> = new Map([
  ['ECONNRESET', RESET],
  ['EPIPE', RESET],
  ['UND_ERR_SOCKET', RESET],
  ['EHOSTUNREACH', UNREACHABLE],
  ['ENETUNREACH', UNREACHABLE],
  ['ETIMEDOUT', UNREACHABLE],
]);

/**
 * `ERR_NETWORK` for a failure of the network below us. `maybeSent` is false where the failure itself rules out that
 * anything was sent, else as given.
 */
export function networkError(host: string, failure: unknown, { maybeSent }: Sent): DeribitKeysError {
  const status = proxyStatusOf(failure);
  if (status !== null) return statusError(host, status, { maybeSent: false });
  const { code, syscall } = originOf(failure);
  const before = BEFORE_SENDING.get(code);
  const { sentence, hint } = before ??
    AT_ANY_TIME.get(code) ?? {
      sentence: (name: string) => `the connection to ${name} failed`,
      hint: 'check the network connection, the URL and, where there is one, the proxy',
    };
  return new DeribitKeysError('ERR_NETWORK', `${sentence(host)}${code === '' ? '' : ` (${code})`}`, {
    hint,
    maybeSent: before === undefined && syscall !== 'connect' && maybeSent,
  });
}

/** `ERR_NETWORK` for an HTTP status that carries no JSON-RPC answer. Only 429 is sure to mean "not handled". */
export function statusError(host: string, status: number, { maybeSent }: Sent): DeribitKeysError {
  const { what, hint } = explainStatus(status);
  return new DeribitKeysError('ERR_NETWORK', `${host} ${what} (HTTP status ${status})`, {
    hint,
    maybeSent: status !== 429 && maybeSent,
  });
}

/** How the errors here call the other side: by host and port, and by the proxy's where there is one. */
export function describeHost(url: string, proxy: string | null): string {
  const { host } = parsedUrl(url);
  return proxy === null ? host : `${host} (through the proxy ${new URL(proxy).host})`;
}

/** `ERR_TIMEOUT`. */
export function timeoutError(what: string, timeoutMs: number, { maybeSent }: Sent): DeribitKeysError {
  return new DeribitKeysError('ERR_TIMEOUT', `${what} took longer than ${Math.round(timeoutMs)} ms`, {
    hint: 'try again, or allow more time',
    maybeSent,
  });
}

/** `ERR_INTERRUPTED`, for an `AbortSignal` that fired. */
export function interruptedError(what: string, { maybeSent }: Sent): DeribitKeysError {
  return new DeribitKeysError('ERR_INTERRUPTED', `${what} was interrupted`, {
    hint: 'run it again when you are ready',
    maybeSent,
  });
}

interface ConnectLimits {
  /** The other side, for messages. */
  readonly host: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Calls `fail` with `ERR_TIMEOUT` or `ERR_INTERRUPTED` when connecting takes too long or its signal fires; returns the
 * function that stops that.
 */
export function limitConnecting(
  { host, timeoutMs, signal }: ConnectLimits,
  fail: (error: DeribitKeysError) => void,
): () => void {
  const what = `connecting to ${host}`;
  const timer = startTimer(timeoutMs, () => fail(timeoutError(what, timeoutMs, { maybeSent: false })));
  const stopListening = onAbort(signal, () => fail(interruptedError(what, { maybeSent: false })));
  return () => {
    clearTimeout(timer);
    stopListening();
  };
}

function explainStatus(status: number): { readonly what: string; readonly hint: string } {
  if (status === 429)
    return { what: 'has too many connections or requests from here', hint: 'wait a little, then try again' };
  if (status === 407)
    return { what: 'is behind a proxy that requires a login', hint: "put the login into the proxy's URL" };
  if (status >= 300 && status < 400) {
    return { what: 'answered with a redirect, which is not followed', hint: 'give the final URL' };
  }
  if (status >= 500) return { what: 'is not available', hint: 'try again later' };
  return { what: 'refused the request', hint: 'check the URL, and whether this address may use it' };
}

/** The HTTP status with which a proxy refused to connect, as undici's error has it in its message; null for all else. */
function proxyStatusOf(failure: unknown): number | null {
  if (!(failure instanceof Error)) return null;
  const status = /^Proxy response \((\d{3})\) !== 200 when HTTP Tunneling/.exec(failure.message)?.[1];
  return status === undefined ? proxyStatusOf(failure.cause) : Number(status);
}

const WRONG_VERSION = /wrong version number|packet length too long/;

/** Node's code of a failure or of what caused it, at most a few steps down, with the system call that failed. */
function originOf(failure: unknown): { readonly code: string; readonly syscall: unknown } {
  for (let error = failure, depth = 0; depth < 4 && typeof error === 'object' && error !== null; depth += 1) {
    if ('code' in error && typeof error.code === 'string') {
      // the same mistake, where a write met it
      const isPlain = error.code === 'EPROTO' && error instanceof Error && WRONG_VERSION.test(error.message);
      if (isPlain) return { code: 'ERR_SSL_WRONG_VERSION_NUMBER', syscall: null };
      return { code: error.code, syscall: 'syscall' in error ? error.syscall : null };
    }
    error = 'errors' in error && Array.isArray(error.errors) ? error.errors[0] : 'cause' in error ? error.cause : null;
  }
  return { code: '', syscall: null };
}
