import { isDeepStrictEqual } from 'node:util';
import { sameEndpoint } from '../../deribit/endpoints.js';
import { isDeribitKeysError, usageError } from '../../errors.js';
import { listJournals, type RotationJournal } from '../../keystore/journal.js';
import { requireNewKeyName } from '../../keystore/names.js';
import type { KeyRecord } from '../../keystore/record.js';
import { subaccountOf } from '../account/account.js';
import { type AccountKey, isKeyOf, listAccountKeys } from '../account/api-keys.js';
import { type AccountLogin, endpointOfRecord, type WorkflowContext } from '../context.js';
import { keyLogsIn } from '../registration/proof.js';
import { isInGrace, readOrNull } from '../rotation/inspect.js';
import type { KeyPolicy, Policy } from './parse-policy.js';

/** The state of one key of the policy. */
export interface KeySnapshot {
  readonly policy: KeyPolicy;
  /** Null where the name is free. */
  readonly record: KeyRecord | null;
  /** The key as the account shows it; null where it does not. */
  readonly apiKey: AccountKey | null;
  readonly rotation: 'none' | 'unfinished' | 'grace';
  /** Why nothing can be decided about it, or null. */
  readonly conflict: string | null;
}

/** The state of the keystore and of the account. */
export interface Snapshot {
  readonly keys: readonly KeySnapshot[];
  readonly accountKeys: readonly AccountKey[];
  readonly loginClientId: string;
  /** Client ids that are not unmanaged keys: the login's, and those of rotations under way. */
  readonly spared: ReadonlySet<string>;
  readonly journals: readonly RotationJournal[];
  readonly nowMs: number;
}

/**
 * Reads the keystore and the account's list. Where a registered key is not among the account's, it tries to log in with
 * it: a key that can belongs to another account.
 * @throws `ERR_USAGE` where the policy is for another environment than the login, and what the exchange and the
 *   keystore throw
 */
export async function takeSnapshot(context: WorkflowContext, policy: Policy, login: AccountLogin): Promise<Snapshot> {
  requireEnvironment(policy, login);
  const journals = await listJournals(context.store);
  const accountKeys = await listAccountKeys(context, login);
  const keys: KeySnapshot[] = [];
  for (const key of policy.keys) keys.push(await inspectKey(context, key, { login, accountKeys, journals }));
  const loginClientId = login.credentials.clientId;
  const spared = new Set([loginClientId]);
  for (const { previous, successor } of journals) {
    spared.add(previous.clientId);
    for (const { name, clientId } of accountKeys) if (name === successor) spared.add(clientId);
  }
  return { keys, accountKeys, loginClientId, spared, journals, nowMs: context.store.now().getTime() };
}

/** Whether the keystore still has what the snapshot shows of the policy's keys and of rotations. */
export async function isUnchanged(context: WorkflowContext, { keys, journals }: Snapshot): Promise<boolean> {
  for (const { policy, record } of keys) {
    if (!isDeepStrictEqual(await readOrNull(context, policy.name), record)) return false;
  }
  return isDeepStrictEqual(await listJournals(context.store), journals);
}

function requireEnvironment({ environment }: Policy, { endpoint }: AccountLogin): void {
  if (environment === null || environment === endpoint.environment) return;
  const where = new URL(endpoint.url).host;
  throw usageError(
    `the policy is for ${environment}, the login is on ${endpoint.environment} (${where})`,
    "log in to the policy's environment, or give another file",
  );
}

/** What keys are compared with. */
interface Scene extends Pick<Snapshot, 'accountKeys' | 'journals'> {
  readonly login: AccountLogin;
}

async function inspectKey(context: WorkflowContext, policy: KeyPolicy, scene: Scene): Promise<KeySnapshot> {
  const { name } = policy;
  const { login, accountKeys, journals } = scene;
  const record = await readOrNull(context, name);
  const rotation = rotationOf(journals, name, context.store.now().getTime());
  const seen = { policy, record, rotation };
  if (record === null) return { ...seen, apiKey: null, conflict: await nameTaken(context, name) };
  const elsewhere = otherEndpoint(record, login);
  if (elsewhere !== null) return { ...seen, apiKey: null, conflict: elsewhere };
  const apiKey = accountKeys.find((key) => isKeyOf(record, key)) ?? null;
  const conflict =
    rotation === 'unfinished' || record.state !== 'registered'
      ? null
      : apiKey === null
        ? await belongsElsewhere(context, record, scene)
        : differsThere(record, apiKey);
  return { ...seen, apiKey, conflict };
}

/** A name without a record may be taken all the same: by a stray file, or by a name that differs by case. */
async function nameTaken(context: WorkflowContext, name: string): Promise<string | null> {
  try {
    await context.store.requireFree(requireNewKeyName(name));
    return null;
  } catch (error) {
    if (!isDeribitKeysError(error, 'ERR_NAME_TAKEN')) throw error;
    return `it cannot be made: ${error.message}`;
  }
}

function rotationOf(journals: readonly RotationJournal[], name: string, nowMs: number): KeySnapshot['rotation'] {
  const journal = journals.find((one) => one.name === name);
  if (journal === undefined) return 'none';
  return isInGrace(journal, nowMs) ? 'grace' : 'unfinished';
}

/** A key of another exchange or subaccount does not concern this policy. */
function otherEndpoint(record: KeyRecord, login: AccountLogin): string | null {
  const registered = endpointOfRecord(record);
  if (registered === null || record.state === 'retired') return null;
  if (!sameEndpoint(registered, login.endpoint))
    return `it belongs to ${new URL(registered.url).host}, which is not the host of the login`;
  if (record.subaccount === subaccountOf(login)) return null;
  return `it belongs to ${record.subaccount === null ? 'the main account' : `the subaccount ${record.subaccount}`}`;
}

function differsThere(record: KeyRecord, key: AccountKey): string | null {
  if (key.fingerprint === null || key.fingerprint === record.fingerprint) return null;
  return `the exchange has another public key as ${key.clientId} (${key.fingerprint}): see deribit-keys doctor ${record.name}`;
}

async function belongsElsewhere(
  context: WorkflowContext,
  record: KeyRecord,
  { login, accountKeys }: Scene,
): Promise<string | null> {
  const other = accountKeys.find((key) => key.fingerprint === record.fingerprint);
  if (other !== undefined) return `the account has it as ${other.clientId}, on record is ${record.clientId}`;
  return (await keyLogsIn(context, record, login.endpoint))
    ? `${record.clientId} logs in, but is not among the keys of this account: it belongs to another account`
    : null;
}
