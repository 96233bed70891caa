import type { Method, Methods } from '../core/exchange.js';
import { accountMethods } from './account.js';
import { apiKeyMethods } from './api-keys.js';
import { authenticationMethods } from './authentication.js';
import { connectionMethods } from './connection.js';
import { controlMethods } from './control.js';
import { historyMethods } from './history.js';
import { marketMethods } from './market.js';
import { tradeMethods } from './trade.js';

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
