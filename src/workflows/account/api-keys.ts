import { parsePublicKey } from '../../crypto/formats/index.js';
import { fingerprint } from '../../crypto/index.js';
import type { PublicKey } from '../../crypto/keys.js';
import type { ApiKey } from '../../deribit/api-keys.js';
import type { Endpoint } from '../../deribit/endpoints.js';
import { normaliseScope, parseScope } from '../../deribit/scope.js';
import { DeribitKeysError, type ErrorCode, isDeribitKeysError } from '../../errors.js';
import type { Keystore } from '../../keystore/keystore.js';
import type { KeyRecord, KeyState } from '../../keystore/record.js';
import { type AccountLogin, isAt, type WorkflowContext } from '../context.js';
import { accountKeys, accountLevel, withAccount } from './account.js';

/**
 * What is remarkable about a key of the account.
 *
 * - `login`: it is the one that is logged in
 * - `stranger`: the keystore does not hold it (an unmanaged key)
 * - `symmetric`: its secret is shared with the exchange
 * - `over-powered`: it can move money out (`wallet:read_write`, `custody:read_write`) or make and change API keys, its own
 *   scope included (`account:read_write`)
 * - `no-whitelist`: it can be used from any address
 * - `disabled`: it cannot log in
 */
type Mark = 'login' | 'stranger' | 'symmetric' | 'over-powered' | 'no-whitelist' | 'disabled';

/** A key of the account, as the commands show it. */
export interface AccountKey {
  readonly keyId: number;
  readonly clientId: string;
  /** Its name on the exchange; empty where it has none. */
  readonly label: string;
  readonly scope: string;
  /** Null where the exchange does not say. */
  readonly enabled: boolean | null;
  readonly ipWhitelist: readonly string[];
  readonly features: readonly string[];
  /** Null for a symmetric key, and where the exchange shows neither the fingerprint nor the public key. */
  readonly fingerprint: string | null;
  /** The keystore's name for it, or null. */
  readonly name: string | null;
  readonly marks: readonly Mark[];
  /** ISO 8601, UTC; null where the exchange does not say. */
  readonly createdAt: string | null;
}

const POWERS = ['account', 'wallet', 'custody'] as const;
const BEST_FIRST: readonly KeyState[] = ['registered', 'pending', 'retired', 'local'];

/** Whether a scope lets its key move money out, or make and change API keys. */
function isOverPowered(scope: string): boolean {
  const { resources } = parseScope(scope, 'exchange');
  return POWERS.some((power) => resources.get(power) === 'read_write');
}

/** Whether a scope lets its key make and change API keys. */
export const managesKeys = (scope: string) => accountLevel(scope) === 'read_write';

/** The records that mean this very key: by client id at the same place, registered ones first. */
export function recordsOf(records: readonly KeyRecord[], endpoint: Endpoint, clientId: string): readonly KeyRecord[] {
  return records
    .filter((record) => record.clientId === clientId && isAt(record, endpoint))
    .sort((a, b) => BEST_FIRST.indexOf(a.state) - BEST_FIRST.indexOf(b.state));
}

/** The keystore's name for a key: by client id, else by the fingerprint of a key that is recorded nowhere else. */
function nameOf(
  records: readonly KeyRecord[],
  endpoint: Endpoint,
  key: { readonly clientId: string; readonly fingerprint: string | null },
): string | null {
  const [known] = recordsOf(records, endpoint, key.clientId);
  if (known !== undefined) return known.name;
  const same = records.find(
    (record) =>
      record.clientId === null && isKeyOf(record, key) && (record.environment === null || isAt(record, endpoint)),
  );
  return same?.name ?? null;
}

/** What the commands show of a key that the exchange showed. */
export async function describeApiKey(
  key: ApiKey,
  records: readonly KeyRecord[],
  login: AccountLogin,
): Promise<AccountKey> {
  const { keyId, clientId, label, enabled, ipWhitelist, features, timestampMs } = key;
  const fingerprint = await shownFingerprint(key);
  const scope = normaliseScope(key.maxScope);
  const name = nameOf(records, login.endpoint, { clientId, fingerprint });
  const marks: Mark[] = [];
  if (clientId === login.credentials.clientId) marks.push('login');
  if (name === null) marks.push('stranger');
  if (fingerprint === null && key.publicKey === null && key.clientSecret !== null) marks.push('symmetric');
  if (isOverPowered(scope)) marks.push('over-powered');
  if (ipWhitelist.length === 0) marks.push('no-whitelist');
  if (enabled === false) marks.push('disabled');
  const createdAt = isoTime(timestampMs);
  return { keyId, clientId, label, scope, enabled, ipWhitelist, features, fingerprint, name, marks, createdAt };
}

/** Null for a number that is not a time. */
function isoTime(ms: number | null): string | null {
  const time = new Date(ms ?? Number.NaN);
  return Number.isNaN(time.getTime()) ? null : time.toISOString();
}

/** All keys of the account (`private/list_api_keys`), in the exchange's order. It needs `account:read`. */
export async function listAccountKeys(context: WorkflowContext, login: AccountLogin): Promise<readonly AccountKey[]> {
  const keys = await withAccount(context, { login, level: 'read' }, (account) => accountKeys(context, account));
  const { records } = await context.store.list();
  return Promise.all(keys.map((key) => describeApiKey(key, records, login)));
}

/** How a user names a key of the account; `record` where the text is a name of the keystore. */
export interface KeyChoice {
  readonly text: string;
  readonly record: KeyRecord | null;
}

/**
 * Reads what the user named a key by. A name of the keystore wins over a client id, and that over a key id;
 * `client-id:` and `id:` before the text say which of the two is meant.
 * @throws what reading the record of that name throws: one that is damaged still owns its name
 */
export async function chooseKey(store: Keystore, text: string): Promise<KeyChoice> {
  if (text.includes(':')) return { text, record: null };
  const { records, damaged } = await store.list();
  const broken = damaged.find(({ name }) => name === text);
  if (broken !== undefined) throw broken.error;
  return { text, record: records.find(({ name }) => name === text) ?? null };
}

/**
 * Finds the key that the user named among the account's.
 * @throws `ERR_NOT_ON_EXCHANGE`
 */
export function findKey(keys: readonly AccountKey[], { text, record }: KeyChoice): AccountKey {
  const found = record === null ? findByText(keys, text) : keys.find((key) => isKeyOf(record, key));
  if (found !== undefined) return found;
  const shown = /^[\x21-\x7e]{1,80}$/.test(text) ? `"${text}"` : `a text of ${text.length} characters`;
  const what =
    record === null
      ? `${shown} is neither a name in the keystore nor a client id or key id of the account`
      : `the account has no key "${record.name}" (${record.clientId ?? record.fingerprint})`;
  throw new DeribitKeysError('ERR_NOT_ON_EXCHANGE', what, {
    hint: 'see the keys with: deribit-keys api-keys list; a key of a subaccount needs --subaccount <id>',
  });
}

function findByText(keys: readonly AccountKey[], text: string): AccountKey | undefined {
  const [, kind, value = text] = /^(client-id|id):(.*)$/.exec(text) ?? [];
  const byClientId = kind === 'id' ? undefined : keys.find((key) => key.clientId === value);
  return byClientId ?? (kind === 'client-id' ? undefined : keys.find((key) => String(key.keyId) === value));
}

/** How many API keys an account or subaccount can have, as Deribit documents it. */
export const DOCUMENTED_KEY_LIMIT = 8;

/**
 * How many more keys an account with `present` keys can have; null where that is unknown: an account with more keys than
 * documented has another limit, which only a refusal of the exchange shows.
 */
export function roomForKeys(present: number): number | null {
  return present > DOCUMENTED_KEY_LIMIT ? null : DOCUMENTED_KEY_LIMIT - present;
}

/** Whether the exchange refused to create a key because the account has too many. Its code is not documented: a guess. */
export function isKeyLimitRefusal(error: unknown): error is DeribitKeysError {
  if (!isDeribitKeysError(error) || error.rpc === undefined) return false;
  const { message, data } = error.rpc;
  const said = `${message} ${JSON.stringify(data ?? '')}`.replaceAll('_', ' ');
  return /\bkeys?\b/i.test(said) && /\b(max|maximum|limit|too many)\b/i.test(said);
}

/** What `private/create_api_key` threw; a refusal because the account has too many keys says so. */
export function explainKeyLimit(error: unknown): unknown {
  return isKeyLimitRefusal(error) ? noRoom(error.code, 'the account can have no more API keys', error) : error;
}

/** The error for an account that can have no more keys; `cause` is the refusal of the exchange, where it was asked. */
export function noRoom(code: ErrorCode, what: string, cause?: DeribitKeysError): DeribitKeysError {
  const hint = 'remove one that is not needed: deribit-keys api-keys list, deribit-keys api-keys remove <which>';
  return cause?.with({ code, message: what, hint }) ?? new DeribitKeysError(code, what, { hint });
}

/*
 * Which key of an account's list is a given key of the keystore. There is one rule, used by every command:
 *
 * 1. The client id, where the record has one: the exchange shows the client id of every key.
 * 2. The public key or the fingerprint, where the exchange shows at least one of them.
 * 3. Where it shows neither, a login signed with the private key under that client id: see registration/find-key.ts.
 *
 * What the exchange does not show is neither a match nor a mismatch.
 */

/** How a key on the exchange compares with the local one; null where the exchange does not show it. */
export interface Comparison {
  readonly fingerprintVerified: boolean | null;
  readonly publicKeyVerified: boolean | null;
  /** One sentence for each difference; empty where everything that is shown matches. */
  readonly differences: readonly string[];
}

/** The public keys that were shown, since each key of a list is compared with every record. */
const shownKeys = new WeakMap<ApiKey, Promise<PublicKey | null>>();

/** The public key that the exchange shows, or null. Its text may have other newlines than ours: compare keys. */
async function shownKey(apiKey: ApiKey): Promise<PublicKey | null> {
  if (apiKey.publicKey === null) return null;
  const shown = shownKeys.get(apiKey) ?? parsePublicKey(apiKey.publicKey).catch(() => null);
  shownKeys.set(apiKey, shown);
  return shown;
}

/** Compares what the exchange recorded with the local public key. */
export async function compareKey(apiKey: ApiKey, key: PublicKey): Promise<Comparison> {
  const local = fingerprint(key);
  const differences: string[] = [];
  const fingerprintVerified = apiKey.clientSecret === null ? null : apiKey.fingerprint === local;
  if (fingerprintVerified === false) {
    const shown = apiKey.fingerprint ?? 'none (its client_secret is not a fingerprint)';
    differences.push(`the fingerprint: the exchange says ${shown}, the local key has ${local}`);
  }
  const publicKeyVerified = apiKey.publicKey === null ? null : ((await shownKey(apiKey))?.equals(key) ?? false);
  if (publicKeyVerified === false)
    differences.push('the public key: the exchange shows a different one from the one that was sent');
  return { fingerprintVerified, publicKeyVerified, differences };
}

/** Whether the exchange has `key` there, judged by everything that it shows; null where it shows nothing to judge by. */
export async function isSameThere(apiKey: ApiKey, key: PublicKey): Promise<boolean | null> {
  const { fingerprintVerified, publicKeyVerified, differences } = await compareKey(apiKey, key);
  if (fingerprintVerified === null && publicKeyVerified === null) return null;
  return differences.length === 0;
}

/**
 * Rule 2 for a list: `same` are the keys that show the local public key or its fingerprint, even where the other of the
 * two differs; `hidden` are those that show neither.
 */
export async function matchKeys(
  keys: readonly ApiKey[],
  key: PublicKey,
): Promise<{ readonly same: readonly ApiKey[]; readonly hidden: readonly ApiKey[] }> {
  const [same, hidden]: [ApiKey[], ApiKey[]] = [[], []];
  for (const apiKey of keys) {
    const { fingerprintVerified, publicKeyVerified } = await compareKey(apiKey, key);
    if (fingerprintVerified || publicKeyVerified) same.push(apiKey);
    else if (fingerprintVerified === null && publicKeyVerified === null) hidden.push(apiKey);
  }
  return { same, hidden };
}

/** The fingerprint that the exchange shows, or that of the public key that it shows; null where it shows neither. */
export async function shownFingerprint(apiKey: ApiKey): Promise<string | null> {
  if (apiKey.fingerprint !== null) return apiKey.fingerprint;
  const key = await shownKey(apiKey);
  return key === null ? null : fingerprint(key);
}

/** Rules 1 and 2 for a record whose key files are not opened: whether `key` is the key of the record. */
export function isKeyOf(
  record: Pick<KeyRecord, 'clientId' | 'fingerprint'>,
  key: { readonly clientId: string; readonly fingerprint: string | null },
): boolean {
  return record.clientId === null ? key.fingerprint === record.fingerprint : key.clientId === record.clientId;
}
