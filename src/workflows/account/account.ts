import { type ApiKey, listReadableApiKeys } from '../../deribit/api-keys.js';
import { type Account, accountOf, call, exchangeToken, type Login, signIn } from '../../deribit/auth.js';
import { type Endpoint, httpUrlOf } from '../../deribit/endpoints.js';
import { type AccessLevel, parseScope } from '../../deribit/scope.js';
import { fieldsOf } from '../../deribit/shapes.js';
import type { Transport } from '../../deribit/transport.js';
import { DeribitKeysError, isDeribitKeysError, usageError } from '../../errors.js';
import type { AuditNote } from '../../keystore/keystore.js';
import type { KeyRecord } from '../../keystore/record.js';
import { defined } from '../../util/defined.js';
import type { AccountLogin, WorkflowContext } from '../context.js';

/** An account that is logged in. */
export interface OpenAccount extends Account {
  readonly clientId: string;
  readonly login: Login;
}

/** Opens a transport for `work` and closes it afterwards. */
export async function withTransport<T>(
  context: WorkflowContext,
  endpoint: Endpoint,
  work: (transport: Transport) => Promise<T>,
): Promise<T> {
  const transport = await context.connect(endpoint);
  try {
    return await work(transport);
  } finally {
    await transport.close().catch(() => {});
  }
}

/** The options of each request of this workflow. */
export function requestOptions({ signal }: WorkflowContext): { signal?: AbortSignal } {
  return defined({ signal });
}

/** The options of a call that may ask for the second factor. */
export function protectedOptions({ signal, secondFactor, onNote }: WorkflowContext) {
  return defined({ signal, secondFactor, onNote });
}

/**
 * All keys of the account (`private/list_api_keys`); what cannot be read of one is taken as not shown.
 * @throws `ERR_PROTOCOL` where one has no id
 */
export async function accountKeys(
  context: WorkflowContext,
  account: OpenAccount,
  options = protectedOptions(context),
): Promise<readonly ApiKey[]> {
  const { keys, unreadable } = await listReadableApiKeys(account, options);
  if (unreadable === 0) return keys;
  throw new DeribitKeysError('ERR_PROTOCOL', `${unreadable} of the account's API keys are shown without an id`, {
    hint: "see them on Deribit's web page (Account > API)",
  });
}

/** Adds a line to the audit log; a failure is only noted, so that it does not hide what the exchange did. */
export async function audit({ store, onNote }: WorkflowContext, note: AuditNote): Promise<void> {
  await store.audit(note).catch((error: unknown) => {
    onNote?.(`the audit log could not be written: ${messageOf(error)}`);
  });
}

export const messageOf = (error: unknown) => (error instanceof Error ? error.message : 'unknown');

/** The code of an error for the audit log. */
export const outcomeOf = (error: unknown) => (isDeribitKeysError(error) ? error.code : 'ERR_INTERNAL');

/** A failure of the keystore after the exchange did what was asked; `done` is a sentence that says so and comes first. */
export function notRecorded(
  error: unknown,
  done: string,
  hint = 'run the same command again: it brings the keystore up to date',
): DeribitKeysError {
  const message = `${done}, but the keystore could not be brought up to date: ${messageOf(error)}`;
  if (isDeribitKeysError(error)) return error.with({ message, hint, maybeSent: true });
  return new DeribitKeysError('ERR_KEYSTORE_IO', message, { cause: error, hint, maybeSent: true });
}

/** The account behind a login that was made on `transport`: its connection is logged in, or its token is sent along. */
export function openAccount(transport: Transport, clientId: string, made: Login): OpenAccount {
  return { ...accountOf(transport, made), clientId, login: made };
}

/** What a scope of the exchange's allows on the account, its API keys included. */
export function accountLevel(scope: string): AccessLevel {
  return parseScope(scope, 'exchange').resources.get('account') ?? 'none';
}

/** @throws `ERR_UNAUTHORIZED` where the login's scope does not allow `level` on the account. */
function requireAccountScope(account: OpenAccount, level: Exclude<AccessLevel, 'none'>): void {
  const granted = accountLevel(account.login.scope);
  if (granted === 'read_write' || granted === level) return;
  const message = `the login ${account.clientId} is not allowed to do this: it has account:${granted}`;
  const hint = `log in with a key whose scope holds account:${level} (--as <name>, or --client-id with its secret)`;
  throw new DeribitKeysError('ERR_UNAUTHORIZED', message, { hint });
}

/**
 * Logs in for work on the account, or on the subaccount that the login names. The connection is closed afterwards.
 * @throws `ERR_UNAUTHORIZED` where the scope is not enough, and what `enterSubaccount` throws
 */
export async function withAccount<T>(
  context: WorkflowContext,
  { login, level }: { readonly login: AccountLogin; readonly level: Exclude<AccessLevel, 'none'> },
  work: (account: OpenAccount) => Promise<T>,
): Promise<T> {
  const { credentials, endpoint, subaccount, homeSubaccount } = login;
  return withTransport(context, endpoint, async (transport) => {
    const made = await signIn(context, { transport, credentials });
    const account = openAccount(transport, credentials.clientId, made);
    requireAccountScope(account, level);
    if (subaccount === undefined || subaccount === homeSubaccount) return work(account);
    const entered = await enterSubaccount(context, account, subaccount);
    requireAccountScope(entered, level);
    return work(entered);
  });
}

/** The user id of the account that a login acts on (`private/get_account_summary`, extended). It needs `account:read`. */
export async function accountIdOf(context: WorkflowContext, account: OpenAccount): Promise<number> {
  const method = 'private/get_account_summary';
  const params = { currency: 'BTC', extended: true };
  return fieldsOf(method, await call(account, { method, params, ...requestOptions(context) })).integer('id');
}

/**
 * Goes from a login of the main account to one of its subaccounts (`public/exchange_token`), and proves that it arrived
 * there. Whether the connection itself changes over is not documented, so each request carries the new token.
 * @throws `ERR_PROOF_FAILED` where the exchange shows another account, `ERR_RPC` where there is no such subaccount
 */
async function enterSubaccount(
  context: WorkflowContext,
  account: OpenAccount,
  subaccount: number,
): Promise<OpenAccount> {
  const login = await exchangeToken(account.transport, {
    refreshToken: account.login.refreshToken,
    subjectId: subaccount,
    ...requestOptions(context),
  });
  const entered: OpenAccount = { ...account, login, accessToken: login.accessToken };
  const id = await accountIdOf(context, entered);
  if (id === subaccount) return entered;
  const message = `the exchange was asked for the subaccount ${subaccount} and returned the account ${id}`;
  const hint = "nothing was changed; see the ids of the subaccounts on Deribit's web page";
  throw new DeribitKeysError('ERR_PROOF_FAILED', message, { hint });
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
    throw usageError(
      `the key "${record.name}" belongs to the subaccount ${record.subaccount}, not to ${login.subaccount}`,
      'leave out --subaccount: a registered key knows where it belongs',
    );
  }
  return { ...login, subaccount: record.subaccount };
}

/** The client id of a key that can log in. @throws `ERR_STATE` for one that is not registered. */
export function requireClientId(record: KeyRecord): string {
  if (record.removedAt !== null) {
    const message = `the key "${record.name}" was removed from the exchange on ${record.removedAt}`;
    const hint = 'generate and register another; see which can log in with: deribit-keys list';
    throw new DeribitKeysError('ERR_STATE', message, { hint });
  }
  if (record.clientId !== null && record.state !== 'local') return record.clientId;
  throw new DeribitKeysError('ERR_STATE', `the key "${record.name}" is not registered`, {
    hint: `register it (deribit-keys register ${record.name} --help), or link it to a client id from Deribit's web page`,
  });
}

/**
 * Logs in with a stored key, and looks up the user id of its account where the scope shows it.
 * @param outlives whether to log in over HTTP whatever the endpoint says: the token of a WebSocket connection ends with it
 * @throws `ERR_STATE`, `ERR_UNAUTHORIZED`, and what the network and the signer can give
 */
export async function authenticate(
  context: WorkflowContext,
  record: KeyRecord,
  {
    endpoint,
    scope,
    outlives = false,
  }: { readonly endpoint: Endpoint; readonly scope?: string | undefined; readonly outlives?: boolean },
): Promise<{ readonly clientId: string; readonly login: Login; readonly account: number | null }> {
  const clientId = requireClientId(record);
  const signer = await context.signerOf(record);
  const target = outlives ? { ...endpoint, url: httpUrlOf(endpoint.url) } : endpoint;
  return withTransport(context, target, async (transport) => {
    const login = await signIn(context, { transport, credentials: { clientId, signer }, scope });
    return { clientId, login, account: await visibleAccountId(context, openAccount(transport, clientId, login)) };
  });
}

/** The user id of the account; null where the scope does not show it, or the exchange does not tell it. */
async function visibleAccountId(context: WorkflowContext, account: OpenAccount): Promise<number | null> {
  if (accountLevel(account.login.scope) === 'none') return null;
  return accountIdOf(context, account).catch((error: unknown) => {
    if (!isDeribitKeysError(error) || error.code === 'ERR_INTERRUPTED') throw error;
    return null;
  });
}
