import type { Signer } from '../crypto/signer.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { requireNoRotation } from '../keystore/journal.js';
import type { KeyRecord } from '../keystore/record.js';
import { linkTarget, type RetiredKey, readPublicKey, retireKey } from '../keystore/stored-keys.js';
import { accountKeys, onBehalfOf, withAccount } from './account/account.js';
import { matchKeys } from './account/api-keys.js';
import type { AccountLogin, WorkflowContext } from './context.js';
import { proveLogin } from './registration/proof.js';

/** Whether the key itself still logs in; false where that cannot be tried. */
async function logsIn(context: WorkflowContext, record: KeyRecord, login: AccountLogin): Promise<boolean> {
  const { clientId } = record;
  const signer = clientId === null ? null : await signerOrNull(context, record);
  if (clientId === null || signer === null) return false;
  return (await proveLogin(context, { endpoint: login.endpoint, clientId, signer })) !== null;
}

/** Null where the private half cannot be used: its file is damaged or missing, or its passphrase is not known. */
async function signerOrNull(context: WorkflowContext, record: KeyRecord): Promise<Signer | null> {
  try {
    return await context.signerOf(record);
  } catch (error) {
    if (isDeribitKeysError(error) && error.code.startsWith('ERR_KEY_')) return null;
    if (isDeribitKeysError(error, 'ERR_PASSPHRASE_REQUIRED', 'ERR_PASSPHRASE_WRONG', 'ERR_SIGNER')) return null;
    throw error;
  }
}

/**
 * What the exchange says of the key: by the account's own list, and where it is not in that, by a login. `missing` does
 * not prove that it is gone: the list may be another account's, or may hide what would show the key.
 */
async function stateOnExchange(
  context: WorkflowContext,
  record: KeyRecord,
  login: AccountLogin,
): Promise<'enabled' | 'disabled' | 'gone' | 'missing'> {
  const publicKey = await readPublicKey(context.store, record).catch(() => null);
  const keys = await withAccount(context, { login: onBehalfOf(login, record), level: 'read' }, (account) =>
    accountKeys(context, account),
  );
  const matched = publicKey === null ? null : await matchKeys(keys, publicKey);
  const mine = keys.filter(
    (key) => matched?.same.includes(key) || key.clientId === record.clientId || key.fingerprint === record.fingerprint,
  );
  // where the exchange does not say that a key is disabled, it is taken for enabled
  if (mine.length > 0) return mine.some(({ enabled }) => enabled !== false) ? 'enabled' : 'disabled';
  if (await logsIn(context, record, login)) return 'enabled';
  // the account that shows who registered the key is the key's own, and a client id is never hidden
  const own = record.registrar !== null && keys.some(({ clientId }) => clientId === record.registrar);
  return own && record.clientId !== null ? 'gone' : 'missing';
}

/**
 * Proves that a key may leave the keystore: the account's list (where a login is given) shows it disabled or gone; or, as
 * far as the record knows (one from a backup may not), it was never sent, or is retired.
 */
async function requireRemovable(
  context: WorkflowContext,
  record: KeyRecord,
  { login, purge }: RemoveOptions,
): Promise<void> {
  const { name, state } = record;
  const local = state === 'local';
  const gone = (local && record.restoredAt === null) || record.removedAt !== null;
  if (login === null && (gone || (!purge && (local || state === 'retired')))) return;
  const seen = login === null ? null : await stateOnExchange(context, record, login);
  if (seen === 'disabled' || seen === 'gone' || (seen === 'missing' && (gone || !purge))) return;
  if (purge && (seen === 'missing' || local || state === 'retired') && seen !== 'enabled') {
    const why =
      seen === 'missing'
        ? 'this login does not see it, and may belong to another account'
        : local
          ? 'it was restored from a backup, and may have been registered after the backup was made'
          : 'it may still be enabled';
    throw new DeribitKeysError('ERR_STATE', `the key "${name}" cannot be deleted for good: ${why}`, {
      hint: `without --purge its files are moved to retired/ and nothing is lost${seen === null && !local ? '; or give a login that shows it disabled' : ''}`,
    });
  }
  const what =
    login !== null
      ? 'the exchange shows it enabled'
      : state === 'pending'
        ? 'its registration is unfinished'
        : 'it is registered, and may still be enabled';
  throw new DeribitKeysError('ERR_STATE', `the key "${name}" cannot be removed: ${what}`, {
    hint:
      login === null && state === 'pending'
        ? `finish the registration first: deribit-keys register ${name} …; or give a login, so that the account's list can be checked`
        : `remove it from the exchange first: deribit-keys api-keys remove ${name} …; if it is gone from there, give a login (--as …), so that the list can be checked`,
  });
}

interface RemoveOptions {
  /** Whether its files are deleted instead of moved to retired/. */
  readonly purge: boolean;
  readonly login: AccountLogin | null;
  /** Called when everything is proved, before anything is changed; it cancels by throwing. See {@link RetiredKey}. */
  readonly confirm?: (linkedFile: string | null) => Promise<void>;
}

/**
 * Removes a key from the keystore once it is certain that the exchange does not accept it any more.
 * @throws `ERR_STATE`, and what the network and the keystore throw
 */
export async function removeKey(context: WorkflowContext, name: string, options: RemoveOptions): Promise<RetiredKey> {
  return context.store.withLock(name, async (locked) => {
    const record = await locked.read();
    await requireNoRotation(context.store, name);
    await requireRemovable(context, record, options);
    await options.confirm?.(await linkTarget(context.store.files(name).privateKey));
    return retireKey(context.store, { locked, record, purge: options.purge });
  });
}
