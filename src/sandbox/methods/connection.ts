import { errorOf, invalidParam } from '../core/errors.js';
import type { Exchange, Methods, PrivateCall } from '../core/exchange.js';
import { privateMethod } from '../core/exchange.js';
import { optionalString } from '../core/params.js';

/** Cancel on disconnect: for the connection that asks, or for all connections of the account that do not say otherwise. */
export const connectionMethods: Methods = {
  'private/enable_cancel_on_disconnect': privateMethod('account', 'read_write', (exchange, call) =>
    setCancelOnDisconnect(exchange, call, true),
  ),

  'private/disable_cancel_on_disconnect': privateMethod('account', 'read_write', (exchange, call) =>
    setCancelOnDisconnect(exchange, call, false),
  ),

  'private/get_cancel_on_disconnect': privateMethod('account', 'read', (exchange, call) => {
    const scope = readScope(call);
    const ofAccount = exchange.accounts.actor(call.grant.accountId).cancelOnDisconnect;
    return { scope, enabled: scope === 'account' ? ofAccount : (call.connection?.cancelOnDisconnect ?? ofAccount) };
  }),
};

function setCancelOnDisconnect(exchange: Exchange, call: PrivateCall, isEnabled: boolean): 'ok' {
  if (readScope(call) === 'account') exchange.accounts.actor(call.grant.accountId).cancelOnDisconnect = isEnabled;
  else if (call.connection !== null) call.connection.cancelOnDisconnect = isEnabled;
  return 'ok';
}

function readScope({ params, connection }: PrivateCall): 'connection' | 'account' {
  const scope = optionalString(params, 'scope') ?? 'connection';
  if (scope !== 'connection' && scope !== 'account') throw invalidParam('scope', 'unknown scope');
  if (scope === 'connection' && connection === null) throw errorOf(10_030);
  return scope;
}
