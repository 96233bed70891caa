import { isIP } from 'node:net';
import { Secret } from '../crypto/secret.js';
import { DeribitKeysError } from '../errors.js';
import type { Account } from './account.js';
import { isRecord } from './json-rpc.js';
import { formatScope, type Scope } from './scope.js';
import { type SecondFactorOptions, withSecondFactor } from './second-factor.js';
import { fieldsOf, listOf, unexpected } from './shapes.js';

/** An API key as the exchange keeps it. */
export interface ApiKey {
  readonly keyId: number;
  readonly clientId: string;
  /** Null where the exchange does not show it: only `account:read_write` may see other keys' secrets. */
  readonly clientSecret: Secret | null;
  /** MD5 of the public key's SPKI DER, as recorded by the exchange; null for a symmetric key or a hidden one. */
  readonly fingerprint: string | null;
  /** As the exchange shows it: PEM, its newlines perhaps turned to spaces. Compare keys, not text. */
  readonly publicKey: string | null;
  readonly maxScope: string;
  readonly enabled: boolean;
  /** Empty where the key has none. */
  readonly label: string;
  readonly features: readonly string[];
  /** Addresses and subnets; empty: any address. */
  readonly ipWhitelist: readonly string[];
  /** When it was made; milliseconds since the epoch. */
  readonly timestampMs: number;
}

export type ApiKeyOptions = SecondFactorOptions;

export interface NewApiKey {
  readonly scope: string | Scope;
  readonly label?: string | undefined;
  /** SPKI PEM; a symmetric key is made where it is left out. */
  readonly publicKey?: string | undefined;
  readonly features?: readonly string[] | undefined;
}

export interface ApiKeyChange {
  readonly keyId: number;
  readonly scope: string | Scope;
  readonly label?: string | undefined;
  readonly enabled?: boolean | undefined;
  readonly features?: readonly string[] | undefined;
  /** Empty: any address again. */
  readonly ipWhitelist?: readonly string[] | undefined;
}

export interface ApiKeyId {
  readonly keyId: number;
}

/** What `enabled_features` may hold. */
export const API_KEY_FEATURES: readonly string[] = ['restricted_block_trades', 'block_trade_approval'];

const FINGERPRINT = /^[0-9a-f]{2}(:[0-9a-f]{2}){15}$/i;

/*
 * One function a method. All of them follow the second factor's challenge and throw `ERR_USAGE` for a label, feature,
 * address or id that the exchange would not take; nothing was sent then.
 */

/** Makes a key (`private/create_api_key`). A whitelist can be set afterwards only, by {@link editApiKey}. */
export function createApiKey(account: Account, params: NewApiKey, options?: ApiKeyOptions): Promise<ApiKey> {
  const { scope, label, publicKey, features } = params;
  return keyFrom(account, 'private/create_api_key', options, () => ({
    max_scope: scopeText(scope),
    ...(label === undefined ? {} : { name: checkLabel(label) }),
    ...(publicKey === undefined ? {} : { public_key: publicKey }),
    ...(features === undefined ? {} : { enabled_features: checkFeatures(features) }),
  }));
}

/** All keys of the account (`private/list_api_keys`). */
export async function listApiKeys(account: Account, options?: ApiKeyOptions): Promise<readonly ApiKey[]> {
  const method = 'private/list_api_keys';
  const result = await withSecondFactor(account, method, {}, options);
  return listOf(method, result).map((item, i) => readApiKey(method, item, `[${i}].`));
}

/** Changes a key (`private/edit_api_key`); the scope must be given each time, what is left out stays. */
export function editApiKey(account: Account, params: ApiKeyChange, options?: ApiKeyOptions): Promise<ApiKey> {
  const { keyId, scope, label, enabled, features, ipWhitelist } = params;
  return keyFrom(account, 'private/edit_api_key', options, () => ({
    id: checkId(keyId),
    max_scope: scopeText(scope),
    ...(label === undefined ? {} : { name: checkLabel(label) }),
    ...(enabled === undefined ? {} : { enabled }),
    ...(features === undefined ? {} : { enabled_features: checkFeatures(features) }),
    ...(ipWhitelist === undefined ? {} : { ip_whitelist: checkAddresses(ipWhitelist) }),
  }));
}

/** Lets a key log in again (`private/enable_api_key`). */
export function enableApiKey(account: Account, { keyId }: ApiKeyId, options?: ApiKeyOptions): Promise<ApiKey> {
  return keyFrom(account, 'private/enable_api_key', options, () => ({ id: checkId(keyId) }));
}

/** Keeps a key from logging in (`private/disable_api_key`). */
export function disableApiKey(account: Account, { keyId }: ApiKeyId, options?: ApiKeyOptions): Promise<ApiKey> {
  return keyFrom(account, 'private/disable_api_key', options, () => ({ id: checkId(keyId) }));
}

/** Removes a key for good (`private/remove_api_key`). */
export async function removeApiKey(account: Account, { keyId }: ApiKeyId, options?: ApiKeyOptions): Promise<void> {
  const method = 'private/remove_api_key';
  const result = await withSecondFactor(account, method, { id: checkId(keyId) }, options);
  if (result !== 'ok') throw unexpected(method, 'the result', '"ok"', result);
}

/** Gives a key another label (`private/change_api_key_name`). */
export function renameApiKey(
  account: Account,
  { keyId, label }: ApiKeyId & { readonly label: string },
  options?: ApiKeyOptions,
): Promise<ApiKey> {
  return keyFrom(account, 'private/change_api_key_name', options, () => ({
    id: checkId(keyId),
    name: checkLabel(label),
  }));
}

/** Gives a key another scope (`private/change_scope_in_api_key`). */
export function changeApiKeyScope(
  account: Account,
  { keyId, scope }: ApiKeyId & { readonly scope: string | Scope },
  options?: ApiKeyOptions,
): Promise<ApiKey> {
  return keyFrom(account, 'private/change_scope_in_api_key', options, () => ({
    id: checkId(keyId),
    max_scope: scopeText(scope),
  }));
}

/** Gives a symmetric key another secret (`private/reset_api_key`); what it does to an asymmetric one is unknown. */
export function resetApiKey(account: Account, { keyId }: ApiKeyId, options?: ApiKeyOptions): Promise<ApiKey> {
  return keyFrom(account, 'private/reset_api_key', options, () => ({ id: checkId(keyId) }));
}

async function keyFrom(
  account: Account,
  method: string,
  options: ApiKeyOptions | undefined,
  params: () => Readonly<Record<string, unknown>>,
): Promise<ApiKey> {
  return readApiKey(method, await withSecondFactor(account, method, params(), options));
}

function readApiKey(method: string, value: unknown, at = ''): ApiKey {
  const fields = fieldsOf(method, value, at);
  const secret = fields.optionalString('client_secret');
  return {
    keyId: fields.integer('id'),
    clientId: fields.string('client_id'),
    clientSecret: secret === null || isMask(secret) ? null : new Secret(secret),
    fingerprint: secret !== null && FINGERPRINT.test(secret) ? secret.toLowerCase() : null,
    publicKey: fields.optionalString('public_key') || null,
    maxScope:
      isRecord(value) && Array.isArray(value.max_scope)
        ? fields.strings('max_scope').join(' ')
        : fields.string('max_scope'),
    enabled: fields.boolean('enabled'),
    label: fields.optionalString('name') ?? '',
    features: fields.strings('enabled_features'),
    ipWhitelist: fields.strings('ip_whitelist'),
    timestampMs: fields.number('timestamp'),
  };
}

/** How the exchange hides a secret is not documented: a guess. */
function isMask(secret: string): boolean {
  return /^\**$/.test(secret);
}

function scopeText(scope: string | Scope): string {
  const text = typeof scope === 'string' ? scope.trim() : formatScope(scope);
  if (text === '') throw usage('the scope is empty', 'give its words, such as trade:read_write account:read');
  return text;
}

function checkId(keyId: number): number {
  if (Number.isSafeInteger(keyId) && keyId >= 0) return keyId;
  throw usage('the id of the API key is not a whole number', 'it is the number that the list of API keys shows');
}

/** Gives the label back, or throws `ERR_USAGE`: up to 16 letters, digits and underscores. */
export function checkLabel(label: string): string {
  if (/^[A-Za-z0-9_]{1,16}$/.test(label)) return label;
  throw usage(
    `the label of ${label.length} characters is not one that the exchange takes`,
    'use up to 16 letters, digits and underscores',
  );
}

/** Gives the features back, or throws `ERR_USAGE` for one that is not among {@link API_KEY_FEATURES}. */
export function checkFeatures(features: readonly string[]): readonly string[] {
  if (features.every((feature) => API_KEY_FEATURES.includes(feature))) return features;
  throw usage('a feature is unknown to the exchange', `choose from: ${API_KEY_FEATURES.join(', ')}`);
}

/** Gives the entries back, or throws `ERR_USAGE` for one that is no IP address or subnet (`ADDRESS/PREFIX`). */
export function checkAddresses(addresses: readonly string[]): readonly string[] {
  const wrong = addresses.findIndex((address) => !isAddressOrSubnet(address));
  if (wrong === -1) return addresses;
  throw usage(`entry ${wrong + 1} of the whitelist is no IP address or subnet`, 'write 203.0.113.7 or 203.0.113.0/24');
}

function isAddressOrSubnet(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/');
  const family = isIP(address);
  if (family === 0 || address.includes('%') || rest.length > 0) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128));
}

function usage(sentence: string, hint: string): DeribitKeysError {
  return new DeribitKeysError('ERR_USAGE', sentence, { hint, maybeSent: false });
}
