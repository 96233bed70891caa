import type { ApiKey } from '../../deribit/api-keys.js';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import type { RotationJournal } from '../../keystore/journal.js';
import type { KeyRecord } from '../../keystore/record.js';
import { readPublicKey } from '../../keystore/stored-keys.js';
import { accountKeys, type OpenAccount } from '../account/account.js';
import { compareKey } from '../account/api-keys.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { findAfterAttempt, newSearch } from '../registration/find-key.js';

/** Where a rotation that an earlier run began is looked for. */
export interface Inspection {
  readonly account: OpenAccount;
  readonly login: AccountLogin;
  readonly journal: RotationJournal;
  readonly successor: KeyRecord | null;
  /** Whether it is enough to find the old key: that shows that the account is the right one. */
  readonly oldIsEnough?: boolean;
}

/**
 * Looks for both keys of a rotation that was started by an earlier run. A successor whose creation may still be carried out
 * is waited for.
 * @returns null for a key that is gone, or never was
 * @throws `ERR_NOT_ON_EXCHANGE` where the account has neither: it is likely another account than the rotation's
 */
export async function inspectKeys(
  context: WorkflowContext,
  inspection: Inspection,
): Promise<{ readonly old: ApiKey | null; readonly successor: ApiKey | null }> {
  const { account, journal, successor } = inspection;
  const keys = await accountKeys(context, account);
  const { clientId } = journal.previous;
  const old = keys.find((key) => key.clientId === clientId) ?? null;
  if (old !== null && inspection.oldIsEnough) return { old, successor: null };
  const made =
    successor === null || successor.state === 'local'
      ? null
      : (keys.find((key) => key.clientId === successor.clientId) ??
        (await findCreated(context, { ...inspection, successor }, keys)));
  if (old !== null || made !== null) return { old, successor: made };
  const or = successor === null ? '' : `, nor its successor (${successor.clientId ?? successor.fingerprint})`;
  throw new DeribitKeysError('ERR_NOT_ON_EXCHANGE', `the account has no key "${journal.name}" (${clientId})${or}`, {
    hint: `log in to the account that it belongs to${
      successor === null ? '' : `; if both were removed there, remove "${successor.name}" from the keystore first`
    }`,
  });
}

/** A successor whose client id is not on record, or not in the list. */
async function findCreated(
  context: WorkflowContext,
  { account, login, successor: record }: Inspection & { readonly successor: KeyRecord },
  listed: readonly ApiKey[],
): Promise<ApiKey | null> {
  const [publicKey, signer] = [await readPublicKey(context.store, record), await context.signerOf(record)];
  const search = { account, login, record, publicKey, signer, label: record.label, listed, memory: newSearch() };
  try {
    const [found] = await findAfterAttempt(context, search);
    return found ?? null;
  } catch (error) {
    // another account than the one in which the successor was to be created
    if (isDeribitKeysError(error, 'ERR_STATE')) return null;
    throw error;
  }
}

/** @throws `ERR_PROOF_FAILED` where the successor is not on the exchange, enabled, with the public key of its record */
export async function requireIntact(
  context: WorkflowContext,
  shown: ApiKey | null,
  successor: KeyRecord,
): Promise<void> {
  const differences =
    shown === null
      ? ['the account does not have it']
      : (await compareKey(shown, await readPublicKey(context.store, successor))).differences;
  if (shown !== null && shown.enabled !== false && differences.length === 0) return;
  const why = differences.length > 0 ? differences.join('; ') : 'it is disabled';
  throw new DeribitKeysError('ERR_PROOF_FAILED', `the successor "${successor.name}" is not as expected; ${why}`, {
    hint: 'the old key was left as it is',
  });
}

/** The record of a key, or null where there is no such key. */
export async function readOrNull(context: WorkflowContext, name: string): Promise<KeyRecord | null> {
  try {
    return await context.store.read(name);
  } catch (error) {
    if (isDeribitKeysError(error, 'ERR_NO_SUCH_NAME')) return null;
    throw error;
  }
}

/** When the grace period of a rotation ends, in milliseconds since the epoch; null before the successor has its name. */
export function graceEndMs({ promotedAt, graceMs }: RotationJournal): number | null {
  return promotedAt === null ? null : Date.parse(promotedAt) + graceMs;
}

/** Whether the old key of a rotation is still enabled on purpose. */
export function isInGrace(journal: RotationJournal, nowMs: number): boolean {
  return nowMs < (graceEndMs(journal) ?? Number.NEGATIVE_INFINITY);
}
