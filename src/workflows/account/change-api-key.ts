import {
  type ApiKey,
  type ApiKeyOptions,
  changeApiKeyScope,
  checkAddresses,
  checkFeatures,
  checkLabel,
  disableApiKey,
  editApiKey,
  enableApiKey,
  removeApiKey,
  renameApiKey,
} from '../../deribit/api-keys.js';
import { formatScope, normaliseScope, parseScope } from '../../deribit/scope.js';
import { certainlyNotDone, DeribitKeysError, isDeribitKeysError, usageError } from '../../errors.js';
import { forgetTokens } from '../../integrations/token-store/file-token-store.js';
import type { AuditNote, LockedKey, SaveNote } from '../../keystore/keystore.js';
import type { KeyRecord } from '../../keystore/record.js';
import { defined } from '../../util/defined.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { keyLogsIn, scopeDifferences } from '../registration/proof.js';
import { audit, notRecorded, type OpenAccount, outcomeOf, protectedOptions, withAccount } from './account.js';
import { type AccountKey, describeApiKey, listAccountKeys, managesKeys, recordsOf } from './api-keys.js';

/** What can be done to a key of the account; what is left out of an edit stays. */
export type KeyChange =
  | {
      readonly do: 'edit';
      readonly scope?: string | undefined;
      readonly label?: string | undefined;
      readonly features?: readonly string[] | undefined;
      readonly ipWhitelist?: readonly string[] | undefined;
    }
  | { readonly do: 'scope'; readonly scope: string }
  | { readonly do: 'rename'; readonly label: string }
  | { readonly do: 'enable' }
  | { readonly do: 'disable' }
  | { readonly do: 'remove' };

/** How the key must be afterwards; what is undefined may be anything. */
type Wanted = {
  readonly [F in 'scope' | 'label' | 'enabled' | 'features' | 'ipWhitelist']?: AccountKey[F] | undefined;
};

/** The change in the exchange's own form. @throws `ERR_USAGE` for what the exchange would not accept */
export function checkChange(change: KeyChange): KeyChange {
  if (change.do === 'scope') return { ...change, scope: formatScope(parseScope(change.scope)) };
  if (change.do === 'rename') return { ...change, label: checkLabel(change.label) };
  if (change.do !== 'edit') return change;
  const { scope, label, features, ipWhitelist } = change;
  if ([scope, label, features, ipWhitelist].every((value) => value === undefined)) {
    throw usageError(
      'there is nothing to change',
      'give at least one of --scope, --label, --feature, --no-feature, --ip, --no-ip',
    );
  }
  return {
    do: 'edit',
    ...defined({
      scope: scope === undefined ? undefined : formatScope(parseScope(scope)),
      label: label === undefined ? undefined : checkLabel(label),
      features: features === undefined ? undefined : checkFeatures([...new Set(features)]),
      ipWhitelist: ipWhitelist === undefined ? undefined : checkAddresses([...new Set(ipWhitelist)]),
    }),
  };
}

/**
 * Warnings about a change that would lock its maker out: it concerns the key that is logged in, or the last one that can
 * manage keys. Empty where it is harmless.
 */
export function dangersOf(change: KeyChange, target: AccountKey, keys: readonly AccountKey[]): readonly string[] {
  const scope = change.do === 'scope' || change.do === 'edit' ? change.scope : undefined;
  const shutsOut = change.do === 'disable' || change.do === 'remove';
  const disarms = shutsOut || (scope !== undefined && managesKeys(target.scope) && !managesKeys(scope));
  const restricts = change.do === 'edit' && change.ipWhitelist !== undefined && change.ipWhitelist.length > 0;
  const dangers: string[] = [];
  if (target.marks.includes('login')) {
    if (shutsOut) dangers.push('this is the key of this login: it will not be able to log in again');
    else if (disarms) dangers.push('this is the key of this login: it will not be able to manage keys again');
    else if (restricts) {
      dangers.push('this is the key of this login: it will not be able to log in from an address outside the list');
    }
  }
  const others = keys.filter(({ keyId }) => keyId !== target.keyId);
  if (disarms && managesKeys(target.scope) && target.enabled !== false && !others.some(isManager)) {
    dangers.push("no other enabled key of the account can manage keys: only Deribit's web page can undo it");
  }
  return dangers;
}

const isManager = (key: AccountKey) => key.enabled !== false && managesKeys(key.scope);

/**
 * Changes a key of the account, proves the answer, and brings the keystore's records of it up to date; a key that was
 * removed is `retired` there, its files stay. `target` is the key as {@link listAccountKeys} showed it for this login.
 * @throws `ERR_PROOF_FAILED` where the answer shows something else than was asked for, and what the exchange, the
 *   network and the second factor throw; doing the same again does no harm. Where the exchange did it and the keystore
 *   fails, the error says both
 */
export async function changeKey(
  context: WorkflowContext,
  { login, target, change }: { readonly login: AccountLogin; readonly target: AccountKey; readonly change: KeyChange },
): Promise<AccountKey> {
  const checked = checkChange(change);
  const { records } = await context.store.list();
  const names = recordsOf(records, login.endpoint, target.clientId).map(({ name }) => name);
  return context.store.withLocks(names, async (locked) => {
    const note: AuditNote = {
      action: checked.do,
      name: target.name,
      fingerprint: target.fingerprint,
      clientId: target.clientId,
      environment: login.endpoint.environment,
    };
    let answer: ApiKey | null;
    try {
      answer = await withAccount(context, { login, level: 'read_write' }, (account) =>
        send(account, { target, change: checked }, protectedOptions(context)),
      ).catch(async (error: unknown) => {
        if (checked.do === 'remove' && !certainlyNotDone(error) && (await isGone(context, login, target))) return null;
        throw error;
      });
      if (answer !== null) prove(target, answer, wantedOf(checked));
    } catch (error) {
      await audit(context, { ...note, outcome: outcomeOf(error) });
      throw maybeDone(error);
    }
    const isLess = checked.do === 'disable' || checked.do === 'remove' || wantedOf(checked).scope !== undefined;
    if (isLess) await forgetTokens(context.store, names);
    try {
      await record(context, locked, { answer, note });
    } catch (error) {
      throw notRecorded(error, `the exchange did as asked (${checked.do} ${target.clientId})`);
    }
    if (answer === null) return { ...target, enabled: false };
    return describeApiKey(answer, (await context.store.list()).records, login);
  });
}

/** Writes what the exchange did into the audit log and into the records of the key; the first record and the log together. */
async function record(
  { store }: WorkflowContext,
  locked: readonly LockedKey[],
  { answer, note }: { readonly answer: ApiKey | null; readonly note: AuditNote },
): Promise<void> {
  // not those that were given another client id before they were locked, such as by a rotation
  const records = await Promise.all(locked.map((key) => key.read()));
  const [first, ...others] = locked.filter((_key, index) => records[index]?.clientId === note.clientId);
  const now = answer ?? { removedAt: store.now().toISOString() };
  if (first === undefined) await store.audit(note);
  else await bringUpToDate(first, now, { action: note.action });
  for (const key of others) await bringUpToDate(key, now);
}

/** The key as the exchange answers it; null where it was removed. */
async function send(
  account: OpenAccount,
  { target, change }: { readonly target: AccountKey; readonly change: KeyChange },
  options: ApiKeyOptions,
): Promise<ApiKey | null> {
  const { keyId } = target;
  switch (change.do) {
    case 'edit':
      return editApiKey(account, { ...change, keyId, scope: change.scope ?? target.scope }, options);
    case 'scope':
      return changeApiKeyScope(account, { keyId, scope: change.scope }, options);
    case 'rename':
      return renameApiKey(account, { keyId, label: change.label }, options);
    case 'enable':
      return enableApiKey(account, { keyId }, options);
    case 'disable':
      return disableApiKey(account, { keyId }, options);
    case 'remove':
      await removeApiKey(account, { keyId }, options);
      return null;
  }
}

function wantedOf(change: KeyChange): Wanted {
  switch (change.do) {
    case 'enable':
      return { enabled: true };
    case 'disable':
      return { enabled: false };
    default: {
      const { do: _what, ...wanted } = change;
      return wanted;
    }
  }
}

const asSet = (words: readonly string[] | undefined) =>
  words === undefined ? undefined : [...words].sort().join(' ') || 'none';

/** Undefined where the exchange does not show it, or anything will do. */
const stateOf = (enabled: boolean | null | undefined) =>
  typeof enabled === 'boolean' ? (enabled ? 'enabled' : 'disabled') : undefined;

/** @throws `ERR_PROOF_FAILED` naming each difference between what was asked for and what the exchange shows */
function prove(target: AccountKey, answer: ApiKey, wanted: Wanted): void {
  const differences: string[] = [];
  // what is not shown is not a difference
  const compare = (what: string, asked: string | undefined, shown: string | undefined) => {
    if (asked === undefined || shown === undefined || asked === shown) return;
    differences.push(`the ${what}: asked for ${asked}, shown ${shown}`);
  };
  compare('key', `${target.keyId} ${target.clientId}`, `${answer.keyId} ${answer.clientId}`);
  if (wanted.scope !== undefined) differences.push(...scopeDifferences(wanted.scope, answer.maxScope));
  compare('label', wanted.label, answer.label);
  compare('state', stateOf(wanted.enabled), stateOf(answer.enabled));
  compare('features', asSet(wanted.features), asSet(answer.features));
  compare('whitelist', asSet(wanted.ipWhitelist), asSet(answer.ipWhitelist));
  if (differences.length === 0) return;
  const message = `the exchange did not change the key as asked: ${target.clientId}; ${differences.join('; ')}`;
  const hint = 'see the key as it is now with: deribit-keys api-keys list';
  throw new DeribitKeysError('ERR_PROOF_FAILED', message, { hint, maybeSent: true });
}

/** Whether a key whose removal was not answered is gone; false where that cannot be seen either. */
async function isGone(context: WorkflowContext, login: AccountLogin, target: AccountKey): Promise<boolean> {
  try {
    return !(await listAccountKeys(context, login)).some(({ keyId }) => keyId === target.keyId);
  } catch {
    return false;
  }
}

/** A change whose answer was lost may be made again: the result is the same. */
function maybeDone(error: unknown): unknown {
  if (certainlyNotDone(error) || !isDeribitKeysError(error) || error.code === 'ERR_PROOF_FAILED') return error;
  return error.with({
    message: `${error.message} (it may have been carried out nevertheless)`,
    hint: 'run the same command again: repeating it does no harm',
    maybeSent: true,
  });
}

async function bringUpToDate(
  locked: LockedKey,
  answer: ApiKey | { readonly removedAt: string | null },
  note?: SaveNote,
): Promise<void> {
  const record = await locked.read();
  if ('removedAt' in answer) return locked.save({ ...record, state: 'retired', removedAt: answer.removedAt }, note);
  const { keyId, maxScope, label, features, ipWhitelist } = answer;
  return locked.save({ ...record, keyId, scope: normaliseScope(maxScope), label, features, ipWhitelist }, note);
}

/**
 * Marks a key as `retired` that is on record and not among `keys`, the account's, such as after a removal whose answer was
 * lost or could not be written down. It is gone where these keys show the one that registered it, or where its login is
 * refused and no whitelist explains that.
 * @returns the record as it is now, or null where the key is not certainly gone
 */
export async function retireMissing(
  context: WorkflowContext,
  missing: KeyRecord,
  { login, keys }: { readonly login: AccountLogin; readonly keys: readonly AccountKey[] },
): Promise<KeyRecord | null> {
  const { clientId, registrar } = missing;
  if (missing.state !== 'registered' || clientId === null) return null;
  const isOwnAccount = keys.some((key) => key.clientId === registrar);
  if (!isOwnAccount && missing.ipWhitelist.length > 0) return null;
  if (!isOwnAccount && (await keyLogsIn(context, missing, login.endpoint))) return null;
  return context.store.withLock(missing.name, async (locked) => {
    const record = await locked.read();
    if (record.state !== 'registered' || record.clientId !== clientId) return null;
    const removedAt = isOwnAccount ? context.store.now().toISOString() : null;
    await bringUpToDate(locked, { removedAt }, { action: 'retire' });
    return locked.read();
  });
}
