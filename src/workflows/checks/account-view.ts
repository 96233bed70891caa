import { type ApiKey, listApiKeys } from '../../deribit/api-keys.js';
import { protectedOptions, withAccount } from '../account/account.js';
import { DOCUMENTED_KEY_LIMIT as MAX_API_KEYS } from '../account/key-limit.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { asFound, type Finding, fixOf, notesOn, ownCommand } from './finding.js';

/** What an account shows of its keys; null where it could not be asked, and a finding says why. */
export interface AccountView {
  readonly apiKeys: readonly ApiKey[] | null;
  readonly findings: readonly Finding[];
}

/** Asks for the account's keys. @throws `ERR_USAGE` as the login does */
export async function viewAccount(context: WorkflowContext, login: AccountLogin): Promise<AccountView> {
  const notes = notesOn(null);
  const { clientId } = login.credentials;
  try {
    const apiKeys = await withAccount(context, login, 'read', (open) => listApiKeys(open, protectedOptions(context)));
    const where = login.subaccount === undefined ? '' : ` of the subaccount ${login.subaccount}`;
    return {
      apiKeys,
      findings: [notes.good('account', `${clientId} sees ${apiKeys.length} API keys${where}`), keysLeft(apiKeys)],
    };
  } catch (thrown) {
    return { apiKeys: null, findings: [cannotAsk(thrown)] };
  }
}

/** Why the account could not be asked: a missing code or passphrase is no fault. @throws `ERR_USAGE` unchanged */
export function cannotAsk(thrown: unknown): Finding {
  const error = asFound(thrown);
  if (error.code === 'ERR_USAGE') throw error;
  const missing = error.code === 'ERR_SECOND_FACTOR_REQUIRED' || error.code === 'ERR_PASSPHRASE_REQUIRED';
  const found = missing ? notesOn(null).skipped : notesOn(null).bad;
  return found('account', error.message, fixOf(error));
}

/** How many more keys the account may have: a rotation needs room for one. */
function keysLeft(apiKeys: readonly ApiKey[]): Finding {
  const notes = notesOn(null);
  const left = Math.max(0, MAX_API_KEYS - apiKeys.length);
  if (left > 0) return notes.good('key-limit', `room for ${left} more of ${MAX_API_KEYS}`);
  const disabled = apiKeys.filter(({ enabled }) => !enabled).map(({ clientId }) => clientId);
  const candidates = disabled.length === 0 ? '' : ` (disabled, but perhaps needed: ${disabled.join(', ')})`;
  return notes.bad(
    'key-limit',
    `the account has ${apiKeys.length} API keys, and Deribit allows ${MAX_API_KEYS}: none can be registered or rotated`,
    `decide which key nobody needs${candidates}: ${ownCommand('api-keys', 'list')}, then deribit-keys api-keys remove <which>`,
  );
}
