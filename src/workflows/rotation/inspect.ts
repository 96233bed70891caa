import type { PublicKey } from '../../crypto/keys.js';
import { type ApiKey, listApiKeys } from '../../deribit/api-keys.js';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import type { RotationJournal } from '../../keystore/journal.js';
import type { KeyRecord } from '../../keystore/record.js';
import { readPublicKey } from '../../keystore/stored-keys.js';
import { type OpenAccount, protectedOptions } from '../account/account.js';
import type { WorkflowContext } from '../context.js';
import { compareKey } from '../registration/proof.js';

/** What the account that a rotation belongs to has of its two keys; null for one that is gone, or never was. */
export interface RotatingKeys {
  readonly old: ApiKey | null;
  readonly successor: ApiKey | null;
}

/**
 * Looks at both keys of a rotation that was begun by an earlier run.
 * @throws `ERR_NOT_ON_EXCHANGE` where the account has neither: it is likely another account than the rotation's
 */
export async function lookAtKeys(
  context: WorkflowContext,
  account: OpenAccount,
  journal: RotationJournal,
  successor: KeyRecord | null,
): Promise<RotatingKeys> {
  const keys = await listApiKeys(account, protectedOptions(context));
  const { clientId } = journal.previous;
  const old = keys.find((key) => key.clientId === clientId) ?? null;
  const made =
    successor === null
      ? undefined
      : (keys.find((key) => key.clientId === successor.clientId) ??
        keys.find((key) => key.fingerprint === successor.fingerprint) ??
        (await sameKeyAmong(keys, await readPublicKey(context.store, successor))));
  if (old !== null || made !== undefined) return { old, successor: made ?? null };
  const or = successor === null ? '' : `, nor its successor (${successor.clientId ?? successor.fingerprint})`;
  throw new DeribitKeysError('ERR_NOT_ON_EXCHANGE', `the account has no key "${journal.name}" (${clientId})${or}`, {
    hint: `log in to the account that it belongs to${
      successor === null ? '' : `; if both were removed there, take "${successor.name}" out of the keystore first`
    }`,
  });
}

/** The key whose public half is `publicKey`: the fingerprint that is shown may be what is wrong. */
async function sameKeyAmong(keys: readonly ApiKey[], publicKey: PublicKey): Promise<ApiKey | undefined> {
  for (const key of keys) {
    if ((await compareKey(key, publicKey)).publicKeyVerified) return key;
  }
  return undefined;
}

/** @throws `ERR_PROOF_FAILED` where the successor is not on the exchange, enabled, with the public key of its record */
export async function requireWhole(
  context: WorkflowContext,
  shown: ApiKey | null,
  successor: KeyRecord,
): Promise<void> {
  const differences =
    shown === null
      ? ['the account does not have it']
      : (await compareKey(shown, await readPublicKey(context.store, successor))).differences;
  if (shown?.enabled === true && differences.length === 0) return;
  const why = differences.length > 0 ? differences.join('; ') : 'it is disabled';
  throw new DeribitKeysError('ERR_PROOF_FAILED', `the successor "${successor.name}" is not as it should be; ${why}`, {
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
