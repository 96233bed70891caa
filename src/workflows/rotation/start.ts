import type { PublicKey } from '../../crypto/keys.js';
import { type ApiKey, checkAddresses, checkFeatures, checkLabel, listApiKeys } from '../../deribit/api-keys.js';
import { formatScope, normaliseScope, parseScope, scopeExceeds, scopesEqual } from '../../deribit/scope.js';
import { DeribitKeysError } from '../../errors.js';
import { type RotationJournal, type SuccessorKind, type SuccessorPlan, writeJournal } from '../../keystore/journal.js';
import { type Keystore, type LockedKey, noteOn } from '../../keystore/keystore.js';
import type { KeyRecord } from '../../keystore/record.js';
import { readPublicKey, requireOwnFile } from '../../keystore/stored-keys.js';
import { protectedOptions, withAccount } from '../account/account.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { compareKey } from '../registration/proof.js';
import { labelFor } from '../registration/register.js';
import { successorName } from './promote.js';

/** How many API keys an account or subaccount can have. */
export const MAX_API_KEYS = 8;

function refuse(code: 'ERR_STATE' | 'ERR_UNAUTHORIZED' | 'ERR_PROOF_FAILED', message: string, hint: string): never {
  throw new DeribitKeysError(code, message, { hint });
}

/** @throws `ERR_STATE` for a key that is not registered, and for one whose private half is a symbolic link */
export async function requireRotatable(store: Keystore, record: KeyRecord): Promise<void> {
  const { name, state } = record;
  if (state !== 'registered') {
    refuse(
      'ERR_STATE',
      `the key "${name}" is ${state}: only a registered key can be rotated`,
      state === 'pending' ? `end its registration first: deribit-keys register ${name} …` : 'see: deribit-keys list',
    );
  }
  await requireOwnFile(store.files(name).privateKey, {
    why: 'a successor would not come where it leads to',
    hint: `make the successor where that file is made, register it under a name of its own, then remove "${name}"`,
  });
}

/** What the successor is registered with: what the old key has on the exchange. */
function planFor(record: KeyRecord, old: ApiKey): SuccessorPlan {
  return {
    scope: formatScope(parseScope(old.maxScope)),
    label: labelLike(old.label, record.name),
    features: checkFeatures(old.features),
    ipWhitelist: checkAddresses(old.ipWhitelist),
  };
}

function labelLike(label: string, name: string): string {
  try {
    return checkLabel(label);
  } catch {
    return labelFor(name);
  }
}

/** Looks, before anything is made, at whether the rotation can come to its end. */
async function inspect(
  context: WorkflowContext,
  login: AccountLogin,
  record: KeyRecord,
  publicKey: PublicKey,
): Promise<ApiKey> {
  const { name, clientId } = record;
  return withAccount(context, login, 'read_write', async (account) => {
    const keys = await listApiKeys(account, protectedOptions(context));
    const old = keys.find((key) => key.clientId === clientId);
    if (old === undefined) {
      throw new DeribitKeysError('ERR_NOT_ON_EXCHANGE', `the account has no key "${name}" (${clientId})`, {
        hint: 'log in to the account that it belongs to (a subaccount: --subaccount <id>)',
      });
    }
    const { differences } = await compareKey(old, publicKey);
    if (differences.length > 0) {
      refuse(
        'ERR_PROOF_FAILED',
        `the exchange has another key as ${clientId}; ${differences.join('; ')}`,
        `see what is wrong with: deribit-keys verify ${name}`,
      );
    }
    if (!old.enabled) {
      const hint = `enable it first: deribit-keys api-keys enable ${name}; or make a new key`;
      refuse('ERR_STATE', `the key "${name}" is disabled on the exchange: there is nothing to take over`, hint);
    }
    if (scopeExceeds(old.maxScope, account.login.scope)) {
      refuse(
        'ERR_UNAUTHORIZED',
        `the login ${account.clientId} cannot make a key of the scope ${normaliseScope(old.maxScope)}: its own is smaller`,
        'log in with a key of at least that scope, and account:read_write',
      );
    }
    if (keys.length >= MAX_API_KEYS) {
      refuse(
        'ERR_STATE',
        `the account has ${keys.length} API keys, and ${MAX_API_KEYS} is all that it can have: there is no room for a successor`,
        'remove one that is not needed: deribit-keys api-keys list, deribit-keys api-keys remove <which>',
      );
    }
    return old;
  });
}

/**
 * Begins a rotation: everything that can be known beforehand is looked at, then the journal is written. Nothing else is
 * made yet.
 * @throws `ERR_STATE`, `ERR_UNAUTHORIZED`, `ERR_NOT_ON_EXCHANGE`, `ERR_PROOF_FAILED`, `ERR_USAGE`; nothing was changed
 */
export async function beginRotation(
  context: WorkflowContext,
  locked: LockedKey,
  record: KeyRecord,
  login: AccountLogin,
  choice: { readonly kind: SuccessorKind; readonly graceMs: number },
): Promise<RotationJournal> {
  const publicKey = await readPublicKey(context.store, record);
  await context.signerOf(record);
  const old = await inspect(context, login, record, publicKey);
  const plan = planFor(record, old);
  if (record.scope !== null && !scopesEqual(record.scope, plan.scope)) {
    context.onNote?.(
      `the scope on the exchange is taken over (${plan.scope}), not the one on record (${record.scope})`,
    );
  }
  const journal: RotationJournal = {
    name: record.name,
    stage: 'begun',
    successor: successorName(record.name),
    archive: null,
    previous: { clientId: old.clientId, keyId: old.keyId, fingerprint: record.fingerprint },
    kind: choice.kind,
    plan,
    graceMs: choice.graceMs,
    startedAt: context.store.now().toISOString(),
    promotedAt: null,
  };
  await locked.change([writeJournal(journal)], noteOn('begin rotation', record));
  return journal;
}
