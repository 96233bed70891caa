import type { AddKeyRequest } from '../core/accounts.js';
import { invalidParam, SandboxError } from '../core/errors.js';
import { type Methods, type PublicMethod, publicMethod } from '../core/exchange.js';
import { optionalInteger, optionalString, type Params, requiredString, requiredStrings } from '../core/params.js';

/** The sandbox's own methods, which no exchange has: they exist with `faultApi` only, and no fault strikes them. */
export const controlMethods: Methods = {
  'sandbox/set_faults': control('faults', (exchange, { params }) => {
    exchange.faults.set(requiredStrings(params, 'faults'));
    return 'ok';
  }),
  'sandbox/add_fault': control('fault', (exchange, { params }) => {
    exchange.faults.add(requiredString(params, 'fault'));
    return 'ok';
  }),
  'sandbox/clear_faults': publicMethod((exchange) => {
    exchange.faults.clear();
    return 'ok';
  }),
  'sandbox/calls': publicMethod((exchange) => exchange.calls.list()),
  'sandbox/orders': publicMethod((exchange) => exchange.orders.list()),
  'sandbox/restart': publicMethod((exchange, { params }) => {
    const downMs = optionalInteger(params, 'down_ms') ?? 0;
    if (downMs < 0) throw invalidParam('down_ms', 'must not be negative');
    exchange.control.restart(downMs);
    return 'ok';
  }),
  'sandbox/drop_connections': publicMethod((exchange) => {
    exchange.control.dropConnections();
    return 'ok';
  }),
  'sandbox/broadcast': publicMethod((exchange, { params }) => {
    exchange.control.broadcast(requiredString(params, 'frame'));
    return 'ok';
  }),
  'sandbox/add_key': control('public_key', (exchange, { params }) => exchange.control.addKey(readRequest(params))),
};

/** A method that answers a SandboxError with -32602 that names `param`. */
function control(param: string, handle: PublicMethod['handle']): PublicMethod {
  return publicMethod((exchange, call) => {
    try {
      return handle(exchange, call);
    } catch (error) {
      if (error instanceof SandboxError) throw invalidParam(param, error.message);
      throw error;
    }
  });
}

function readRequest(params: Params): AddKeyRequest {
  const publicKey = optionalString(params, 'public_key');
  const maxScope = optionalString(params, 'max_scope');
  const name = optionalString(params, 'name');
  const accountId = optionalInteger(params, 'account_id');
  return {
    ...(publicKey === null ? {} : { publicKey }),
    ...(maxScope === null ? {} : { maxScope }),
    ...(name === null ? {} : { name }),
    ...(accountId === null ? {} : { accountId }),
  };
}
