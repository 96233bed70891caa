import { type Account, accountOf } from '../../deribit/account.js';
import type { Login } from '../../deribit/auth.js';
import type { Endpoint } from '../../deribit/endpoints.js';
import { parseScope } from '../../deribit/scope.js';
import { signIn } from '../../deribit/sign-in.js';
import type { Transport } from '../../deribit/transport.js';
import { DeribitKeysError } from '../../errors.js';
import type { AccountLogin, WorkflowContext } from '../context.js';

/** An account that is logged in. */
export interface OpenAccount extends Account {
  readonly clientId: string;
  readonly login: Login;
}

/** Opens a transport for `work` and closes it again, whatever comes. */
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

/** What `signal` and the like a request of this workflow carries. */
export function requestOptions(context: WorkflowContext): { signal?: AbortSignal } {
  return context.signal === undefined ? {} : { signal: context.signal };
}

/** The options of a call that may ask for the second factor. */
export function protectedOptions(context: WorkflowContext) {
  return {
    ...requestOptions(context),
    ...(context.secondFactor === undefined ? {} : { secondFactor: context.secondFactor }),
    ...(context.onNote === undefined ? {} : { onNote: context.onNote }),
  };
}

/** The account behind a login that was made on `transport`: its connection is logged in, or its token is sent along. */
export function openAccount(transport: Transport, clientId: string, made: Login): OpenAccount {
  return { ...accountOf(transport, made), clientId, login: made };
}

/** @throws `ERR_UNAUTHORIZED` where the login's scope does not allow `level` on the account. */
export function requireAccountScope(account: OpenAccount, level: 'read' | 'read_write'): void {
  const granted = parseScope(account.login.scope, 'exchange').resources.get('account') ?? 'none';
  if (granted === 'read_write' || granted === level) return;
  throw new DeribitKeysError(
    'ERR_UNAUTHORIZED',
    `the login ${account.clientId} may not do this: it has account:${granted}`,
    {
      hint: `log in with a key whose scope holds account:${level} (--as <name>, or --client-id with its secret)`,
    },
  );
}

/**
 * Logs in for work on the account, or on the subaccount that the login names, and logs out by closing the connection.
 * @throws `ERR_UNAUTHORIZED` where the scope does not do, and what `enterSubaccount` can give
 */
export async function withAccount<T>(
  context: WorkflowContext,
  { credentials, endpoint, subaccount, homeSubaccount }: AccountLogin,
  level: 'read' | 'read_write',
  work: (account: OpenAccount) => Promise<T>,
): Promise<T> {
  return withTransport(context, endpoint, async (transport) => {
    const made = await signIn(context, transport, credentials);
    const account = openAccount(transport, credentials.clientId, made);
    requireAccountScope(account, level);
    if (subaccount === undefined || subaccount === homeSubaccount) return work(account);
    const { enterSubaccount } = await import('./subaccount.js');
    const entered = await enterSubaccount(context, account, subaccount);
    requireAccountScope(entered, level);
    return work(entered);
  });
}
