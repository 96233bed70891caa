import { disableApiKey, enableApiKey, removeApiKey } from '../../deribit/api-keys.js';
import type { Credentials } from '../../deribit/auth.js';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import { deleteJournal, type RotationJournal } from '../../keystore/journal.js';
import { type LockedKey, noteOn, recordStep } from '../../keystore/keystore.js';
import type { KeyRecord } from '../../keystore/record.js';
import { type OpenAccount, protectedOptions, withAccount } from '../account/account.js';
import { requireClientId } from '../account/authenticate.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { proveLogin } from '../registration/proof.js';
import { lookAtKeys, readOrNull, requireWhole } from './inspect.js';
import { demote, dropSuccessor } from './promote.js';

async function credentialsOf(context: WorkflowContext, record: KeyRecord): Promise<Credentials> {
  return { clientId: requireClientId(record), signer: await context.signerOf(record) };
}

/** The login to end `ending` with: the given one, unless that is the very key; then its partner logs in instead. */
async function loginWithout(
  context: WorkflowContext,
  login: AccountLogin,
  ending: string | null,
  partner: KeyRecord,
): Promise<AccountLogin> {
  if (login.credentials.clientId !== ending) return login;
  return { endpoint: login.endpoint, credentials: await credentialsOf(context, partner) };
}

/**
 * Proves that a key logs in. A refusal proves nothing where the key has a whitelist, which this address may be outside of.
 * @throws `ERR_PROOF_FAILED`
 */
export async function requireLogin(context: WorkflowContext, login: AccountLogin, record: KeyRecord): Promise<void> {
  const proof = await proveLogin(context, login.endpoint, requireClientId(record), await context.signerOf(record));
  if (proof !== null) return;
  if (record.ipWhitelist.length > 0) {
    context.onNote?.(`the login of "${record.name}" was refused: this address may not be in its whitelist`);
    return;
  }
  throw new DeribitKeysError(
    'ERR_PROOF_FAILED',
    `the exchange refuses the login of "${record.name}" (${record.clientId})`,
    {
      hint: `see what is wrong with: deribit-keys verify ${record.name}`,
    },
  );
}

function auditOf(context: WorkflowContext, record: KeyRecord) {
  return async <T>(action: string, work: () => Promise<T>): Promise<T> => {
    const entry = noteOn(action, record);
    try {
      const result = await work();
      await context.store.audit(entry);
      return result;
    } catch (error) {
      await context.store.audit({ ...entry, outcome: isDeribitKeysError(error) ? error.code : 'ERR_INTERNAL' });
      throw error;
    }
  };
}

/**
 * Ends a rotation whose successor was promoted: disables and removes the old key, then the journal. `fresh` says that the
 * successor was proved, and the old key seen, in this very run.
 */
export async function finishRotation(
  context: WorkflowContext,
  locked: LockedKey,
  journal: RotationJournal & { readonly archive: string },
  login: AccountLogin,
  fresh: boolean,
): Promise<void> {
  const [successor, old] = [await locked.read(), await context.store.read(journal.archive)];
  const { clientId, keyId } = journal.previous;
  const audited = auditOf(context, old);
  if (!fresh) await requireLogin(context, login, successor);
  await withAccount(context, await loginWithout(context, login, clientId, successor), 'read_write', async (account) => {
    const seen = fresh ? { keyId, enabled: true } : await seeOld(context, account, journal, successor);
    if (seen === null) return;
    if (seen.enabled) {
      await audited('disable', async () => {
        const disabled = await disableApiKey(account, { keyId: seen.keyId }, protectedOptions(context));
        requireState(disabled, clientId, false);
      });
    }
    await audited('remove', () => removeApiKey(account, { keyId: seen.keyId }, protectedOptions(context)));
  });
  await context.store.withLock(journal.archive, async () => {
    const removedAt = context.store.now().toISOString();
    await locked.change([recordStep({ ...old, removedAt }), deleteJournal(journal.name)], noteOn('rotate', successor));
  });
}

/** The old key as the exchange has it, the successor having been seen whole; null where it is gone already. */
async function seeOld(context: WorkflowContext, account: OpenAccount, journal: RotationJournal, successor: KeyRecord) {
  const seen = await lookAtKeys(context, account, journal, successor);
  await requireWhole(context, seen.successor, successor);
  return seen.old;
}

function requireState(
  shown: { readonly clientId: string; readonly enabled: boolean },
  clientId: string,
  enabled: boolean,
) {
  if (shown.clientId === clientId && shown.enabled === enabled) return;
  const asked = `${clientId} ${enabled ? 'enabled' : 'disabled'}`;
  const got = `${shown.clientId} ${shown.enabled ? 'enabled' : 'disabled'}`;
  throw new DeribitKeysError('ERR_PROOF_FAILED', `the exchange did not do as it was asked: ${asked}; it shows ${got}`, {
    hint: 'see how the keys are now with: deribit-keys api-keys list',
    maybeSent: true,
  });
}

/**
 * Takes a promotion back: the old key is enabled again where it was disabled, proved to log in, and gets its name back.
 * @throws `ERR_STATE` where the old key is removed already
 */
export async function goBack(
  context: WorkflowContext,
  locked: LockedKey,
  journal: RotationJournal & { readonly archive: string },
  login: AccountLogin,
): Promise<RotationJournal> {
  const [successor, old] = [await locked.read(), await context.store.read(journal.archive)];
  const { clientId } = journal.previous;
  const audited = auditOf(context, old);
  await withAccount(context, await loginWithout(context, login, clientId, successor), 'read_write', async (account) => {
    const { old: found } = await lookAtKeys(context, account, journal, successor);
    if (found === null) {
      throw new DeribitKeysError(
        'ERR_STATE',
        `the old key of "${journal.name}" is removed already: there is no way back`,
        {
          hint: `end the rotation with: deribit-keys rotate ${journal.name}`,
        },
      );
    }
    if (found.enabled) return;
    await audited('enable', async () => {
      requireState(await enableApiKey(account, { keyId: found.keyId }, protectedOptions(context)), clientId, true);
    });
  });
  await requireLogin(context, login, old);
  return demote(context.store, locked, journal);
}

/** Ends an abort: the successor is removed from the exchange where it came that far, then its files and the journal. */
export async function finishAbort(
  context: WorkflowContext,
  locked: LockedKey,
  journal: RotationJournal,
  login: () => Promise<AccountLogin>,
): Promise<KeyRecord | null> {
  const old = await locked.read();
  const successor = await readOrNull(context, journal.successor);
  let certainlyGone = successor === null || successor.state === 'local';
  if (successor !== null && successor.state !== 'local') {
    const partner = await loginWithout(context, await login(), successor.clientId, old);
    await withAccount(context, partner, 'read_write', async (account) => {
      const { successor: found } = await lookAtKeys(context, account, journal, successor);
      if (found === null) return;
      const audited = auditOf(context, { ...successor, clientId: found.clientId });
      await audited('remove', () => removeApiKey(account, { keyId: found.keyId }, protectedOptions(context)));
      certainlyGone = true;
    });
  }
  await dropSuccessor(context.store, locked, journal, certainlyGone);
  if (successor !== null && successor.signer !== null) {
    context.onNote?.(
      `the successor's key is still in ${successor.signer.kind}, called ${successor.name}: delete it there`,
    );
  }
  return successor;
}
