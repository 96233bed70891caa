import { allowedLevels } from '../core/access.js';
import { type ApiKey, describeKey, makeKey, parseIpList } from '../core/accounts.js';
import { randomText } from '../core/encoding.js';
import { invalidParam, missingParam, RpcError } from '../core/errors.js';
import { type Exchange, type Methods, type PrivateCall, type PrivateMethod, privateMethod } from '../core/exchange.js';
import { hiddenSecret, noSuchKey, resetOfAsymmetricKey, tooManyKeys } from '../core/guesses.js';
import {
  optionalBoolean,
  optionalString,
  optionalStrings,
  optionalWords,
  type Params,
  requiredInteger,
  requiredString,
} from '../core/params.js';
import { type RegisteredKey, readPublicKey } from '../core/public-key.js';
import { type Levels, parseMaxScope, within } from '../core/scope.js';
import type { Grant } from '../core/tokens.js';

const knownFeatures = new Set(['restricted_block_trades', 'block_trade_approval']);

/** The life of API keys (protocol: `private/…_api_key`). */
export const apiKeyMethods: Methods = {
  'private/create_api_key': {
    ...privateMethod('account', 'read_write', (exchange, call) => {
      const { params, grant } = call;
      const maxScope = readMaxScope(params, grant);
      const name = readName(params) ?? '';
      const features = readFeatures(params) ?? [];
      const publicKey = readKey(params);
      const { accountId } = grant;
      if (exchange.accounts.actor(accountId).keys.size >= exchange.keyLimit) throw tooManyKeys();
      const id = exchange.accounts.takeKeyId();
      const key = makeKey({ id, accountId, publicKey, maxScope, name, features, timestampMs: exchange.now() });
      exchange.accounts.add(key);
      exchange.saveNow();
      return describeKey(key);
    }),
    secondFactor: true,
  },

  'private/list_api_keys': {
    ...privateMethod('account', 'read', (exchange, { grant }) => {
      const keys = [...exchange.accounts.actor(grant.accountId).keys.values()];
      const seesSecrets = allowedLevels(grant).account === 2;
      return keys.map((key) => {
        const shown = describeKey(key);
        return seesSecrets || key === grant.key ? shown : { ...shown, client_secret: hiddenSecret };
      });
    }),
    secondFactor: true,
  },

  'private/edit_api_key': {
    ...changing((key, exchange, { params, grant }) => {
      const maxScope = readMaxScope(params, grant);
      const name = readName(params) ?? key.name;
      const enabled = optionalBoolean(params, 'enabled') ?? key.enabled;
      const features = readFeatures(params) ?? key.features;
      const ipWhitelist = optionalStrings(params, 'ip_whitelist') ?? key.ipWhitelist;
      const allowed = parseIpList(ipWhitelist);
      if (allowed === null) throw invalidParam('ip_whitelist', 'must be a list of addresses or subnets');
      Object.assign(key, { maxScope, name, enabled, features, ipWhitelist: [...ipWhitelist], allowed });
      if (!enabled) endSessions(exchange, key);
    }),
    secondFactor: true,
  },

  'private/enable_api_key': changing((key) => {
    key.enabled = true;
  }),

  'private/disable_api_key': {
    ...changing((key, exchange) => {
      key.enabled = false;
      endSessions(exchange, key);
    }),
    secondFactor: true,
  },

  'private/change_scope_in_api_key': {
    ...changing((key, _exchange, { params, grant }) => {
      key.maxScope = readMaxScope(params, grant);
    }),
    secondFactor: true,
  },

  'private/change_api_key_name': changing((key, _exchange, { params }) => {
    requiredString(params, 'name');
    key.name = readName(params) ?? '';
  }),

  'private/reset_api_key': changing((key, exchange) => {
    if (key.publicKey !== null) throw resetOfAsymmetricKey();
    key.secret = randomText(32);
    key.timestampMs = exchange.now();
    endSessions(exchange, key);
  }),

  'private/remove_api_key': privateMethod('account', 'read_write', (exchange, call) => {
    const key = ownKey(exchange, call);
    exchange.accounts.remove(key);
    endSessions(exchange, key);
    exchange.saveNow();
    return 'ok';
  }),
};

type Change = (key: ApiKey, exchange: Exchange, call: PrivateCall) => void;

/** A method that changes one key and answers it. A change that throws must not have begun. */
function changing(change: Change): PrivateMethod {
  return privateMethod('account', 'read_write', (exchange, call) => {
    const key = ownKey(exchange, call);
    change(key, exchange, call);
    exchange.saveNow();
    return describeKey(key);
  });
}

function endSessions(exchange: Exchange, key: ApiKey): void {
  exchange.grants.revokeKey(key);
}

/** The account's key of that `id`; 13403 where it may do more than the caller. */
function ownKey(exchange: Exchange, { params, grant }: PrivateCall): ApiKey {
  const key = exchange.accounts.actor(grant.accountId).keys.get(requiredInteger(params, 'id'));
  if (key === undefined) throw noSuchKey();
  checkWithin(key.maxScope, grant);
  return key;
}

function readMaxScope(params: Params, grant: Grant): Levels {
  const text = optionalWords(params, 'max_scope');
  if (text === null) throw missingParam('max_scope');
  const levels = parseMaxScope(text);
  if (levels === null) throw invalidParam('max_scope', 'wrong format');
  checkWithin(levels, grant);
  return levels;
}

function checkWithin(levels: Levels, grant: Grant): void {
  if (!within(levels, allowedLevels(grant))) throw new RpcError(13_403, 'scope_exceeded');
}

function readName(params: Params): string | null {
  const name = optionalString(params, 'name');
  if (name !== null && !/^[A-Za-z0-9_]{0,16}$/.test(name)) throw invalidParam('name', 'wrong format');
  return name;
}

function readFeatures(params: Params): readonly string[] | null {
  const features = optionalStrings(params, 'enabled_features');
  if (features?.some((feature) => !knownFeatures.has(feature)))
    throw invalidParam('enabled_features', 'unknown feature');
  return features === null ? null : [...new Set(features)];
}

function readKey(params: Params): RegisteredKey | null {
  const text = optionalString(params, 'public_key');
  if (text === null) return null;
  const key = readPublicKey(text);
  if (key === null) throw invalidParam('public_key', 'must be an SPKI PEM of Ed25519 or of RSA with 2048 bits or more');
  return key;
}
