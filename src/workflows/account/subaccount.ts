import { DeribitKeysError } from '../../errors.js';
import type { KeyRecord } from '../../keystore/record.js';
import type { AccountLogin } from '../context.js';

/** The subaccount that a login acts on; null for the main account, or where it is not known. */
export function subaccountOf({ subaccount, homeSubaccount }: AccountLogin): number | null {
  return subaccount ?? homeSubaccount ?? null;
}

/**
 * The login for work on the key of `record`: on the subaccount that it belongs to, unless the login names one.
 * @throws `ERR_USAGE` where the login names another subaccount than the record
 */
export function onBehalfOf(login: AccountLogin, record: KeyRecord): AccountLogin {
  if (record.subaccount === null) return login;
  if (login.subaccount !== undefined && login.subaccount !== record.subaccount) {
    throw new DeribitKeysError(
      'ERR_USAGE',
      `the key "${record.name}" belongs to the subaccount ${record.subaccount}, not to ${login.subaccount}`,
      { hint: 'leave out --subaccount: a registered key knows where it belongs' },
    );
  }
  return { ...login, subaccount: record.subaccount };
}
