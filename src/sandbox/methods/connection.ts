import { errorOf, invalidParam, RpcError } from '../core/errors.js';
import { type Exchange, type Methods, type PrivateCall, privateMethod, publicMethod } from '../core/exchange.js';
import { optionalString, requiredInteger, requiredString } from '../core/params.js';

const version = '1.2.26';
const shortestHeartbeatS = 10;

/** What says how the exchange is, keeps a connection alive, and decides what its end means for orders. */
export const connectionMethods: Methods = {
  'public/get_time': publicMethod((exchange) => exchange.now()),

  'public/test': publicMethod((_exchange, call) => {
    if (optionalString(call.params, 'expected_result') === 'exception') throw new RpcError(10_010, 'exception');
    call.connection?.heardFrom();
    return { version };
  }),

  'public/status': publicMethod(() => ({ locked: false, locked_currencies: [], locked_indices: [] })),

  'public/hello': {
    kind: 'public',
    websocketOnly: true,
    handle(_exchange, call) {
      requiredString(call.params, 'client_name');
      requiredString(call.params, 'client_version');
      return { version };
    },
  },

  'public/set_heartbeat': {
    kind: 'public',
    websocketOnly: true,
    handle(_exchange, call) {
      const intervalS = requiredInteger(call.params, 'interval');
      if (intervalS < shortestHeartbeatS) throw invalidParam('interval', `must be at least ${shortestHeartbeatS}`);
      call.connection?.setHeartbeat(intervalS);
      return 'ok';
    },
  },

  'public/disable_heartbeat': {
    kind: 'public',
    websocketOnly: true,
    handle(_exchange, call) {
      call.connection?.setHeartbeat(null);
      return 'ok';
    },
  },

  // for the connection that asks, or for all connections of the account that do not say otherwise
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
