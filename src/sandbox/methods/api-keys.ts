import { allowedLevels } from '../core/access.js';
import { type ApiKey, describeKey, makeKey, parseIpList } from '../core/accounts.js';
import { errorOf, invalidParam, missingParam } from '../core/errors.js';
import { type Exchange, type Methods, type PrivateCall, type PrivateMethod, privateMethod } from '../core/exchange.js';
import { hiddenSecret, keyRefused } from '../core/guesses.js';
import type { Params } from '../core/params.js';
import { type Levels, parseMaxScope, within } from '../core/scope.js';
import { type RegisteredKey, randomText, readPublicKey } from '../core/signature.js';
import type { Grant } from '../core/tokens.js';

const knownFeatures = new Set(['restricted_block_trades', 'block_trade_approval']);

/** `private/…_api_key`, and `private/list_api_keys`. */
export const apiKeyMethods: Methods = {
  'private/create_api_key': privateMethod('account', 'read_write', (exchange, call) => {
    const { params, struck } = call;
    const maxScope = readMaxScope(call);
    const name = readName(call) ?? '';
    const features = readFeatures(params) ?? [];
    const publicKey = readKey(params);
    const { accountId } = call.grant;
    if (struck.has('duplicate-key-refused')) checkNotTaken(exchange, accountId, publicKey);
    if (exchange.accounts.actor(accountId).keys.size >= exchange.settings.keyLimit) throw keyRefused('one too many');
    const id = exchange.accounts.takeKeyId();
    const key = makeKey({ id, accountId, publicKey, maxScope, name, features, timestampMs: exchange.now() });
    exchange.accounts.add(key);
    exchange.saveNow();
    return describeKey(key);
  }),

  'private/list_api_keys': privateMethod('account', 'read', (exchange, { grant }) => {
    const keys = [...exchange.accounts.actor(grant.accountId).keys.values()];
    const seesSecrets = allowedLevels(grant).account === 2;
    return keys.map((key) => {
      const shown = describeKey(key);
      return seesSecrets || key === grant.key ? shown : { ...shown, client_secret: hiddenSecret };
    });
  }),

  'private/edit_api_key': changing((key, exchange, call) => {
    const { params } = call;
    const maxScope = readMaxScope(call);
    const name = readName(call) ?? key.name;
    const enabled = params.optionalBoolean('enabled') ?? key.enabled;
    const features = readFeatures(params) ?? key.features;
    const ipWhitelist = params.optionalStrings('ip_whitelist') ?? key.ipWhitelist;
    const allowed = parseIpList(ipWhitelist);
    if (allowed === null) throw invalidParam('ip_whitelist', 'must be a list of addresses or subnets');
    Object.assign(key, { maxScope, name, enabled, features, ipWhitelist: [...ipWhitelist], allowed });
    if (!enabled) exchange.grants.revokeKey(key);
  }),

  'private/enable_api_key': changing((key) => {
    key.enabled = true;
  }),

  'private/disable_api_key': changing((key, exchange) => {
    key.enabled = false;
    exchange.grants.revokeKey(key);
  }),

  'private/change_scope_in_api_key': changing((key, _exchange, call) => {
    key.maxScope = readMaxScope(call);
  }),

  'private/change_api_key_name': changing((key, _exchange, call) => {
    call.params.requiredString('name');
    key.name = readName(call) ?? '';
  }),

  'private/reset_api_key': changing((key, exchange, { struck }) => {
    if (key.publicKey !== null) {
      if (!struck.has('reset-asymmetric')) throw keyRefused('nothing to reset');
      if (struck.get('reset-asymmetric') === 'same') return;
    }
    key.publicKey = null;
    key.secret = randomText(32);
    key.timestampMs = exchange.now();
    exchange.grants.revokeKey(key);
  }),

  'private/remove_api_key': privateMethod('account', 'read_write', (exchange, call) => {
    const key = ownKey(exchange, call);
    exchange.accounts.remove(key);
    exchange.grants.revokeKey(key);
    exchange.saveNow();
    return 'ok';
  }),
};

/** A method that changes one key and answers with it. A change that throws must not have changed anything. */
function changing(change: (key: ApiKey, exchange: Exchange, call: PrivateCall) => void): PrivateMethod {
  return privateMethod('account', 'read_write', (exchange, call) => {
    const key = ownKey(exchange, call);
    change(key, exchange, call);
    exchange.saveNow();
    return describeKey(key);
  });
}

/** The account's key of that `id`; 13403 where it may do more than the caller. */
function ownKey(exchange: Exchange, { params, grant }: PrivateCall): ApiKey {
  const key = exchange.accounts.actor(grant.accountId).keys.get(params.requiredInteger('id'));
  if (key === undefined) throw keyRefused('no such key');
  checkWithin(key.maxScope, grant);
  return key;
}

function readMaxScope({ params, grant, struck }: PrivateCall): Levels {
  if (struck.has('scope-array-refused')) params.optionalString('max_scope');
  const text = params.optionalWords('max_scope');
  if (text === null) throw missingParam('max_scope');
  const levels = parseMaxScope(text);
  if (levels === null) throw invalidParam('max_scope', 'wrong format');
  checkWithin(levels, grant);
  return levels;
}

function checkWithin(levels: Levels, grant: Grant): void {
  if (!within(levels, allowedLevels(grant))) throw errorOf(13_403);
}

function readName({ params, struck }: PrivateCall): string | null {
  const name = params.optionalString('name');
  const form = struck.has('long-names') ? /^[A-Za-z0-9_]*$/ : /^[A-Za-z0-9_]{0,16}$/;
  if (name !== null && !form.test(name)) throw invalidParam('name', 'wrong format');
  return name;
}

function readFeatures(params: Params): readonly string[] | null {
  const features = params.optionalStrings('enabled_features');
  if (features?.some((feature) => !knownFeatures.has(feature)))
    throw invalidParam('enabled_features', 'unknown feature');
  return features === null ? null : [...new Set(features)];
}

function readKey(params: Params): RegisteredKey | null {
  const text = params.optionalString('public_key');
  if (text === null) return null;
  const key = readPublicKey(text);
  if (key === null) throw invalidParam('public_key', 'must be an SPKI PEM of Ed25519 or of RSA with 2048 bits or more');
  return key;
}

function checkNotTaken(exchange: Exchange, accountId: number, publicKey: RegisteredKey | null): void {
  const keys = [...exchange.accounts.actor(accountId).keys.values()];
  if (publicKey !== null && keys.some((key) => key.publicKey?.fingerprint === publicKey.fingerprint)) {
    throw keyRefused('registered already');
  }
}
