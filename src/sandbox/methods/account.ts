import type { Account } from '../core/accounts.js';
import { errorOf, invalidParam } from '../core/errors.js';
import { type Exchange, type Methods, type PrivateCall, privateMethod } from '../core/exchange.js';
import { currencies, instrumentNamed, listInstruments } from '../core/instruments.js';
import type { Grant } from '../core/tokens.js';

/** What an account holds, and which accounts there are. */
export const accountMethods: Methods = {
  'private/get_account_summary': privateMethod('account', 'read', (exchange, call) => {
    const account = subject(exchange, call);
    const summary = exchange.ledger.portfolio(account.id, call.params.requiredString('currency'));
    return { ...summary, ...identity(account), security_keys_enabled: exchange.secondFactor !== null };
  }),

  'private/get_account_summaries': privateMethod('account', 'read', (exchange, call) => {
    const account = subject(exchange, call);
    const flags = { security_keys_enabled: exchange.secondFactor !== null };
    const summaries = currencies.map((currency) => exchange.ledger.portfolio(account.id, currency));
    return { ...identity(account), ...flags, summaries };
  }),

  'private/get_access_log': privateMethod('account', 'read', (exchange, call) => {
    const offset = call.params.optionalInteger('offset') ?? 0;
    const count = call.params.optionalInteger('count') ?? 100;
    const entries = exchange.accessLog.list(call.grant.accountId);
    return { data: entries.slice(offset, offset + count), records_total: entries.length };
  }),

  'private/get_subaccounts_details': privateMethod('account', 'read', (exchange, { params, grant }) => {
    const chosen = listInstruments({ currency: params.requiredString('currency') });
    const withOrders = params.optionalBoolean('with_open_orders') ?? false;
    return visibleTo(exchange, grant).map(({ id }) => {
      const open = exchange.orders.open(id).map(({ order }) => order);
      const listed = open.filter(({ instrument_name: name }) => chosen.includes(instrumentNamed(name)));
      const positions = exchange.ledger.describePositions(id, chosen);
      return { uid: id, positions, ...(withOrders ? { open_orders: listed } : {}) };
    });
  }),

  // The description calls it `enabled`, its example `locked`.
  'private/get_user_locks': privateMethod('account', 'read', () =>
    currencies.map((currency) => ({ currency, enabled: false, locked: false })),
  ),

  'private/get_subaccounts': privateMethod('account', 'read', (exchange, call) => {
    const withPortfolio = call.params.optionalBoolean('with_portfolio') ?? false;
    const portfolio = ({ id }: Account) =>
      Object.fromEntries(
        currencies.map((currency) => [currency.toLowerCase(), exchange.ledger.portfolio(id, currency)]),
      );
    return visibleTo(exchange, call.grant).map((account) => ({
      ...identity(account),
      is_password: account.type === 'main',
      login_enabled: account.type === 'main',
      receive_notifications: false,
      security_keys_enabled: exchange.secondFactor !== null,
      security_keys_assignments: [],
      ...(withPortfolio ? { portfolio: portfolio(account) } : {}),
    }));
  }),
};

/** The caller's account, and for a main account all of its subaccounts. */
function visibleTo(exchange: Exchange, { accountId }: Grant): readonly Account[] {
  const own = exchange.accounts.actor(accountId);
  return own.type === 'main' ? exchange.accounts.all : [own];
}

/** The caller's account, or the subaccount that a main account asks about. */
function subject(exchange: Exchange, { params, grant }: PrivateCall): Account {
  const own = exchange.accounts.actor(grant.accountId);
  const id = params.optionalInteger('subaccount_id');
  if (id === null || id === own.id) return own;
  if (own.type !== 'main') throw errorOf(13_021);
  const account = exchange.accounts.account(id);
  if (account === undefined) throw invalidParam('subaccount_id', 'no such account');
  return account;
}

function identity(account: Account): Readonly<Record<string, unknown>> {
  const { id, type, username } = account;
  return { id, type, username, system_name: username, email: `${username}@sandbox.invalid` };
}
