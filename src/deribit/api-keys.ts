import { isIP } from 'node:net';
import { normaliseFingerprint } from '../crypto/fingerprint.js';
import { Secret } from '../crypto/secret.js';
import { usageError } from '../errors.js';
import { isRecord } from '../util/checks.js';
import { defined } from '../util/defined.js';
import type { Account, Call } from './auth.js';
import { formatScope, type Scope } from './scope.js';
import { type SecondFactorOptions, withSecondFactor } from './second-factor.js';
import { fieldsOf, isWord, listOf, unexpected } from './shapes.js';

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
  /** Null where the exchange does not say. */
  readonly enabled: boolean | null;
  /** Empty where the key has none. */
  readonly label: string;
  readonly features: readonly string[];
  /** Addresses and subnets; empty: any address. */
  readonly ipWhitelist: readonly string[];
  /** When it was made, in milliseconds since the epoch; null where the exchange does not say. */
  readonly timestampMs: number | null;
}

/** The options of every method on API keys; all of them may require a second factor. */
export type ApiKeyOptions = SecondFactorOptions;

/** What can be set when a key is made and each time it is changed. */
export interface ApiKeyFields {
  readonly scope: string | Scope;
  readonly label?: string | undefined;
  readonly features?: readonly string[] | undefined;
  /**
   * Whether label, features and addresses are what the exchange itself showed: they are sent as they are then, since it may
   * know some that this version does not. What a user chose is checked first.
   */
  readonly asShown?: boolean | undefined;
}

/** The key that {@link createApiKey} makes. */
export interface NewApiKey extends ApiKeyFields {
  /** SPKI PEM; a symmetric key is made where it is left out. */
  readonly publicKey?: string | undefined;
}

/** What {@link editApiKey} sets: the scope always, the rest where it is given. */
export interface ApiKeyChange extends ApiKeyFields {
  readonly keyId: number;
  readonly enabled?: boolean | undefined;
  /** Empty: any address again. */
  readonly ipWhitelist?: readonly string[] | undefined;
}

/** Which API key: its numeric id in the account's list. */
export interface ApiKeyId {
  readonly keyId: number;
}

/** What `enabled_features` may hold. */
export const API_KEY_FEATURES: readonly string[] = ['restricted_block_trades', 'block_trade_approval'];

/*
 * One function for each method. All of them answer a second factor's challenge.
 */

/**
 * Makes a key (`private/create_api_key`). A whitelist can only be set afterwards, by {@link editApiKey}.
 * @throws `ERR_USAGE`, `ERR_SECOND_FACTOR_REQUIRED`, `ERR_SECOND_FACTOR_REFUSED`, and as `call` does
 */
export async function createApiKey(account: Account, params: NewApiKey, options?: ApiKeyOptions): Promise<ApiKey> {
  const { publicKey } = params;
  const sent = { ...fieldsSent(params), ...defined({ public_key: publicKey }) };
  return keyFrom(account, { method: 'private/create_api_key', params: sent, ...options });
}

const LIST = 'private/list_api_keys';

/**
 * All keys of the account (`private/list_api_keys`).
 * @throws `ERR_USAGE`, `ERR_SECOND_FACTOR_REQUIRED`, `ERR_SECOND_FACTOR_REFUSED`, and as `call` does
 */
export async function listApiKeys(account: Account, options?: ApiKeyOptions): Promise<readonly ApiKey[]> {
  const result = await withSecondFactor(account, { method: LIST, ...options });
  return listOf(LIST, result).map((item, i) => readApiKey(LIST, item, `[${i}].`));
}

/**
 * The same for work that must not fail because of what one key looks like: only its id is required. What cannot be read is
 * taken as not shown; a client id or scope is empty then.
 * @returns the keys, and how many entries of the answer have no usable id
 */
export async function listReadableApiKeys(
  account: Account,
  options?: ApiKeyOptions,
): Promise<{ readonly keys: readonly ApiKey[]; readonly unreadable: number }> {
  const items = listOf(LIST, await withSecondFactor(account, { method: LIST, ...options }));
  const keys = items
    .filter(isRecord)
    .filter(({ id }) => Number.isSafeInteger(id))
    .map((item) => readApiKey(LIST, readable(item)));
  return { keys, unreadable: items.length - keys.length };
}

/** The fields of an API key that are of the form known here. */
function readable(item: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const text = (value: unknown) => (typeof value === 'string' ? value : undefined);
  const texts = (value: unknown) =>
    Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : undefined;
  return {
    id: item.id,
    client_id: isWord(item.client_id) ? item.client_id : '',
    client_secret: text(item.client_secret),
    public_key: text(item.public_key),
    max_scope: text(item.max_scope) ?? texts(item.max_scope) ?? '',
    enabled: typeof item.enabled === 'boolean' ? item.enabled : undefined,
    name: text(item.name),
    enabled_features: texts(item.enabled_features),
    ip_whitelist: texts(item.ip_whitelist),
    timestamp: Number.isFinite(item.timestamp) ? item.timestamp : undefined,
  };
}

/**
 * Changes a key (`private/edit_api_key`); the scope must be given each time, what is left out stays.
 * @throws `ERR_USAGE`, `ERR_SECOND_FACTOR_REQUIRED`, `ERR_SECOND_FACTOR_REFUSED`, and as `call` does
 */
export async function editApiKey(account: Account, params: ApiKeyChange, options?: ApiKeyOptions): Promise<ApiKey> {
  const { keyId, enabled, ipWhitelist, asShown } = params;
  const addresses = ipWhitelist === undefined || asShown ? ipWhitelist : checkAddresses(ipWhitelist);
  const sent = { id: checkId(keyId), ...fieldsSent(params), ...defined({ enabled, ip_whitelist: addresses }) };
  return keyFrom(account, { method: 'private/edit_api_key', params: sent, ...options });
}

/**
 * Lets a key log in again (`private/enable_api_key`).
 * @throws `ERR_USAGE`, `ERR_SECOND_FACTOR_REQUIRED`, `ERR_SECOND_FACTOR_REFUSED`, and as `call` does
 */
export async function enableApiKey(account: Account, { keyId }: ApiKeyId, options?: ApiKeyOptions): Promise<ApiKey> {
  return keyFrom(account, { method: 'private/enable_api_key', params: { id: checkId(keyId) }, ...options });
}

/**
 * Keeps a key from logging in (`private/disable_api_key`).
 * @throws `ERR_USAGE`, `ERR_SECOND_FACTOR_REQUIRED`, `ERR_SECOND_FACTOR_REFUSED`, and as `call` does
 */
export async function disableApiKey(account: Account, { keyId }: ApiKeyId, options?: ApiKeyOptions): Promise<ApiKey> {
  return keyFrom(account, { method: 'private/disable_api_key', params: { id: checkId(keyId) }, ...options });
}

/**
 * Removes a key for good (`private/remove_api_key`).
 * @throws `ERR_USAGE`, `ERR_SECOND_FACTOR_REQUIRED`, `ERR_SECOND_FACTOR_REFUSED`, and as `call` does
 */
export async function removeApiKey(account: Account, { keyId }: ApiKeyId, options?: ApiKeyOptions): Promise<void> {
  const method = 'private/remove_api_key';
  const result = await withSecondFactor(account, { method, params: { id: checkId(keyId) }, ...options });
  if (result !== 'ok') throw unexpected({ method, field: 'the result', expected: '"ok"', value: result });
}

/**
 * Changes the label of a key (`private/change_api_key_name`).
 * @throws `ERR_USAGE`, `ERR_SECOND_FACTOR_REQUIRED`, `ERR_SECOND_FACTOR_REFUSED`, and as `call` does
 */
export async function renameApiKey(
  account: Account,
  { keyId, label }: ApiKeyId & { readonly label: string },
  options?: ApiKeyOptions,
): Promise<ApiKey> {
  const params = { id: checkId(keyId), name: checkLabel(label) };
  return keyFrom(account, { method: 'private/change_api_key_name', params, ...options });
}

/**
 * Changes the scope of a key (`private/change_scope_in_api_key`).
 * @throws `ERR_USAGE`, `ERR_SECOND_FACTOR_REQUIRED`, `ERR_SECOND_FACTOR_REFUSED`, and as `call` does
 */
export async function changeApiKeyScope(
  account: Account,
  { keyId, scope }: ApiKeyId & Pick<ApiKeyFields, 'scope'>,
  options?: ApiKeyOptions,
): Promise<ApiKey> {
  const params = { id: checkId(keyId), max_scope: scopeText(scope) };
  return keyFrom(account, { method: 'private/change_scope_in_api_key', params, ...options });
}

/**
 * Replaces the secret of a symmetric key (`private/reset_api_key`); what it does to an asymmetric one is unknown.
 * @throws `ERR_USAGE`, `ERR_SECOND_FACTOR_REQUIRED`, `ERR_SECOND_FACTOR_REFUSED`, and as `call` does
 */
export async function resetApiKey(account: Account, { keyId }: ApiKeyId, options?: ApiKeyOptions): Promise<ApiKey> {
  return keyFrom(account, { method: 'private/reset_api_key', params: { id: checkId(keyId) }, ...options });
}

async function keyFrom(account: Account, request: Call & ApiKeyOptions): Promise<ApiKey> {
  return readApiKey(request.method, await withSecondFactor(account, request));
}

function fieldsSent({ scope, label, features, asShown }: ApiKeyFields) {
  return {
    max_scope: scopeText(scope),
    ...defined({
      name: label === undefined || asShown ? label : checkLabel(label),
      enabled_features: features === undefined || asShown ? features : checkFeatures(features),
    }),
  };
}

function readApiKey(method: string, value: unknown, at = ''): ApiKey {
  const fields = fieldsOf(method, value, at);
  const has = (name: string) => isRecord(value) && value[name] !== undefined && value[name] !== null;
  const secret = fields.optionalString('client_secret') ?? '';
  const publicKey = fields.optionalString('public_key') ?? '';
  return {
    keyId: fields.integer('id'),
    clientId: fields.word('client_id'),
    clientSecret: isMask(secret) ? null : new Secret(secret),
    fingerprint: normaliseFingerprint(secret),
    publicKey: isMask(publicKey) ? null : publicKey,
    maxScope:
      isRecord(value) && Array.isArray(value.max_scope)
        ? fields.strings('max_scope').join(' ')
        : fields.string('max_scope'),
    enabled: has('enabled') ? fields.boolean('enabled') : null,
    label: fields.optionalString('name') ?? '',
    features: fields.strings('enabled_features'),
    ipWhitelist: fields.strings('ip_whitelist'),
    timestampMs: has('timestamp') ? fields.number('timestamp') : null,
  };
}

/** How the exchange hides what it does not show is not documented: empty, or masked by asterisks, is a guess. */
function isMask(shown: string): boolean {
  return /^\**$/.test(shown.trim());
}

function scopeText(scope: string | Scope): string {
  const text = typeof scope === 'string' ? scope.trim() : formatScope(scope);
  if (text === '') throw usageError('the scope is empty', 'give words such as trade:read_write account:read');
  return text;
}

function checkId(keyId: number): number {
  if (Number.isSafeInteger(keyId) && keyId >= 0) return keyId;
  throw usageError('the id of the API key is not an integer', 'it is the number that the list of API keys shows');
}

/** Returns the label, or throws `ERR_USAGE`: up to 16 letters, digits and underscores. */
export function checkLabel(label: string): string {
  if (/^[A-Za-z0-9_]{1,16}$/.test(label)) return label;
  throw usageError(
    `the label of ${label.length} characters is not one that the exchange accepts`,
    'use up to 16 letters, digits and underscores',
  );
}

/** Returns the features, or throws `ERR_USAGE` for one that is not among {@link API_KEY_FEATURES}. */
export function checkFeatures(features: readonly string[]): readonly string[] {
  if (features.every((feature) => API_KEY_FEATURES.includes(feature))) return features;
  throw usageError('a feature is unknown to the exchange', `choose from: ${API_KEY_FEATURES.join(', ')}`);
}

/** Returns the entries, or throws `ERR_USAGE` for one that is not an IP address or subnet (`ADDRESS/PREFIX`). */
export function checkAddresses(addresses: readonly string[]): readonly string[] {
  const wrong = addresses.findIndex((address) => !isAddressOrSubnet(address));
  if (wrong === -1) return addresses;
  throw usageError(
    `entry ${wrong + 1} of the whitelist is not an IP address or subnet`,
    'write 203.0.113.7 or 203.0.113.0/24',
  );
}

function isAddressOrSubnet(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/');
  const family = isIP(address);
  if (family === 0 || address.includes('%') || rest.length > 0) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128));
}
