import { listApiKeys } from '../deribit/api-keys.js';
import { DeribitKeysError } from '../errors.js';
import type { KeyRecord } from '../keystore/record.js';
import { retireKey } from '../keystore/retire.js';
import { protectedOptions, withAccount } from './account.js';
import type { AccountLogin, Parts } from './parts.js';

/** Whether the exchange holds the key enabled, by the account's own list. */
async function isEnabled(parts: Parts, record: KeyRecord, login: AccountLogin): Promise<boolean> {
  const keys = await withAccount(parts, login, 'read', (account) => listApiKeys(account, protectedOptions(parts)));
  return keys.some(
    (key) => key.enabled && (key.clientId === record.clientId || key.fingerprint === record.fingerprint),
  );
}

/**
 * Proves that a key may leave the keystore: it was never sent, or is retired, or the account's list (where a login is
 * given) shows it disabled or gone.
 * @throws `ERR_STATE` else
 */
export async function requireRemovable(parts: Parts, record: KeyRecord, login: AccountLogin | null): Promise<void> {
  if (record.state === 'local' || (record.state === 'retired' && login === null)) return;
  if (login !== null && !(await isEnabled(parts, record, login))) return;
  const { name, state } = record;
  const what = state === 'pending' ? 'its registration is unfinished' : 'it is registered, and may still be enabled';
  throw new DeribitKeysError(
    'ERR_STATE',
    `the key "${name}" cannot be removed: ${what}${login === null ? '' : ' (the exchange shows it enabled)'}`,
    {
      hint:
        state === 'pending'
          ? `end the registration first: deribit-keys register ${name} …; or give a login, so that the account's list can be looked at`
          : `remove it from the exchange first: deribit-keys api-keys remove ${name} …; if it is gone from there, give a login (--as …), so that the list can be looked at`,
    },
  );
}

/**
 * Takes a key out of the keystore once it is certain that the exchange does not take it any more.
 * @returns the folder that its files are in now; null where they were deleted
 * @throws `ERR_STATE`, and what the network and the keystore can give
 */
export async function removeKey(
  parts: Parts,
  name: string,
  options: { readonly purge: boolean; readonly login: AccountLogin | null },
): Promise<string | null> {
  return parts.store.withLock(name, async (locked) => {
    const record = await locked.read();
    await requireRemovable(parts, record, options.login);
    return retireKey(parts.store, locked, record, { purge: options.purge });
  });
}
