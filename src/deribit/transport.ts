import type { Secret } from '../crypto/secret.js';
import { requireNumber, requireObject, requireSignal } from '../util/checks.js';
import type { Params } from './json-rpc.js';

/** Options of a request beside its parameters. */
export interface RequestOptions {
  /** Ends the wait with `ERR_INTERRUPTED`. */
  readonly signal?: AbortSignal;
  /** Overrides the transport's own timeout, in milliseconds; then `ERR_TIMEOUT`. */
  readonly timeoutMs?: number;
  /** HTTP: sent as `Authorization: Bearer`. WebSocket: added to the parameters as `access_token`. */
  readonly accessToken?: Secret;
}

/**
 * A way to send requests to the exchange: JSON-RPC 2.0 over WebSocket or over HTTP.
 *
 * `request` resolves to the reply's `result`, unchecked. It rejects with a `DeribitKeysError`: `ERR_RPC` with `rpc`
 * for an error reply; `ERR_NETWORK`, `ERR_TIMEOUT`, `ERR_CONNECTION_CLOSED`, `ERR_INTERRUPTED` with `maybeSent`
 * where no answer came; `ERR_PROTOCOL` for an answer that cannot be read; `ERR_WRONG_ENVIRONMENT` where the reply's
 * `testnet` flag contradicts the expected one.
 */
export interface Transport {
  readonly kind: 'websocket' | 'http';
  readonly url: string;
  request(method: string, params?: Params, options?: RequestOptions): Promise<unknown>;
  /** Closes what is open and rejects what still waits. Safe to call twice. */
  close(): Promise<void>;
}

/**
 * The arguments of a request; missing or null parameters become the empty object.
 * @throws `ERR_USAGE` for parameters that are not an object, and for a bad timeout or signal
 */
export function checkRequest(
  params: Params | null | undefined,
  options: RequestOptions | null | undefined,
): RequestOptions & { readonly params: Params } {
  const given = requireObject('the options of a request', options ?? {});
  requireSignal(given.signal);
  if (given.timeoutMs !== undefined) requireNumber({ name: 'timeoutMs', value: given.timeoutMs, least: 1 });
  return { ...given, params: requireObject('the parameters of a request', params ?? {}) };
}
