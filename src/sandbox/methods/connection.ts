import type { Channel } from '../channels/hub.js';
import { findChannel, isRaw } from '../channels/table.js';
import { allowedLevels, isLoggedIn } from '../core/access.js';
import { errorOf, invalidParam, RpcError } from '../core/errors.js';
import {
  type Call,
  type Exchange,
  type Methods,
  noAnswer,
  type PrivateCall,
  type PrivateMethod,
  privateMethod,
  publicMethod,
  websocketMethod,
} from '../core/exchange.js';
import { exchangeSwitchesConnection } from '../core/guesses.js';
import { describeGrant, grantByRefreshToken, logIn, mintGrant } from '../core/login.js';
import { parseScopeRequest } from '../core/scope.js';
import type { Grant } from '../core/tokens.js';

const version = '1.2.26';
const shortestHeartbeatS = 10;

/** The state of the exchange, heartbeats, cancel on disconnect, and subscriptions. */
export const connectionMethods: Methods = {
  'public/get_time': publicMethod((exchange) => exchange.now()),

  'public/test': publicMethod((_exchange, call) => {
    if (call.params.optionalString('expected_result') === 'exception') throw new RpcError(10_010, 'exception');
    call.connection?.heardFrom();
    return { version };
  }),

  'public/status': publicMethod(() => ({ locked: false, locked_currencies: [], locked_indices: [] })),

  'public/hello': websocketMethod('public', (_exchange, { params }) => {
    params.requiredString('client_name');
    params.requiredString('client_version');
    return { version };
  }),

  'public/set_heartbeat': websocketMethod('public', (_exchange, { params, connection }) => {
    const intervalS = params.requiredInteger('interval');
    if (intervalS < shortestHeartbeatS) throw invalidParam('interval', `must be at least ${shortestHeartbeatS}`);
    connection?.setHeartbeat(intervalS);
    return 'ok';
  }),

  'public/disable_heartbeat': websocketMethod('public', (_exchange, { connection }) => {
    connection?.setHeartbeat(null);
    return 'ok';
  }),

  // for the connection that asks, or for all connections of the account that do not say otherwise
  'private/enable_cancel_on_disconnect': setCancelOnDisconnect(true),
  'private/disable_cancel_on_disconnect': setCancelOnDisconnect(false),
  'private/get_cancel_on_disconnect': privateMethod('account', 'read', (exchange, call) => {
    const scope = readScope(call);
    const ofAccount = exchange.accounts.actor(call.grant.accountId).cancelOnDisconnect;
    return { scope, enabled: scope === 'account' ? ofAccount : (call.connection?.cancelOnDisconnect ?? ofAccount) };
  }),

  'public/subscribe': websocketMethod('public', (exchange, call) => subscribe(exchange, call, null)),
  'private/subscribe': websocketMethod('private', subscribe),
  'public/unsubscribe': websocketMethod('public', unsubscribe),
  'private/unsubscribe': websocketMethod('private', unsubscribe),
  'public/unsubscribe_all': websocketMethod('public', (exchange, call) => unsubscribeAll(exchange, call, false)),
  'private/unsubscribe_all': websocketMethod('private', (exchange, call) => unsubscribeAll(exchange, call, true)),
};

function setCancelOnDisconnect(isEnabled: boolean): PrivateMethod {
  return privateMethod('account', 'read_write', (exchange, call) => {
    if (readScope(call) === 'account') exchange.accounts.actor(call.grant.accountId).cancelOnDisconnect = isEnabled;
    else if (call.connection !== null) call.connection.cancelOnDisconnect = isEnabled;
    return 'ok';
  });
}

function readScope({ params, connection }: PrivateCall): 'connection' | 'account' {
  const scope = params.optionalString('scope') ?? 'connection';
  if (scope !== 'connection' && scope !== 'account') throw invalidParam('scope', 'unknown scope');
  if (scope === 'connection' && connection === null) throw errorOf(10_030);
  return scope;
}

/**
 * Answers the channels that were subscribed to. Unknown ones are left out, and so is a private one of a public
 * subscription: widespread clients ask for channels of currencies that have none, and go on.
 */
function subscribe(exchange: Exchange, call: Call, grant: Grant | null): readonly string[] {
  const names = call.params.requiredStrings('channels');
  const mayBeRaw = grant !== null || isLoggedIn(exchange, call) || call.struck.has('raw-without-login');
  if (!mayBeRaw && names.some(isRaw)) throw errorOf(13_778);
  const accountId = grant?.accountId ?? null;
  const given = names.flatMap((name) => {
    const channel = findChannel({ exchange, accountId }, name);
    if (channel === null) exchange.remark('unknown-channel', name);
    return channel === null || (grant === null && channel.readableBy !== null) ? [] : [{ name, channel }];
  });
  for (const { channel } of given) checkReadable(channel, grant);
  const { connection } = call;
  if (connection !== null) {
    for (const { name, channel } of given) exchange.hub.subscribe(connection, { name, channel, accountId });
  }
  return [...new Set(given.map(({ name }) => name))];
}

/** @throws RpcError 13021 unless the login may read one of the groups that the channel is for */
function checkReadable({ readableBy }: Channel, grant: Grant | null): void {
  if (grant === null || readableBy === null) return;
  if (!readableBy.some((group) => (allowedLevels(grant)[group] ?? 0) >= 1)) throw errorOf(13_021);
}

function unsubscribe(exchange: Exchange, call: Call): readonly string[] {
  const names = call.params.requiredStrings('channels');
  const { connection } = call;
  const had = names.filter((name) => connection?.channels.has(name));
  if (connection !== null) for (const name of had) exchange.hub.unsubscribe(connection, name);
  return [...new Set(had)];
}

/** Over a private method all subscriptions end, over the public one those to public channels. */
function unsubscribeAll(exchange: Exchange, { connection }: Call, privateToo: boolean): 'ok' {
  if (connection !== null) exchange.hub.unsubscribeAll(connection, privateToo);
  return 'ok';
}

/** Logging in and out, and what can be made of a refresh token. */
export const authenticationMethods: Methods = {
  'public/auth': publicMethod(logIn),

  'public/fork_token': publicMethod((exchange, call) => {
    const name = call.params.requiredString('session_name');
    const request = parseScopeRequest(`session:${name}`);
    if (request.session !== name) throw invalidParam('session_name', 'wrong format');
    const old = grantByRefreshToken(exchange, call);
    if (old.session === null) throw invalidParam('refresh_token', 'must be of session scope');
    const { key, accountId, levels, ip, lifeS } = old;
    const fork = { ...request, ip, expiresS: old.scope.includes('expires:') ? lifeS : null };
    return describeGrant(mintGrant(exchange, call, { key, accountId, request: { ...fork, levels }, max: levels }));
  }),

  'public/exchange_token': publicMethod((exchange, call) => {
    const accountId = call.params.requiredInteger('subject_id');
    const wanted = parseScopeRequest(call.params.optionalWords('scope') ?? '');
    const old = grantByRefreshToken(exchange, call);
    const isOfMain = exchange.accounts.actor(old.key.accountId).type === 'main';
    const isKnown = exchange.accounts.account(accountId) !== undefined;
    if (!isKnown || (!isOfMain && accountId !== old.accountId)) throw invalidParam('subject_id', 'no such account');
    const request = { ...wanted, session: wanted.session ?? old.session?.name ?? null, ip: wanted.ip ?? old.ip };
    const namesMain = call.params.values.scope === undefined;
    const grant = mintGrant(exchange, call, { key: old.key, accountId, request, max: old.levels, namesMain });
    if (request.session === null) exchange.grants.revoke(old);
    if (exchangeSwitchesConnection && call.connection !== null) call.connection.grant = grant;
    return describeGrant(grant);
  }),

  'private/logout': websocketMethod('private', (exchange, { params, connection }, grant) => {
    if (grant !== null && (params.optionalBoolean('invalidate_token') ?? true)) {
      exchange.grants.revokeSession(grant);
      exchange.saveSoon();
    }
    if (connection !== null) connection.loggedOut = true;
    connection?.close(1000);
    return noAnswer;
  }),
};
