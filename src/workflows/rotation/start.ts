import { generateKeyPair, type RsaSize } from '../../crypto/generate.js';
import type { KeyAlgorithm } from '../../crypto/keys.js';
import type { Secret } from '../../crypto/secret.js';
import type { ApiKey } from '../../deribit/api-keys.js';
import { normaliseScope, scopeExceeds, scopesEqual } from '../../deribit/scope.js';
import { DeribitKeysError, type ErrorCode, usageError } from '../../errors.js';
import {
  type RotationJournal,
  type SuccessorKind,
  type SuccessorPlan,
  type SuccessorTarget,
  writeJournal,
} from '../../keystore/journal.js';
import { type Keystore, type LockedKey, noteOn } from '../../keystore/keystore.js';
import { describeState, type KeyRecord } from '../../keystore/record.js';
import { readPublicKey, requireOwnFile, storeKey } from '../../keystore/stored-keys.js';
import { kindOf } from '../../signers/kinds.js';
import { accountKeys, withAccount } from '../account/account.js';
import { compareKey, roomForKeys } from '../account/api-keys.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { labelFor } from '../registration/register.js';
import { successorName } from './promote.js';

function refuse(code: ErrorCode, message: string, hint: string): never {
  throw new DeribitKeysError(code, message, { hint });
}

/** @throws `ERR_STATE` for a key that is not registered, and for one whose private half is a symbolic link */
async function requireRotatable(store: Keystore, record: KeyRecord): Promise<void> {
  const { name, state } = record;
  if (state !== 'registered') {
    const hints = {
      local: `register it: deribit-keys register ${name} --scope <scope>`,
      pending: `finish its registration first: deribit-keys register ${name} …`,
      retired: 'see which keys are registered: deribit-keys list --state registered',
    };
    const what = `the key "${name}" ${describeState(state)}: only a registered key can be rotated`;
    refuse('ERR_STATE', what, hints[state]);
  }
  await requireOwnFile(store.files(name).privateKey, {
    why: 'a successor would not be stored where the link points',
    hint: `make the successor where that file is made, register it under a name of its own, then remove "${name}"`,
  });
}

/** What the successor is registered with: what the old key has on the exchange, word for word. */
function planFor(record: KeyRecord, old: ApiKey): SuccessorPlan {
  const { label, features, ipWhitelist } = old;
  return { scope: normaliseScope(old.maxScope), label: label || labelFor(record.name), features, ipWhitelist };
}

/** Checks, before anything is made, that the rotation can be finished; returns the old key as the exchange has it. */
async function inspect(
  context: WorkflowContext,
  record: KeyRecord,
  { login, listWith }: { readonly login: AccountLogin; readonly listWith: ListWith },
): Promise<ApiKey> {
  const { name, clientId } = record;
  const publicKey = await readPublicKey(context.store, record);
  await context.signerOf(record);
  return withAccount(context, { login, level: 'read_write' }, async (account) => {
    const keys = await listWith(login, () => accountKeys(context, account));
    const old = keys.find((key) => key.clientId === clientId);
    if (old === undefined) {
      const hint = 'log in to the account that it belongs to (a subaccount: --subaccount <id>)';
      return refuse('ERR_NOT_ON_EXCHANGE', `the account has no key "${name}" (${clientId})`, hint);
    }
    const { differences } = await compareKey(old, publicKey);
    if (differences.length > 0) {
      refuse(
        'ERR_PROOF_FAILED',
        `the exchange has a different key as ${clientId}; ${differences.join('; ')}`,
        `see what is wrong with: deribit-keys verify ${name}`,
      );
    }
    if (old.enabled === false) {
      const hint = `enable it first: deribit-keys api-keys enable ${name}; or make a new key`;
      refuse('ERR_STATE', `the key "${name}" is disabled on the exchange: a successor would be enabled`, hint);
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
        `the account has ${keys.length} API keys, the most that Deribit documents: the exchange may refuse a successor`,
      );
    }
    return old;
  });
}

/** How the account's keys are listed: `list` asks the exchange. */
export type ListWith = (login: AccountLogin, list: () => Promise<readonly ApiKey[]>) => Promise<readonly ApiKey[]>;

interface RotationStart extends SuccessorChoice {
  readonly login: () => Promise<AccountLogin>;
  readonly graceMs?: number | undefined;
  readonly listWith?: ListWith | undefined;
}

/**
 * Begins a rotation: checks everything that can be known beforehand, then writes the journal. Nothing else is made yet.
 * @throws `ERR_STATE`, `ERR_UNAUTHORIZED`, `ERR_NOT_ON_EXCHANGE`, `ERR_PROOF_FAILED`, `ERR_USAGE`; nothing was changed
 */
export async function beginRotation(
  context: WorkflowContext,
  locked: LockedKey,
  { login, graceMs = 0, listWith = (_login, list) => list(), ...choice }: RotationStart,
): Promise<RotationJournal> {
  const record = await locked.read();
  await requireRotatable(context.store, record);
  const kind = successorKind(record, choice);
  const old = await inspect(context, record, { login: await login(), listWith });
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

/**
 * Makes the successor of `old` and stores it in the keystore under `name`, which is free: completely or not at all,
 * with its private half where it stays. It is sent nowhere.
 * @returns its record, whose state is `local`
 */
export type MakeSuccessor = (name: string, old: KeyRecord, kind: SuccessorKind) => Promise<KeyRecord>;

/** What may be chosen of a successor. */
export interface SuccessorChoice {
  readonly type?: KeyAlgorithm | undefined;
  readonly bits?: RsaSize | undefined;
  /** Where the old key lives, where left out. */
  readonly target?: SuccessorTarget | undefined;
}

const FILE: SuccessorTarget = { kind: 'file' };

/** The kind of key that follows `old`: the same, or what was chosen. @throws `ERR_USAGE` */
export function successorKind(old: KeyRecord, choice: SuccessorChoice): SuccessorKind {
  const type = choice.type ?? old.algorithm;
  const { signer } = old;
  const target = choice.target ?? (signer === null ? FILE : kindOf(signer).targetOf(signer));
  if (target.kind !== 'file') kindOf(target).requireType?.(type, target);
  if (type === 'ed25519') {
    if (choice.bits === undefined) return { type, bits: null, target };
    throw usageError('the length of an Ed25519 key is fixed', 'leave out --bits, or use --type rsa');
  }
  return { type, bits: choice.bits ?? sizeLike(old.bits), target };
}

/** The length that is made and that is not below the old one, where there is such a length. */
function sizeLike(bits: number | null): RsaSize {
  if (bits === null) return 3072;
  if (bits <= 2048) return 2048;
  return bits <= 3072 ? 3072 : 4096;
}

/**
 * Makes successors whose private half is a file of the keystore, encrypted under the old key's passphrase if that is
 * encrypted.
 * @param passphraseOf returns the passphrase that was proved to open the key
 */
export function localSuccessor(
  store: Keystore,
  passphraseOf: (record: KeyRecord) => Promise<Secret | null>,
): MakeSuccessor {
  return async (name, old, { type, bits }) => {
    const passphrase = old.encrypted ? await passphraseOf(old) : null;
    const key = await generateKeyPair(bits === null ? { type } : { type, bits });
    return storeKey(store, { name, key, passphrase, action: 'generate' });
  };
}
