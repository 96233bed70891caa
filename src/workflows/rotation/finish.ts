import { type ApiKey, disableApiKey, enableApiKey, removeApiKey } from '../../deribit/api-keys.js';
import { DeribitKeysError } from '../../errors.js';
import { deleteJournal, type RotationJournal } from '../../keystore/journal.js';
import { type LockedKey, noteOn, recordStep } from '../../keystore/keystore.js';
import type { KeyRecord } from '../../keystore/record.js';
import { audit, notRecorded, outcomeOf, protectedOptions, requireClientId, withAccount } from '../account/account.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { keyLogsIn } from '../registration/proof.js';
import { inspectKeys, readOrNull, requireIntact } from './inspect.js';
import { demote, dropSuccessor } from './promote.js';

/** A rotation under way, and what it works with. */
export interface RotationWork {
  readonly context: WorkflowContext;
  /** The key that is rotated. */
  readonly locked: LockedKey;
  readonly journal: RotationJournal;
}

/** The same once the successor has its name. */
export interface PromotedWork extends RotationWork {
  readonly journal: RotationJournal & { readonly archive: string };
}

/** The login that removes the key `ending`: the given one, unless that is this very key; then its partner logs in. */
async function loginWithout(
  context: WorkflowContext,
  login: AccountLogin,
  { ending, partner }: { readonly ending: string | null; readonly partner: KeyRecord },
): Promise<AccountLogin> {
  if (login.credentials.clientId !== ending) return login;
  const credentials = { clientId: requireClientId(partner), signer: await context.signerOf(partner) };
  return { endpoint: login.endpoint, credentials };
}

/**
 * Proves that a key logs in. A refusal proves nothing where the key has a whitelist, which may not hold this address.
 * @throws `ERR_PROOF_FAILED`
 */
export async function requireLogin(context: WorkflowContext, login: AccountLogin, record: KeyRecord): Promise<void> {
  requireClientId(record);
  if (await keyLogsIn(context, record, login.endpoint)) return;
  if (record.ipWhitelist.length > 0) {
    context.onNote?.(`the login of "${record.name}" was refused: this address may not be in its whitelist`);
    return;
  }
  const message = `the exchange refuses the login of "${record.name}" (${record.clientId})`;
  const hint = `see what is wrong with: deribit-keys verify ${record.name}`;
  throw new DeribitKeysError('ERR_PROOF_FAILED', message, { hint });
}

/** Runs `work` on a key of the exchange, with a line in the audit log however it ends. */
function auditedFor(context: WorkflowContext, record: KeyRecord) {
  return async <T>(action: string, work: () => Promise<T>): Promise<T> => {
    try {
      const result = await work();
      await audit(context, noteOn(action, record));
      return result;
    } catch (error) {
      await audit(context, { ...noteOn(action, record), outcome: outcomeOf(error) });
      throw error;
    }
  };
}

/**
 * Finishes a rotation whose successor was promoted: disables and removes the old key, then deletes the journal. `fresh`
 * says that the successor was proved, and the old key seen, in this very run.
 */
export async function finishRotation(work: PromotedWork, login: AccountLogin, fresh: boolean): Promise<void> {
  const { context, locked, journal } = work;
  const [successor, old] = [await locked.read(), await context.store.read(journal.archive)];
  const { clientId, keyId } = journal.previous;
  const audited = auditedFor(context, old);
  if (!fresh) await requireLogin(context, login, successor);
  const by = await loginWithout(context, login, { ending: clientId, partner: successor });
  await withAccount(context, { login: by, level: 'read_write' }, async (account) => {
    let seen: Pick<ApiKey, 'keyId' | 'enabled'> | null = { keyId, enabled: true };
    if (!fresh) {
      const found = await inspectKeys(context, { account, login: by, journal, successor });
      await requireIntact(context, found.successor, successor);
      seen = found.old;
    }
    if (seen === null) return;
    if (seen.enabled !== false) {
      await audited('disable', async () => {
        const disabled = await disableApiKey(account, { keyId: seen.keyId }, protectedOptions(context));
        requireState(disabled, clientId, false);
      });
    }
    await audited('remove', () => removeApiKey(account, { keyId: seen.keyId }, protectedOptions(context)));
  });
  await context.store
    .withLock(journal.archive, async () => {
      const removedAt = context.store.now().toISOString();
      // the account of the old key is from now on the one that shows the successor
      const registrar = successor.clientId ?? old.registrar;
      await locked.change(
        [recordStep({ ...old, removedAt, registrar }), deleteJournal(journal.name)],
        noteOn('rotate', successor),
      );
    })
    .catch((error: unknown) => {
      throw notRecorded(error, `the old key of "${journal.name}" (${clientId}) is removed from the exchange`);
    });
}

/** What is not shown is not a difference. */
function requireState(shown: Pick<ApiKey, 'clientId' | 'enabled'>, clientId: string, enabled: boolean) {
  if (shown.clientId === clientId && (shown.enabled ?? enabled) === enabled) return;
  const asked = `${clientId} ${enabled ? 'enabled' : 'disabled'}`;
  const got = `${shown.clientId} ${shown.enabled ? 'enabled' : 'disabled'}`;
  throw new DeribitKeysError('ERR_PROOF_FAILED', `the exchange did not do what was asked: ${asked}; it shows ${got}`, {
    hint: 'see the keys as they are now with: deribit-keys api-keys list',
    maybeSent: true,
  });
}

/**
 * Reverses a promotion: the old key is enabled again where it was disabled, proved to log in, and gets its name back.
 * Returns null where the old key is already removed from the exchange.
 */
export async function goBack(work: PromotedWork, login: AccountLogin): Promise<RotationJournal | null> {
  const { context, locked, journal } = work;
  const [successor, old] = [await locked.read(), await context.store.read(journal.archive)];
  const { clientId } = journal.previous;
  const audited = auditedFor(context, old);
  const by = await loginWithout(context, login, { ending: clientId, partner: successor });
  const remains = await withAccount(context, { login: by, level: 'read_write' }, async (account) => {
    const { old: found } = await inspectKeys(context, { account, login: by, journal, successor });
    if (found === null) return false;
    if (found.enabled === true) return true;
    await audited('enable', async () => {
      requireState(await enableApiKey(account, { keyId: found.keyId }, protectedOptions(context)), clientId, true);
    });
    return true;
  });
  if (!remains) return null;
  await requireLogin(context, login, old);
  return demote(context.store, locked, journal);
}

/** Finishes an abort: the successor is removed from the exchange where it was created, then its files and the journal. */
export async function finishAbort(
  { context, locked, journal }: RotationWork,
  login: () => Promise<AccountLogin>,
): Promise<KeyRecord | null> {
  const old = await locked.read();
  const successor = await readOrNull(context, journal.successor);
  let certainlyGone = successor === null || successor.state === 'local';
  if (successor !== null && successor.state !== 'local') {
    const by = await loginWithout(context, await login(), { ending: successor.clientId, partner: old });
    await withAccount(context, { login: by, level: 'read_write' }, async (account) => {
      const { successor: found } = await inspectKeys(context, { account, login: by, journal, successor });
      if (found === null) return;
      const audited = auditedFor(context, { ...successor, clientId: found.clientId });
      await audited('remove', () => removeApiKey(account, { keyId: found.keyId }, protectedOptions(context)));
      certainlyGone = true;
    });
  }
  await dropSuccessor(context.store, { locked, journal }, certainlyGone).catch((error: unknown) => {
    throw notRecorded(error, `the successor of "${journal.name}" is not on the exchange`);
  });
  if (successor !== null && successor.signer !== null) {
    context.onNote?.(
      `the successor's key is still in ${successor.signer.kind}, called ${successor.name}: delete it there`,
    );
  }
  return successor;
}
