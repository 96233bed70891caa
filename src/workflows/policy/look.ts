import { sameEndpoint } from '../../deribit/endpoints.js';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import { listJournals, type RotationJournal } from '../../keystore/journal.js';
import type { KeyRecord } from '../../keystore/record.js';
import { type AccountKey, listAccountKeys } from '../api-keys.js';
import type { AccountLogin, Parts } from '../parts.js';
import { proveLogin } from '../prove.js';
import { subaccountOf } from '../subaccount.js';
import { endpointOfRecord } from '../target.js';
import type { KeyPolicy, Policy } from './policy.js';

/** How things are with one key of the policy. */
export interface KeyCircumstances {
  readonly policy: KeyPolicy;
  /** Null where the name is free. */
  readonly record: KeyRecord | null;
  /** The key as the account shows it; null where it does not. */
  readonly apiKey: AccountKey | null;
  readonly rotation: 'none' | 'unfinished' | 'grace';
  /** Why nothing can be decided about it, or null. */
  readonly obstacle: string | null;
}

/** How things are, here and on the exchange. */
export interface Circumstances {
  readonly keys: readonly KeyCircumstances[];
  readonly accountKeys: readonly AccountKey[];
  readonly loginClientId: string;
  /** Client ids that are no strangers: the login's, and those of rotations under way. */
  readonly spared: ReadonlySet<string>;
  readonly nowMs: number;
}

/**
 * Looks at the keystore and at the account. Where a registered key is not among the account's, it tries to log in with
 * it: a key that can belongs to another account.
 * @throws `ERR_USAGE` where the policy is for another environment than the login, and what the exchange and the
 *   keystore can give
 */
export async function lookAround(parts: Parts, policy: Policy, login: AccountLogin): Promise<Circumstances> {
  requireEnvironment(policy, login);
  const journals = await listJournals(parts.store);
  const accountKeys = await listAccountKeys(parts, login);
  const keys: KeyCircumstances[] = [];
  for (const key of policy.keys) keys.push(await lookAtKey(parts, key, login, accountKeys, journals));
  const loginClientId = login.credentials.clientId;
  const spared = new Set([loginClientId]);
  for (const { previous, successor } of journals) {
    spared.add(previous.clientId);
    for (const { name, clientId } of accountKeys) if (name === successor) spared.add(clientId);
  }
  return { keys, accountKeys, loginClientId, spared, nowMs: parts.store.now().getTime() };
}

function requireEnvironment({ environment }: Policy, { endpoint }: AccountLogin): void {
  if (environment === null || environment === endpoint.environment) return;
  const where = new URL(endpoint.url).host;
  throw new DeribitKeysError(
    'ERR_USAGE',
    `the policy is for ${environment}, the login is on ${endpoint.environment} (${where})`,
    {
      hint: 'log in where the policy belongs, or give the other file',
    },
  );
}

async function lookAtKey(
  parts: Parts,
  policy: KeyPolicy,
  login: AccountLogin,
  accountKeys: readonly AccountKey[],
  journals: readonly RotationJournal[],
): Promise<KeyCircumstances> {
  const { name } = policy;
  const record = await recordOf(parts, name);
  const rotation = rotationOf(journals, name, parts.store.now().getTime());
  const seen = { policy, record, rotation };
  if (record === null) return { ...seen, apiKey: null, obstacle: await nameTaken(parts, name) };
  const elsewhere = otherPlace(record, login);
  if (elsewhere !== null) return { ...seen, apiKey: null, obstacle: elsewhere };
  const apiKey = accountKeys.find((key) => isKeyOf(record, key)) ?? null;
  const obstacle =
    rotation === 'unfinished' || record.state !== 'registered'
      ? null
      : apiKey === null
        ? await belongsElsewhere(parts, record, login, accountKeys)
        : differsThere(record, apiKey);
  return { ...seen, apiKey, obstacle };
}

async function recordOf(parts: Parts, name: string): Promise<KeyRecord | null> {
  try {
    return await parts.store.read(name);
  } catch (error) {
    if (isDeribitKeysError(error, 'ERR_NO_SUCH_NAME')) return null;
    throw error;
  }
}

/** A name without a record may be taken all the same: by a stray file, or by a name that differs by case. */
async function nameTaken(parts: Parts, name: string): Promise<string | null> {
  try {
    await parts.store.requireFree(name);
    return null;
  } catch (error) {
    if (!isDeribitKeysError(error, 'ERR_NAME_TAKEN')) throw error;
    return `it cannot be made: ${error.message}`;
  }
}

function rotationOf(journals: readonly RotationJournal[], name: string, nowMs: number): KeyCircumstances['rotation'] {
  const journal = journals.find((one) => one.name === name);
  if (journal === undefined) return 'none';
  if (journal.promotedAt === null) return 'unfinished';
  return nowMs < Date.parse(journal.promotedAt) + journal.graceMs ? 'grace' : 'unfinished';
}

/** A key of another exchange or subaccount is none of this policy's business. */
function otherPlace(record: KeyRecord, login: AccountLogin): string | null {
  const place = endpointOfRecord(record);
  if (place === null || record.state === 'retired') return null;
  if (!sameEndpoint(place, login.endpoint))
    return `it belongs to ${new URL(place.url).host}, where the login does not lead`;
  if (record.subaccount === subaccountOf(login)) return null;
  return `it belongs to ${record.subaccount === null ? 'the main account' : `the subaccount ${record.subaccount}`}`;
}

function isKeyOf(record: KeyRecord, key: AccountKey): boolean {
  return record.clientId === null ? key.fingerprint === record.fingerprint : key.clientId === record.clientId;
}

function differsThere(record: KeyRecord, key: AccountKey): string | null {
  if (key.fingerprint === null || key.fingerprint === record.fingerprint) return null;
  return `the exchange has another public key as ${key.clientId} (${key.fingerprint}): see deribit-keys doctor ${record.name}`;
}

async function belongsElsewhere(
  parts: Parts,
  record: KeyRecord,
  login: AccountLogin,
  accountKeys: readonly AccountKey[],
): Promise<string | null> {
  const other = accountKeys.find((key) => key.fingerprint === record.fingerprint);
  if (other !== undefined) return `the account has it as ${other.clientId}, on record is ${record.clientId}`;
  if (record.clientId === null) return null;
  const proof = await proveLogin(parts, login.endpoint, record.clientId, await parts.signerOf(record));
  return proof === null
    ? null
    : `${record.clientId} logs in, and is not among the keys of this account: it is another's`;
}
