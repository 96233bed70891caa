/**
 * What Deribit has not documented is decided here and nowhere else. Each guess is the stricter one, so that a client that
 * passes here does not rely on leniency there.
 */

import { errorOf, invalidParam, type RpcError } from './errors.js';
import type { Order } from './orders.js';

/** How long a signature may be old (documented), and how far it may lie in the future (a guess). */
export const signatureMaxAgeMs = 60_000;
export const signatureMaxAheadMs = 60_000;

/** Life of an access token without an `expires:` word, seen on production for connection scope. */
export const defaultExpiresInS = 900;

/** How much longer than its access token a refresh token lives. */
export const refreshExtraS = 7 * 86_400;

/** The longest life that an `expires:` word can ask for. */
export const longestExpiresS = 31_536_000;

/** How many token pairs of one connection stay valid; an older one is forgotten. */
export const pairsPerConnection = 16;

/** How many token pairs are kept in all, so that memory stays bounded. */
export const pairsInAll = 100_000;

/** What another key's secret looks like for a caller that has no more than `account:read`. */
export const hiddenSecret = '********';

/** A new connection-scope pair after `public/exchange_token` also becomes the connection's own login. */
export const exchangeSwitchesConnection = true;

/** A scope request that names any group is granted no other group. */
export const unnamedGroupsAreDropped = true;

/** How many wrong codes lock the second factor, and for how long. */
export const wrongCodesUntilLock = 5;
export const secondFactorLockS = 60;

/** Which parameter -32602 names for a request about API keys that is refused, and the reason. */
const keyRefusals = {
  'no such key': { param: 'id', reason: 'key not found' },
  'nothing to reset': { param: 'id', reason: 'key has no secret to reset' },
  'one too many': { param: 'max_scope', reason: 'maximum number of api keys reached' },
  // Deribit may refuse it: the sandbox does only under a fault
  'registered already': { param: 'public_key', reason: 'already registered' },
} as const;

/** The refusal of a request about API keys. */
export function keyRefused(why: keyof typeof keyRefusals): RpcError {
  const { param, reason } = keyRefusals[why];
  return invalidParam(param, reason);
}

/** Which code an order is refused with. Neither the codes nor when each is used has been checked against the exchange. */
const orderRefusals = {
  'no such order': 10_004,
  'price too low': 10_005,
  'price too high': 10_007,
  'not enough funds': 10_009,
  'no position to close': 10_010,
  'filled already': 11_008,
  'nothing to reduce': 11_030,
  'not open': 11_044,
  'would be filled': 11_054,
} as const;

/** The refusal of an order, of a change of one, or of its cancellation. */
export function orderRefused(why: keyof typeof orderRefusals): RpcError {
  return errorOf(orderRefusals[why]);
}

/** How far from the mark price an order of a future or a spot pair may be, as a fraction of it. */
export const priceBand = 0.1;

/** By how much a future's initial margin is smaller than its value: one rate for every size of position. */
export const leverage = 50;

/** The initial margin of a short option, by amount; a long one is paid for and needs none. */
export const optionMargin = 0.15;

/** What part of the initial margin the maintenance margin is. */
export const maintenanceShare = 0.5;

/** What a taker pays, as a fraction: of the value of futures and spot, of the underlying of options. Makers pay nothing. */
export const takerCommission = { future: 0.0005, spot: 0.0005, option: 0.0003 } as const;

/** The largest part of an option's price that its commission is. */
export const optionFeeCap = 1 / 8;

/** The answer of a cancellation that is asked for in detail: a group for each instrument and type. */
export function cancelledInDetail(orders: readonly Order[], currencyOf: (order: Order) => string): readonly unknown[] {
  const groups = new Map<string, Readonly<Record<string, unknown>> & { readonly result: Order[] }>();
  for (const order of orders) {
    const { instrument_name, order_type: type } = order;
    const key = `${instrument_name} ${type}`;
    const group = groups.get(key) ?? { currency: currencyOf(order), type, instrument_name, result: [] as Order[] };
    group.result.push(order);
    groups.set(key, group);
  }
  return [...groups.values()];
}
