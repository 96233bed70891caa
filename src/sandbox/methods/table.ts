import { type AddKeyRequest, addKeyOfWebPage } from '../core/accounts.js';
import { invalidParam, SandboxError } from '../core/errors.js';
import { type Method, type Methods, type PublicMethod, publicMethod } from '../core/exchange.js';
import type { Params } from '../core/params.js';
import { accountMethods } from './account.js';
import { apiKeyMethods } from './api-keys.js';
import { authenticationMethods, connectionMethods } from './connection.js';
import { historyMethods } from './history.js';
import { marketMethods } from './market.js';
import { tradeMethods } from './trade.js';

/** The sandbox's own methods, which no exchange has: they exist with `faultApi` only, and no fault strikes them. */
const controlMethods: Methods = {
  'sandbox/set_faults': control('faults', (exchange, { params }) =>
    exchange.faults.set(params.requiredStrings('faults')),
  ),
  'sandbox/add_fault': control('fault', (exchange, { params }) => exchange.faults.add(params.requiredString('fault'))),
  'sandbox/clear_faults': acting((exchange) => exchange.faults.clear()),
  'sandbox/calls': publicMethod((exchange) => exchange.calls.list()),
  'sandbox/orders': publicMethod((exchange) => exchange.orders.list()),
  'sandbox/restart': acting((exchange, { params }) => {
    const downMs = params.optionalInteger('down_ms') ?? 0;
    if (downMs < 0) throw invalidParam('down_ms', 'must not be negative');
    exchange.control.restart(downMs);
  }),
  'sandbox/drop_connections': acting((exchange) => exchange.control.dropConnections()),
  'sandbox/broadcast': acting((exchange, { params }) => exchange.control.broadcast(params.requiredString('frame'))),
  'sandbox/add_key': control('public_key', (exchange, { params }) => addKeyOfWebPage(exchange, readRequest(params))),
};

/** A method that answers `ok` where `handle` returns nothing. */
function acting(handle: PublicMethod['handle']): PublicMethod {
  return publicMethod((exchange, call) => handle(exchange, call) ?? 'ok');
}

/** Such a method that answers a SandboxError with -32602 that names `param`. */
function control(param: string, handle: PublicMethod['handle']): PublicMethod {
  return acting((exchange, call) => {
    try {
      return handle(exchange, call);
    } catch (error) {
      if (error instanceof SandboxError) throw invalidParam(param, error.message);
      throw error;
    }
  });
}

function readRequest(params: Params): AddKeyRequest {
  const publicKey = params.optionalString('public_key');
  const maxScope = params.optionalString('max_scope');
  const name = params.optionalString('name');
  const accountId = params.optionalInteger('account_id');
  return {
    ...(publicKey === null ? {} : { publicKey }),
    ...(maxScope === null ? {} : { maxScope }),
    ...(name === null ? {} : { name }),
    ...(accountId === null ? {} : { accountId }),
  };
}

/** Methods of the exchange, by name. */
export const exchangeMethods = tableOf(
  authenticationMethods,
  apiKeyMethods,
  connectionMethods,
  accountMethods,
  marketMethods,
  tradeMethods,
  historyMethods,
);
/** The sandbox's own methods, which exist with `faultApi` only. */
export const ownMethods = tableOf(controlMethods);

/** Every method of the exchange, by name. */
export const methodNames: readonly string[] = [...exchangeMethods.keys()];

function tableOf(...groups: readonly Methods[]): ReadonlyMap<string, Method> {
  return new Map(groups.flatMap((group) => Object.entries(group)));
}
