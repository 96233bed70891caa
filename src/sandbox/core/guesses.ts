/**
 * What Deribit has not documented is decided here and nowhere else. Each guess is the stricter one, so that a client that
 * passes here does not rely on leniency there.
 */

import { errorOf, invalidParam, RpcError } from './errors.js';

/** How long a signature may be old (documented), and how far it may lie in the future (a guess). */
export const signatureMaxAgeMs = 60_000;
export const signatureMaxAheadMs = 60_000;

/** Life of an access token without an `expires:` word, seen on production for connection scope. */
export const defaultExpiresInS = 900;

/** How much longer than its access token a refresh token lives. */
export const refreshExtraS = 7 * 86_400;

/** The longest life that an `expires:` word can ask for. */
export const longestExpiresS = 31_536_000;

/** How many token pairs of one connection stay valid; an older one is forgotten. */
export const pairsPerConnection = 16;

/** How many token pairs are kept in all, so that memory stays bounded. */
export const pairsInAll = 100_000;

/** What another key's secret looks like for a caller that has no more than `account:read`. */
export const hiddenSecret = '********';

/** A new connection-scope pair after `public/exchange_token` also becomes the connection's own login. */
export const exchangeSwitchesConnection = true;

/** A scope request that names any group is granted no other group. */
export const unnamedGroupsAreDropped = true;

/** How many wrong codes lock the second factor, and for how long. */
export const wrongCodesUntilLock = 5;
export const secondFactorLockS = 60;

/** `private/reset_api_key` cannot renew an asymmetric key, which has no secret: it is refused. */
export function resetOfAsymmetricKey(): RpcError {
  return new RpcError(-32602, 'Invalid params', { reason: 'key has no secret to reset', param: 'id' });
}

/** A public key that the account has already: Deribit may refuse it, the sandbox does only under a fault. */
export function duplicateKey(): RpcError {
  return invalidParam('public_key', 'already registered');
}

/** A ninth key. */
export function tooManyKeys(): RpcError {
  return new RpcError(-32602, 'Invalid params', { reason: 'maximum number of api keys reached', param: 'max_scope' });
}

/** A key id that the account does not have. */
export function noSuchKey(): RpcError {
  return new RpcError(-32602, 'Invalid params', { reason: 'key not found', param: 'id' });
}

/** A method of WebSocket connections, asked for over HTTP (documented). */
export function onlyOverWebsocket(): RpcError {
  return errorOf(10_030);
}
