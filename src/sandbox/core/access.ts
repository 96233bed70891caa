import { type ApiKey, isAllowed } from './accounts.js';
import { errorOf, invalidCredentials, unauthorized } from './errors.js';
import type { Call, Exchange } from './exchange.js';
import { commonLevels, type Level, type Levels, type ScopeGroup } from './scope.js';
import { sameText } from './signature.js';
import type { Grant } from './tokens.js';

/** Who sends a request, by its headers; WebSocket requests have none. */
export type Credentials =
  | { readonly kind: 'none' }
  | { readonly kind: 'bad' }
  | { readonly kind: 'token'; readonly accessToken: string }
  | { readonly kind: 'key'; readonly key: ApiKey };

/** The key of an HTTP request's Basic or HMAC header, checked already. */
function keyGrant(exchange: Exchange, key: ApiKey): Grant {
  const nowMs = exchange.now();
  return {
    accessToken: '',
    refreshToken: '',
    accessExpiresMs: nowMs,
    refreshExpiresMs: nowMs,
    lifeS: 0,
    key,
    accountId: key.accountId,
    levels: key.maxScope,
    scope: '',
    session: null,
    connectionId: null,
    ip: null,
    sinceMs: nowMs,
  };
}

/** Whether a key can be used from `peer`. */
export function isUsable(key: ApiKey, peer: string): boolean {
  return key.enabled && isAllowed(key.allowed, peer);
}

/** The key of `clientId`; an unknown one is reported to whoever runs the sandbox. */
export function knownKey(exchange: Exchange, clientId: string): ApiKey | undefined {
  const key = exchange.accounts.key(clientId);
  if (key === undefined) exchange.remark('unknown-client', clientId);
  return key;
}

/** The key of `clientId`, where it is usable and `secret` is its shared secret. @throws RpcError 13004 */
export function keyBySecret(
  exchange: Exchange,
  { clientId, secret }: { readonly clientId: string; readonly secret: string },
  peer: string,
): ApiKey {
  const key = knownKey(exchange, clientId);
  if (key === undefined || key.publicKey !== null || !sameText(key.secret, secret) || !isUsable(key, peer)) {
    throw invalidCredentials();
  }
  return key;
}

/**
 * Who asks: by the header, by `access_token` among the parameters, or by the connection's own login.
 * @throws RpcError 13009
 */
export function authorize(exchange: Exchange, call: Call, credentials: Credentials): Grant {
  return checkGrant(claimedGrant(exchange, call, credentials), call);
}

/** The grant, where it is valid for this caller. @throws RpcError 13009 */
export function checkGrant(grant: Grant | null, { peer, connection }: Call): Grant {
  if (grant === null || !isUsable(grant.key, peer)) throw unauthorized();
  if (grant.ip !== null && grant.ip !== peer) throw unauthorized();
  if (grant.connectionId !== null && grant.connectionId !== connection?.id) throw unauthorized();
  return grant;
}

/** Whether a request of a public method comes from a login: by `access_token`, or by the connection's own. */
export function isLoggedIn(exchange: Exchange, call: Call): boolean {
  return claimedGrant(exchange, call, { kind: 'none' }) !== null;
}

function claimedGrant(exchange: Exchange, call: Call, credentials: Credentials): Grant | null {
  const nowMs = exchange.now();
  if (credentials.kind === 'key') return keyGrant(exchange, credentials.key);
  if (credentials.kind === 'bad') return null;
  const token = credentials.kind === 'token' ? credentials.accessToken : call.params.optionalString('access_token');
  if (token !== null) return exchange.grants.byAccess(token, nowMs);
  const own = call.connection?.grant ?? null;
  return own !== null && exchange.grants.isLive(own, nowMs) ? own : null;
}

/** What a token allows, as far as its key still allows it. */
export function allowedLevels({ levels, key }: Grant): Levels {
  return commonLevels(levels, key.maxScope);
}

/** @throws RpcError 13021 unless the token, and still its key, allow `level` of `group` */
export function requireScope(grant: Grant, group: ScopeGroup, level: Level): void {
  if ((allowedLevels(grant)[group] ?? 0) < level) throw errorOf(13_021);
}
