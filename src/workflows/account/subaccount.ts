import { call } from '../../deribit/account.js';
import { exchangeToken } from '../../deribit/auth.js';
import { fieldsOf } from '../../deribit/shapes.js';
import { DeribitKeysError } from '../../errors.js';
import type { KeyRecord } from '../../keystore/record.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { type OpenAccount, requestOptions } from './account.js';

/** The user id of the account that a login acts on (`private/get_account_summary`, extended). It needs `account:read`. */
export async function accountIdOf(context: WorkflowContext, account: OpenAccount): Promise<number> {
  const method = 'private/get_account_summary';
  const summary = await call(account, method, { currency: 'BTC', extended: true }, requestOptions(context));
  return fieldsOf(method, summary).integer('id');
}

/**
 * Goes from a login of the main account to one of its subaccounts (`public/exchange_token`), and proves that it got
 * there. Whether the connection itself changes over is not documented, so each request carries the new token.
 * @throws `ERR_PROOF_FAILED` where the exchange shows another account, `ERR_RPC` where there is no such subaccount
 */
export async function enterSubaccount(
  context: WorkflowContext,
  account: OpenAccount,
  subaccount: number,
): Promise<OpenAccount> {
  const login = await exchangeToken(account.transport, account.login.refreshToken, subaccount, requestOptions(context));
  const entered: OpenAccount = { ...account, login, accessToken: login.accessToken };
  const id = await accountIdOf(context, entered);
  if (id === subaccount) return entered;
  throw new DeribitKeysError(
    'ERR_PROOF_FAILED',
    `the exchange was asked for the subaccount ${subaccount} and gives the account ${id}`,
    { hint: 'nothing was changed; see the ids of the subaccounts in Deribit’s web page' },
  );
}

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
