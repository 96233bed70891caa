import { type ApiKey, removeApiKey } from '../../deribit/api-keys.js';
import { DeribitKeysError } from '../../errors.js';
import type { LockedKey, SaveNote } from '../../keystore/keystore.js';
import { asLocal, type KeyRecord } from '../../keystore/record.js';
import {
  accountKeys,
  messageOf,
  type OpenAccount,
  outcomeOf,
  protectedOptions,
  withAccount,
} from '../account/account.js';
import type { AccountLogin, WorkflowContext } from '../context.js';

/** A registration that is under way, and what it works with. */
export interface Attempt {
  readonly context: WorkflowContext;
  readonly account: OpenAccount;
  readonly login: AccountLogin;
  readonly locked: LockedKey;
}

/** Saves a record; a failure is only noted, so that it does not hide what happened on the exchange. */
export async function trySave({ context, locked }: Attempt, record: KeyRecord, note: SaveNote): Promise<void> {
  await locked.save(record, note).catch((error: unknown) => {
    context.onNote?.(`the keystore could not be brought up to date: ${messageOf(error)}`);
  });
}

/**
 * Removes a key and makes sure of it: on a new connection where the first one fails. A key that is gone already is not a
 * failure.
 */
async function removeSurely({ context, account, login }: Attempt, keyId: number): Promise<void> {
  const remove = (on: OpenAccount) => removeApiKey(on, { keyId }, protectedOptions(context));
  await remove(account).catch(() =>
    withAccount(context, { login, level: 'read_write' }, (again) =>
      remove(again).catch(async (error: unknown) => {
        const keys = await accountKeys(context, again);
        if (keys.some((key) => key.keyId === keyId)) throw error;
      }),
    ),
  );
}

/**
 * Removes all but the oldest of several keys with the same public key, such as a request that was carried out late makes.
 * @throws `ERR_PROOF_FAILED` where one could not be removed; the record stays pending
 */
export async function removeTwins(attempt: Attempt, name: string, twins: readonly ApiKey[]): Promise<void> {
  for (const { keyId, clientId } of twins) {
    await removeSurely(attempt, keyId).catch((cause: unknown) => {
      const message = `the account has the key "${name}" twice, and ${clientId} could not be removed`;
      const hint = `run the same command again, or remove the key ${keyId} (${clientId}) on Deribit's web page`;
      throw new DeribitKeysError('ERR_PROOF_FAILED', message, { cause, hint, maybeSent: true });
    });
    attempt.context.onNote?.(`the account had the key "${name}" twice: ${clientId} was removed again`);
  }
}

/**
 * Removes a key that the exchange recorded wrongly, and says what differed.
 * @throws `ERR_PROOF_FAILED`, always; where the key could not be removed, the record stays pending
 */
export async function rollBack(
  attempt: Attempt,
  { pending, apiKey, differences }: { pending: KeyRecord; apiKey: ApiKey; differences: readonly string[] },
): Promise<never> {
  const { keyId, clientId } = apiKey;
  const what = `the exchange did not record the key "${pending.name}" as it was sent; ${differences.join('; ')}`;
  try {
    await removeSurely(attempt, keyId);
  } catch (cause) {
    await trySave(attempt, pending, { action: 'remove', outcome: outcomeOf(cause) });
    throw new DeribitKeysError('ERR_PROOF_FAILED', `${what}; and it could not be removed again`, {
      cause,
      hint: `run the same command again, or remove the key ${keyId} (${clientId}) on Deribit's web page`,
      maybeSent: true,
    });
  }
  await trySave(attempt, asLocal(pending), { action: 'remove' });
  throw new DeribitKeysError('ERR_PROOF_FAILED', what, {
    hint: `the new key (${clientId}) was removed again; the local key is unchanged and not registered`,
  });
}
