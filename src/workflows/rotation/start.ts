import type { PublicKey } from '../../crypto/keys.js';
import type { ApiKey } from '../../deribit/api-keys.js';
import { normaliseScope, scopeExceeds, scopesEqual } from '../../deribit/scope.js';
import { DeribitKeysError } from '../../errors.js';
import { type RotationJournal, type SuccessorKind, type SuccessorPlan, writeJournal } from '../../keystore/journal.js';
import { type Keystore, type LockedKey, noteOn } from '../../keystore/keystore.js';
import type { KeyRecord } from '../../keystore/record.js';
import { readPublicKey, requireOwnFile } from '../../keystore/stored-keys.js';
import { accountKeys, withAccount } from '../account/account.js';
import { roomForKeys } from '../account/key-limit.js';
import { compareKey } from '../account/match-key.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { labelFor } from '../registration/register.js';
import { successorName } from './promote.js';

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
      state === 'pending' ? `finish its registration first: deribit-keys register ${name} …` : 'see: deribit-keys list',
    );
  }
  await requireOwnFile(store.files(name).privateKey, {
    why: 'a successor would not be stored where the link leads',
    hint: `make the successor where that file is made, register it under a name of its own, then remove "${name}"`,
  });
}

/** What the successor is registered with: what the old key has on the exchange, word for word. */
function planFor(record: KeyRecord, old: ApiKey): SuccessorPlan {
  const { label, features, ipWhitelist } = old;
  return { scope: normaliseScope(old.maxScope), label: label || labelFor(record.name), features, ipWhitelist };
}

/** Checks, before anything is made, that the rotation can be finished. */
async function inspect(
  context: WorkflowContext,
  { login, record, listWith = (_login, list) => list() }: Beginning,
  publicKey: PublicKey,
): Promise<ApiKey> {
  const { name, clientId } = record;
  return withAccount(context, login, 'read_write', async (account) => {
    const keys = await listWith(login, () => accountKeys(context, account));
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
    if (old.enabled === false) {
      const hint = `enable it first: deribit-keys api-keys enable ${name}; or make a new key`;
      refuse(
        'ERR_STATE',
        `the key "${name}" is disabled on the exchange: a successor would enable what was disabled`,
        hint,
      );
    }
    if (scopeExceeds(old.maxScope, account.login.scope)) {
      refuse(
        'ERR_UNAUTHORIZED',
        `the login ${account.clientId} cannot make a key of the scope ${normaliseScope(old.maxScope)}: its own is smaller`,
        'log in with a key of at least that scope, and account:read_write',
      );
    }
    if (roomForKeys(keys.length) === 0) {
      context.onNote?.(
        `the account has ${keys.length} API keys, all that Deribit documents: the exchange may refuse a successor`,
      );
    }
    return old;
  });
}

/** How the account's keys are listed: `list` asks the exchange. */
export type ListWith = (login: AccountLogin, list: () => Promise<readonly ApiKey[]>) => Promise<readonly ApiKey[]>;

/** A rotation that is to begin. */
export interface Beginning {
  readonly locked: LockedKey;
  readonly record: KeyRecord;
  readonly login: AccountLogin;
  readonly kind: SuccessorKind;
  readonly graceMs: number;
  readonly listWith?: ListWith | undefined;
}

/**
 * Begins a rotation: checks everything that can be known beforehand, then writes the journal. Nothing else is made yet.
 * @throws `ERR_STATE`, `ERR_UNAUTHORIZED`, `ERR_NOT_ON_EXCHANGE`, `ERR_PROOF_FAILED`, `ERR_USAGE`; nothing was changed
 */
export async function beginRotation(context: WorkflowContext, beginning: Beginning): Promise<RotationJournal> {
  const { locked, record, kind, graceMs } = beginning;
  const publicKey = await readPublicKey(context.store, record);
  await context.signerOf(record);
  const old = await inspect(context, beginning, publicKey);
  const plan = planFor(record, old);
  if (record.scope !== null && !scopesEqual(record.scope, plan.scope)) {
    context.onNote?.(
      `the successor gets the scope on the exchange (${plan.scope}), not the one on record (${record.scope})`,
    );
  }
  const journal: RotationJournal = {
    name: record.name,
    stage: 'begun',
    successor: successorName(record.name),
    archive: null,
    previous: { clientId: old.clientId, keyId: old.keyId, fingerprint: record.fingerprint },
    kind,
    plan,
    graceMs,
    startedAt: context.store.now().toISOString(),
    promotedAt: null,
  };
  await locked.change([writeJournal(journal)], noteOn('begin rotation', record));
  return journal;
}
