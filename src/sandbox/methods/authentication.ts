import { invalidParam } from '../core/errors.js';
import { type Methods, noAnswer, publicMethod, websocketMethod } from '../core/exchange.js';
import { exchangeSwitchesConnection } from '../core/guesses.js';
import { describeGrant, grantByRefreshToken, logIn, mintGrant } from '../core/login.js';
import { parseScopeRequest } from '../core/scope.js';

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
