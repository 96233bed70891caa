import { isStreaming, requireCcxt } from './exchange.js';
import { type CcxtLogin, signRest } from './rest.js';
import { signStream } from './stream.js';

export type { Bytes } from '../../crypto/bytes.js';
export type { KeyAlgorithm, PublicKey } from '../../crypto/keys.js';
export type { Signer } from '../../crypto/signer.js';
export type { Environment } from '../../deribit/endpoints.js';
export type { FollowedKeystore, FollowedRecord } from '../../session/key-source.js';
export type { StoredToken, TokenLock, TokenPurpose, TokenStore } from '../../session/token-store.js';
export type { CcxtLogin, CcxtLoginOptions } from './rest.js';

/**
 * Makes an exchange object of ccxt (`new ccxt.deribit()`, `new ccxt.pro.deribit()`) log in with an asymmetric key, in
 * REST and in WebSocket; returns the same object. ccxt itself knows symmetric keys only. Call it once, before anything is
 * watched; `apiKey` and `secret` need not be set.
 *
 * REST requests carry a token, which is renewed before it expires, and replaced where it is refused. `authenticate()`
 * logs in once for each connection, again before the login expires, and rejects as long as the exchange refuses. A
 * refused login is ccxt's `AuthenticationError`, with a `DeribitKeysError` as its cause.
 *
 * With `{ keystore, name }` it follows rotations: within a second it logs in with the successor. A subscription that is
 * refused meanwhile because the login is over is sent again, once.
 *
 * @throws `ERR_USAGE` for an object that is not ccxt's for Deribit, or has connections already
 */
export function withSigner<T extends object>(exchange: T, login: CcxtLogin): T {
  const known = requireCcxt(exchange);
  // ccxt wants one before it signs anything
  known.apiKey = 'keystore' in login ? login.name : login.clientId;
  known.secret = 'not used: the login is signed with an asymmetric key';
  known.requiredCredentials = { ...known.requiredCredentials, apiKey: true, secret: false };
  signRest(known, login);
  if (isStreaming(known)) signStream(known, login);
  return exchange;
}
