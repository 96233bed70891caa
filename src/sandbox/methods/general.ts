import { invalidParam, RpcError } from '../core/errors.js';
import { type Methods, publicMethod } from '../core/exchange.js';
import { optionalString, requiredInteger, requiredString } from '../core/params.js';

const version = '1.2.26';
const shortestHeartbeatS = 10;

/** What says how the exchange is, and keeps a connection alive. */
export const generalMethods: Methods = {
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
};
