import type { ErrorCode } from '../errors.js';

/** What a code of Deribit's JSON-RPC means to us. */
export interface RpcCode {
  readonly code: ErrorCode;
  readonly hint: string;
  /** Whether the same request may well succeed a little later. */
  readonly transient?: true;
  /** Whether the request may have been carried out all the same. */
  readonly uncertain?: true;
}

/** Deribit's codes that the user can do something about; every other one is plain `ERR_RPC`. */
export const RPC_CODES: ReadonlyMap<number, RpcCode> = new Map<number, RpcCode>([
  [-32602, { code: 'ERR_RPC', hint: 'the exchange takes no such value; its data names the parameter' }],
  [-32601, { code: 'ERR_RPC', hint: 'check the URL: this endpoint does not know the method' }],
  [-32600, { code: 'ERR_RPC', hint: 'the request is malformed or larger than the exchange takes (32 kB)' }],
  [-32000, { code: 'ERR_RPC', hint: 'a parameter is missing; the data names it' }],
  [10000, { code: 'ERR_RPC', hint: 'log in first, with a key whose scope covers this' }],
  [10028, { code: 'ERR_RPC', hint: 'too many requests: wait a little and try again', transient: true }],
  [10040, { code: 'ERR_RPC', hint: 'the exchange asks to try again', transient: true, uncertain: true }],
  [10041, { code: 'ERR_RPC', hint: 'a settlement is running: try again in a few seconds', transient: true }],
  [10066, { code: 'ERR_RPC', hint: 'too many requests at once: try again in a moment', transient: true }],
  [11029, { code: 'ERR_RPC', hint: 'the exchange takes no such value; its data may name the parameter' }],
  [11050, { code: 'ERR_RPC', hint: 'the exchange could not read the request' }],
  [11051, { code: 'ERR_RPC', hint: 'the exchange is under maintenance: try again later', transient: true }],
  [11094, { code: 'ERR_RPC', hint: 'the exchange failed inside: try again later', transient: true, uncertain: true }],
  [12998, { code: 'ERR_SECOND_FACTOR_REFUSED', hint: 'too many wrong codes: wait before the next attempt' }],
  [
    13004,
    {
      code: 'ERR_UNAUTHORIZED',
      hint:
        'the exchange does not say why; likely: an unknown client id, another key than the registered one, a disabled ' +
        'key, a clock that is off by a minute, an address outside the whitelist, or the other environment',
    },
  ],
  [13009, { code: 'ERR_UNAUTHORIZED', hint: 'the access token is missing, spent or revoked: log in again' }],
  [13020, { code: 'ERR_RPC', hint: 'the exchange has no such thing: check the id and the environment' }],
  [13021, { code: 'ERR_RPC', hint: "the login's scope does not allow this: managing keys needs account:read_write" }],
  [
    13028,
    { code: 'ERR_RPC', hint: 'the service does not answer at the moment: try again', transient: true, uncertain: true },
  ],
  [13403, { code: 'ERR_RPC', hint: 'the key may do more than the login: log in with a key of at least that scope' }],
  [13668, { code: 'ERR_SECOND_FACTOR_REFUSED', hint: 'check the code, the seed and the clock, and start again' }],
  [
    13888,
    {
      code: 'ERR_RPC',
      hint: 'the exchange took too long: look whether it was done, then try again',
      transient: true,
      uncertain: true,
    },
  ],
  [
    13904,
    { code: 'ERR_SECOND_FACTOR_REFUSED', hint: "set up a second factor in the account's security settings first" },
  ],
]);
