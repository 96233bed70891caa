import type { Struck } from '../faults/faults.js';
import { checkGrant, isUsable, keyBySecret, knownKey } from './access.js';
import type { ApiKey } from './accounts.js';
import { errorOf, invalidCredentials, invalidParam } from './errors.js';
import type { Call, Exchange } from './exchange.js';
import { signatureMaxAgeMs, signatureMaxAheadMs } from './guesses.js';
import { formatScope, narrow, parseScopeRequest, type ScopeRequest } from './scope.js';
import { isTimely, type SignatureEncoding, verifyClientSignature } from './signature.js';
import { type Grant, newSession } from './tokens.js';

/** `public/auth` in its three grant types. @throws RpcError 13004, 13009 and -32602 */
export function logIn(exchange: Exchange, call: Call): Readonly<Record<string, unknown>> {
  const grantType = call.params.requiredString('grant_type');
  const state = call.params.optionalString('state');
  let grant: Grant | null = null;
  try {
    grant = grantFor(exchange, call, grantType);
  } finally {
    noteLogin(exchange, call, grant !== null);
  }
  if (call.connection !== null) call.connection.grant = grant;
  return { ...describeGrant(grant), ...(state === null ? {} : { state }) };
}

/** Notes a login in the account's access log: that refused ones are in it is a guess. */
function noteLogin(exchange: Exchange, { params, peer }: Call, isSuccess: boolean): void {
  const { client_id: clientId } = params.values;
  const key = typeof clientId === 'string' ? exchange.accounts.key(clientId) : undefined;
  if (key === undefined) return;
  const entry = { timestamp: exchange.now(), ip: peer, isSuccess, clientId: key.clientId };
  const login = exchange.accessLog.add(key.accountId, entry);
  exchange.hub.report({ accountId: key.accountId, login });
}

/** A pair of tokens as `public/auth`, `public/fork_token` and `public/exchange_token` answer it. */
export function describeGrant(grant: Grant): Readonly<Record<string, unknown>> {
  return {
    access_token: grant.accessToken,
    refresh_token: grant.refreshToken,
    expires_in: grant.lifeS,
    scope: grant.scope,
    token_type: 'bearer',
    enabled_features: [],
    ...(grant.session === null ? {} : { sid: grant.session.sid }),
  };
}

function grantFor(exchange: Exchange, call: Call, grantType: string): Grant {
  switch (grantType) {
    case 'client_credentials': {
      const clientId = call.params.requiredString('client_id');
      const key = keyBySecret(exchange, { clientId, secret: call.params.requiredString('client_secret') }, call.peer);
      return open(exchange, call, key);
    }
    case 'client_signature':
      return open(exchange, call, keyBySignature(exchange, call));
    case 'refresh_token':
      return refresh(exchange, call);
    default:
      throw invalidParam('grant_type', 'unknown grant type');
  }
}

function keyBySignature(exchange: Exchange, call: Call): ApiKey {
  const { params, struck } = call;
  const clientId = params.requiredString('client_id');
  const timestampMs = params.requiredInteger('timestamp');
  const signature = params.requiredString('signature');
  const nonce = params.optionalString('nonce') ?? '';
  // Some public clients send the digits as a string: they were signed as they were sent.
  const message = `${params.values.timestamp}\n${nonce}\n${params.optionalString('data') ?? ''}`;
  const nowMs = exchange.now();
  const key = knownKey(exchange, clientId);
  if (
    key === undefined ||
    // Else a signed message could be sent again with its lines split differently between nonce and data.
    nonce.includes('\n') ||
    !isTimely(timestampMs, nowMs, toleranceOf(struck)) ||
    !isUsable(key, call.peer)
  ) {
    throw invalidCredentials();
  }
  const encoding = (struck.get('signature-encoding') ?? 'base64url') as SignatureEncoding;
  if (!verifyClientSignature(key, message, { signature, encoding })) {
    throw errorOf(Number(struck.get('signature-error') ?? 13_004));
  }
  if (struck.has('nonce-once') && exchange.replays.hasNonce(clientId, nonce)) throw invalidCredentials();
  const isFresh = exchange.replays.add({ clientId, timestampMs, nonce }, nowMs);
  if (!isFresh && !struck.has('replay-accepted')) throw invalidCredentials();
  return key;
}

function toleranceOf(struck: Struck): { readonly maxAgeMs: number; readonly maxAheadMs: number } {
  return {
    maxAgeMs: struck.has('stale-accepted') ? Number.POSITIVE_INFINITY : signatureMaxAgeMs,
    maxAheadMs: Number(struck.get('future-tolerance') ?? signatureMaxAheadMs),
  };
}

function open(exchange: Exchange, call: Call, key: ApiKey): Grant {
  const request = parseScopeRequest(call.params.optionalWords('scope') ?? '');
  return mintGrant(exchange, call, { key, accountId: key.accountId, request, max: key.maxScope });
}

interface GrantRequest {
  /** Whether the scope names the main account where it is one. Default true. */
  readonly namesMain?: boolean;
  readonly key: ApiKey;
  readonly accountId: number;
  readonly request: ScopeRequest;
  readonly max: Grant['levels'];
}

/** A new pair with the levels asked for, none above `max`, for the session asked for or for the connection. */
export function mintGrant(
  exchange: Exchange,
  call: Call,
  { key, accountId, request, max, namesMain = true }: GrantRequest,
): Grant {
  const { session: name, expiresS, ip } = request;
  const known = name === null ? null : exchange.grants.session(key, name);
  const connectionId = name === null ? (call.connection?.id ?? null) : null;
  const isSession = name !== null || connectionId !== null;
  const limit = exchange.settings.sessionsPerKey;
  // Beyond the limit the oldest session ends; its connection stays open and is not notified.
  if (limit !== null && isSession && known === null && !isLoggedInOn(call, key)) {
    exchange.grants.keepNewest(key, limit - 1, exchange.now());
  }
  const levels = narrow(request.levels, max);
  const words = [name === null ? 'connection' : `session:${name}`];
  if (namesMain && exchange.accounts.actor(accountId).type === 'main') words.push('mainaccount');
  if (expiresS !== null) words.push(`expires:${expiresS}`);
  if (ip !== null) words.push(`ip:${ip}`);
  const lifeS = expiresS ?? exchange.settings.expiresInS;
  const session = name === null ? null : (known ?? newSession(name));
  const scope = formatScope(levels, words);
  const grant = exchange.grants.mint(
    { lifeS, key, accountId, levels, scope, session, connectionId, ip, sinceMs: exchange.now() },
    exchange.now(),
  );
  if (connectionId === null) exchange.saveSoon();
  return grant;
}

function isLoggedInOn(call: Call, key: ApiKey): boolean {
  return call.connection?.grant?.key === key && call.connection.grant.session === null;
}

/** The pair behind a refresh token, where it is valid for this caller. @throws RpcError 13009 */
export function grantByRefreshToken(exchange: Exchange, call: Call): Grant {
  return checkGrant(exchange.grants.byRefresh(call.params.requiredString('refresh_token'), exchange.now()), call);
}

/** The old pair is spent; a named session goes on under its id. */
function refresh(exchange: Exchange, call: Call): Grant {
  const old = grantByRefreshToken(exchange, call);
  exchange.grants.revoke(old);
  const grant = exchange.grants.mint(old, exchange.now());
  if (grant.connectionId === null) exchange.saveSoon();
  return grant;
}
