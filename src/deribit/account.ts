import type { Secret } from '../crypto/secret.js';
import type { RequestOptions, Transport } from './transport.js';

/** Somebody who is logged in. */
export interface Account {
  readonly transport: Transport;
  /** Null on a WebSocket connection that has logged in: then the connection itself is the proof. */
  readonly accessToken: Secret | null;
}

export type CallOptions = Pick<RequestOptions, 'signal' | 'timeoutMs'>;

/** The account of a login that was made over `transport`; over a WebSocket no token needs to be sent any more. */
export function accountOf(transport: Transport, login: { readonly accessToken: Secret }): Account {
  return { transport, accessToken: transport.kind === 'websocket' ? null : login.accessToken };
}

/** Asks in the account's name; rejects as {@link Transport.request} does. */
export function call(
  { transport, accessToken }: Account,
  method: string,
  params: Readonly<Record<string, unknown>> = {},
  { signal, timeoutMs }: CallOptions = {},
): Promise<unknown> {
  return transport.request(method, params, {
    ...(signal === undefined ? {} : { signal }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(accessToken === null ? {} : { accessToken }),
  });
}
