import type { ErrorCode } from '../errors.js';

/** What a code of Deribit's JSON-RPC means to us. */
interface RpcCode {
  readonly code: ErrorCode;
  readonly hint: string;
  /** Whether the same request may succeed a little later. */
  readonly transient?: true;
  /** Whether the request may have been carried out all the same. */
  readonly uncertain?: true;
}

/** `code` is `ERR_RPC` where it is left out. */
const KNOWN: readonly (readonly [number, Omit<RpcCode, 'code'> & Partial<RpcCode>])[] = [
  [-32602, { hint: 'the exchange does not accept a value; the data names the parameter' }],
  [-32601, { hint: 'check the URL: this endpoint does not know the method' }],
  [-32600, { hint: 'the request is malformed or larger than the exchange accepts (32 kB)' }],
  [-32000, { hint: 'a parameter is missing; the data names it' }],
  [10000, { hint: 'log in first, with a key whose scope covers this' }],
  [10001, { hint: 'the exchange failed: check whether the request was carried out, then try again', uncertain: true }],
  [10019, { hint: 'trading is locked by the exchange: try again later' }],
  [10028, { hint: 'too many requests: wait a little and try again', transient: true }],
  [10030, { hint: 'this method is only available over WebSocket: give a ws: or wss: URL' }],
  [10040, { hint: 'the exchange asks to try again', transient: true, uncertain: true }],
  [10041, { hint: 'a settlement is running: try again in a few seconds', transient: true }],
  [10048, { hint: "this server does not offer the method: give the URL of Deribit's API itself" }],
  [10066, { hint: 'too many requests at once: try again in a moment', transient: true }],
  [11029, { hint: 'the exchange does not accept a value; the data may name the parameter' }],
  [11042, { hint: 'the account may not do this: check its permissions on Deribit' }],
  [11050, { hint: 'the exchange could not read the request' }],
  [11051, { hint: 'the exchange is under maintenance: try again later', transient: true }],
  [11052, { hint: 'the subscription failed: check the channel, the login and its scope' }],
  [11056, { hint: 'the exchange answers only requests that are logged in at the moment', transient: true }],
  [11094, { hint: 'internal error of the exchange: try again later', transient: true, uncertain: true }],
  [11098, { hint: "the account is locked: contact Deribit's support" }],
  [12003, { hint: 'too many logins: wait before the next one, and share tokens between programs' }],
  [12005, { hint: 'the exchange does not serve the country of this address' }],
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
  [13006, { hint: 'the exchange refused for security reasons: log in to its web page and check' }],
  [13007, { hint: 'the exchange does not know the user: check the id and the environment' }],
  [13008, { hint: 'the request failed: check whether it was carried out, then try again', uncertain: true }],
  [13009, { code: 'ERR_UNAUTHORIZED', hint: 'the access token is missing, spent or revoked: log in again' }],
  [13010, { hint: 'a value is missing; the data may name it' }],
  [13012, { hint: 'a subaccount may not do this: log in with a key of the main account' }],
  [13016, { hint: 'the exchange does not accept a value; the data may name it' }],
  [13020, { hint: 'not found: check the id and the environment' }],
  [13021, { hint: "the login's scope does not allow this: managing keys needs account:read_write" }],
  [13025, { hint: 'the exchange has switched the method off: try again later' }],
  [13028, { hint: 'the service does not answer at the moment: try again', transient: true, uncertain: true }],
  [13031, { hint: "verify the account on Deribit's web page first" }],
  [13034, { hint: 'the account has as many security keys as it may have: remove one first' }],
  [13403, { hint: 'the key may do more than the login: log in with a key of at least that scope' }],
  [13503, { hint: 'the method is not available at the moment: try again later' }],
  [13668, { code: 'ERR_SECOND_FACTOR_REFUSED', hint: 'check the code, the seed and the clock, and start again' }],
  [13778, { hint: 'raw channels need a login: use a session, or the 100ms channel' }],
  [
    13888,
    {
      hint: 'the exchange took too long: check whether the request was carried out, then try again',
      transient: true,
      uncertain: true,
    },
  ],
  [
    13904,
    { code: 'ERR_SECOND_FACTOR_REFUSED', hint: "set up a second factor in the account's security settings first" },
  ],
];

/** Deribit's codes that the user can do something about; every other one is plain `ERR_RPC`. */
export const RPC_CODES: ReadonlyMap<number, RpcCode> = new Map(
  KNOWN.map(([number, known]) => [number, { code: 'ERR_RPC', ...known }]),
);
