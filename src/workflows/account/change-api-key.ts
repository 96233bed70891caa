import {
  type ApiKey,
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
import { certainlyNotDone, DeribitKeysError, type ErrorCode, isDeribitKeysError } from '../../errors.js';
import type { AuditNote, LockedKey, SaveNote } from '../../keystore/keystore.js';
import type { KeyRecord } from '../../keystore/record.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { proveLogin, scopeDifferences } from '../registration/proof.js';
import { type OpenAccount, protectedOptions, withAccount } from './account.js';
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

/** How the key must be afterwards. */
type Wanted = Partial<Pick<AccountKey, 'scope' | 'label' | 'enabled' | 'features' | 'ipWhitelist'>>;

/** The change in the exchange's own form. @throws `ERR_USAGE` for what the exchange would not take */
export function checkChange(change: KeyChange): KeyChange {
  if (change.do === 'scope') return { ...change, scope: formatScope(parseScope(change.scope)) };
  if (change.do === 'rename') return { ...change, label: checkLabel(change.label) };
  if (change.do !== 'edit') return change;
  const { scope, label, features, ipWhitelist } = change;
  if ([scope, label, features, ipWhitelist].every((value) => value === undefined)) {
    throw new DeribitKeysError('ERR_USAGE', 'there is nothing to change', {
      hint: 'give at least one of --scope, --label, --feature, --no-feature, --ip, --no-ip',
    });
  }
  return {
    do: 'edit',
    ...(scope === undefined ? {} : { scope: formatScope(parseScope(scope)) }),
    ...(label === undefined ? {} : { label: checkLabel(label) }),
    ...(features === undefined ? {} : { features: checkFeatures([...new Set(features)]) }),
    ...(ipWhitelist === undefined ? {} : { ipWhitelist: checkAddresses([...new Set(ipWhitelist)]) }),
  };
}

/**
 * Why a change would hurt the one who makes it: it strikes the very key that is logged in, or the last one that can
 * manage keys. Sentences for the user; none where it is harmless.
 */
export function dangersOf(change: KeyChange, target: AccountKey, keys: readonly AccountKey[]): readonly string[] {
  const scope = change.do === 'scope' || change.do === 'edit' ? change.scope : undefined;
  const shutsOut = change.do === 'disable' || change.do === 'remove';
  const disarms = shutsOut || (scope !== undefined && managesKeys(target.scope) && !managesKeys(scope));
  const restricts = change.do === 'edit' && change.ipWhitelist !== undefined && change.ipWhitelist.length > 0;
  const dangers: string[] = [];
  if (target.marks.includes('login')) {
    if (shutsOut) dangers.push('this is the very key that is logged in: it will not be able to log in again');
    else if (disarms) dangers.push('this is the very key that is logged in: it will not be able to manage keys again');
    else if (restricts) {
      dangers.push('this is the very key that is logged in: from an address outside the list it will not log in again');
    }
  }
  const others = keys.filter(({ keyId }) => keyId !== target.keyId);
  if (disarms && managesKeys(target.scope) && target.enabled && !others.some(isManager)) {
    dangers.push('no other enabled key of the account can manage keys: the way back is Deribit’s web page');
  }
  return dangers;
}

const isManager = (key: AccountKey) => key.enabled && managesKeys(key.scope);

/**
 * Changes a key of the account, proves the answer, and brings the keystore's records of it up to date; a key that was
 * removed is `retired` there, its files stay. `target` is the key as {@link listAccountKeys} showed it for this login.
 * @throws `ERR_PROOF_FAILED` where the answer shows something else than was asked for, and what the exchange, the
 *   network and the second factor can give; doing the same again does no harm
 */
export async function changeKey(
  context: WorkflowContext,
  login: AccountLogin,
  target: AccountKey,
  change: KeyChange,
): Promise<AccountKey> {
  const checked = checkChange(change);
  const { records } = await context.store.list();
  const names = recordsOf(records, login.endpoint, target.clientId).map(({ name }) => name);
  return context.store.withLocks(names, async (locked) => {
    const note = (outcome: string): AuditNote => ({
      action: checked.do,
      name: target.name,
      fingerprint: target.fingerprint,
      clientId: target.clientId,
      environment: login.endpoint.environment,
      outcome,
    });
    let answer: ApiKey | null;
    try {
      answer = await withAccount(context, login, 'read_write', (account) =>
        send(context, account, target, checked),
      ).catch(async (error: unknown) => {
        if (checked.do === 'remove' && !certainlyNotDone(error) && (await isGone(context, login, target))) return null;
        throw error;
      });
      if (answer !== null) prove(target, answer, wantedOf(checked));
    } catch (error) {
      await context.store.audit(note(isDeribitKeysError(error) ? error.code : 'ERR_INTERNAL'));
      throw maybeDone(error);
    }
    // the first record and the audit log change as one; a key that is on no record has the log alone
    const [first, ...others] = await stillMeaning(locked, target.clientId);
    if (first === undefined) await context.store.audit(note('ok'));
    const now = answer ?? { removedAt: context.store.now().toISOString() };
    if (first !== undefined) await bringUpToDate(first, now, { action: checked.do });
    for (const key of others) await bringUpToDate(key, now);
    if (answer === null) return { ...target, enabled: false };
    return describeApiKey(answer, (await context.store.list()).records, login);
  });
}

/** Those of the keys that were not given another client id before they were locked, such as by a rotation. */
async function stillMeaning(keys: readonly LockedKey[], clientId: string): Promise<readonly LockedKey[]> {
  const records = await Promise.all(keys.map((key) => key.read()));
  return keys.filter((_key, index) => records[index]?.clientId === clientId);
}

/** The key as the exchange answers it; null where it was removed. */
async function send(
  context: WorkflowContext,
  account: OpenAccount,
  target: AccountKey,
  change: KeyChange,
): Promise<ApiKey | null> {
  const options = protectedOptions(context);
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
      return Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined));
    }
  }
}

const asSet = (words: readonly string[]) => [...words].sort().join(' ') || 'none';

/** @throws `ERR_PROOF_FAILED` naming each difference between what was asked for and what the exchange shows */
function prove(target: AccountKey, answer: ApiKey, wanted: Wanted): void {
  const differences: string[] = [];
  const compare = (what: string, asked: string | undefined, shown: string) => {
    if (asked !== undefined && asked !== shown) differences.push(`the ${what}: asked for ${asked}, shown ${shown}`);
  };
  compare('key', `${target.keyId} ${target.clientId}`, `${answer.keyId} ${answer.clientId}`);
  if (wanted.scope !== undefined) differences.push(...scopeDifferences(wanted.scope, answer.maxScope));
  compare('label', wanted.label, answer.label);
  compare('state', wanted.enabled === undefined ? undefined : stateOf(wanted.enabled), stateOf(answer.enabled));
  compare('features', wanted.features === undefined ? undefined : asSet(wanted.features), asSet(answer.features));
  compare(
    'whitelist',
    wanted.ipWhitelist === undefined ? undefined : asSet(wanted.ipWhitelist),
    asSet(answer.ipWhitelist),
  );
  if (differences.length === 0) return;
  throw new DeribitKeysError(
    'ERR_PROOF_FAILED',
    `the exchange did not do as it was asked with the key ${target.clientId}; ${differences.join('; ')}`,
    { hint: 'see how the key is now with: deribit-keys api-keys list', maybeSent: true },
  );
}

const stateOf = (enabled: boolean) => (enabled ? 'enabled' : 'disabled');

/** Whether a key whose removal was not answered is gone; false where that cannot be seen either. */
async function isGone(context: WorkflowContext, login: AccountLogin, target: AccountKey): Promise<boolean> {
  try {
    return !(await listAccountKeys(context, login)).some(({ keyId }) => keyId === target.keyId);
  } catch {
    return false;
  }
}

/** A change whose answer was lost may be made again: the end is the same. */
function maybeDone(error: unknown): unknown {
  if (certainlyNotDone(error) || !isDeribitKeysError(error) || error.code === 'ERR_PROOF_FAILED') return error;
  return new DeribitKeysError(error.code, `${error.message} (it may have been done all the same)`, {
    cause: error,
    hint: 'run the same command again: it does no harm where it was done',
    maybeSent: true,
    ...(error.rpc === undefined ? {} : { rpc: error.rpc }),
  });
}

async function bringUpToDate(
  locked: LockedKey,
  answer: ApiKey | { readonly removedAt: string | null },
  note?: SaveNote,
): Promise<void> {
  const record = await locked.read();
  const changed: KeyRecord =
    'removedAt' in answer
      ? { ...record, state: 'retired', removedAt: answer.removedAt }
      : {
          ...record,
          keyId: answer.keyId,
          scope: normaliseScope(answer.maxScope),
          label: answer.label,
          features: answer.features,
          ipWhitelist: answer.ipWhitelist,
        };
  await locked.save(changed, note);
}

/**
 * A key that is on record, and is neither on the account's list nor able to log in, such as after a removal whose answer
 * was lost: its record becomes `retired`. Gives whether that was so; a key with a whitelist is left as it is, since its
 * refused login proves nothing.
 */
export async function retireMissing(
  context: WorkflowContext,
  login: AccountLogin,
  missing: KeyRecord,
): Promise<boolean> {
  const { clientId } = missing;
  if (missing.state !== 'registered' || clientId === null || missing.ipWhitelist.length > 0) return false;
  if ((await proveLogin(context, login.endpoint, clientId, await context.signerOf(missing))) !== null) return false;
  return context.store.withLock(missing.name, async (locked) => {
    const record = await locked.read();
    if (record.state !== 'registered' || record.clientId !== clientId) return false;
    await bringUpToDate(locked, { removedAt: null }, { action: 'retire' });
    return true;
  });
}

/** What became of one key under the emergency brake. */
export interface BrakeResult extends AccountKey {
  /** The error that kept it enabled, or null. */
  readonly error: { readonly code: ErrorCode; readonly message: string } | null;
}

/**
 * The emergency brake: disables every enabled key but `spared`, the most powerful first and the login's own last. What
 * fails for one key does not keep the others from being disabled.
 * @throws `ERR_INTERRUPTED`; all else stands in the result
 */
export async function disableAllBut(
  context: WorkflowContext,
  login: AccountLogin,
  keys: readonly AccountKey[],
  spared: readonly AccountKey[],
): Promise<readonly BrakeResult[]> {
  const doomed = keys.filter((key) => key.enabled && !spared.some(({ keyId }) => keyId === key.keyId));
  const order = (key: AccountKey) => (key.marks.includes('login') ? 2 : key.marks.includes('over-powered') ? 0 : 1);
  const results: BrakeResult[] = [];
  for (const key of [...doomed].sort((a, b) => order(a) - order(b))) {
    try {
      results.push({ ...(await changeKey(context, login, key, { do: 'disable' })), error: null });
    } catch (error) {
      if (!isDeribitKeysError(error) || error.code === 'ERR_INTERRUPTED') throw error;
      const { code, message } = error;
      results.push({ ...key, error: { code, message } });
    }
  }
  return results;
}
