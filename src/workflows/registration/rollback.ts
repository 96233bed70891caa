import { type ApiKey, listApiKeys, removeApiKey } from '../../deribit/api-keys.js';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import type { LockedKey } from '../../keystore/keystore.js';
import { asLocal, type KeyRecord } from '../../keystore/record.js';
import { type OpenAccount, protectedOptions, withAccount } from '../account/account.js';
import type { AccountLogin, WorkflowContext } from '../context.js';

/** Removes a key for sure: where the connection is what is broken, on a new one, and a key that is gone is no failure. */
async function removeFor(
  context: WorkflowContext,
  account: OpenAccount,
  login: AccountLogin,
  keyId: number,
): Promise<void> {
  const remove = (on: OpenAccount) => removeApiKey(on, { keyId }, protectedOptions(context));
  await remove(account).catch(() =>
    withAccount(context, login, 'read_write', (again) =>
      remove(again).catch(async (error: unknown) => {
        const keys = await listApiKeys(again, protectedOptions(context));
        if (keys.some((key) => key.keyId === keyId)) throw error;
      }),
    ),
  );
}

/**
 * Removes a key that the exchange recorded wrongly, and says what differed.
 * @throws `ERR_PROOF_FAILED`, always; where the key could not be removed, the record stays pending
 */
export async function rollBack(
  context: WorkflowContext,
  account: OpenAccount,
  locked: LockedKey,
  pending: KeyRecord,
  login: AccountLogin,
  apiKey: ApiKey,
  differences: readonly string[],
): Promise<never> {
  const what = `the exchange did not record the key "${pending.name}" as it was sent; ${differences.join('; ')}`;
  try {
    await removeFor(context, account, login, apiKey.keyId);
  } catch (cause) {
    await locked.save(pending, { action: 'remove', outcome: isDeribitKeysError(cause) ? cause.code : 'ERR_INTERNAL' });
    throw new DeribitKeysError('ERR_PROOF_FAILED', `${what}; and it could not be removed again`, {
      cause,
      hint: `run the same command again, or remove the key ${apiKey.keyId} (${apiKey.clientId}) in Deribit’s web page`,
    });
  }
  await locked.save(asLocal(pending), { action: 'remove' });
  throw new DeribitKeysError('ERR_PROOF_FAILED', what, {
    hint: `the new key (${apiKey.clientId}) was removed again; the local key is unharmed and unregistered`,
  });
}
