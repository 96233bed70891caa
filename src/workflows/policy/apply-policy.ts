import { isDeepStrictEqual } from 'node:util';
import type { Secret } from '../../crypto/secret.js';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import type { Keystore, LockedKey } from '../../keystore/keystore.js';
import { openPrivateKey } from '../../keystore/open-key.js';
import type { PermissionPolicy } from '../../keystore/permissions.js';
import { changePassphrase, generate, retireKey } from '../../keystore/stored-keys.js';
import { type AccountKey, listAccountKeys, noRoom, roomForKeys } from '../account/api-keys.js';
import { changeKey, type KeyChange } from '../account/change-api-key.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { link } from '../registration/link.js';
import { register } from '../registration/register.js';
import { type RotateRequest, rotate } from '../rotation/rotate.js';
import type { KeyPolicy, Policy } from './parse-policy.js';
import { type Change, planSteps, type Step } from './plan-policy.js';
import { isUnchanged, type Snapshot, takeSnapshot } from './snapshot.js';

/** What the work on one key needs: it may have a passphrase of its own. */
export interface KeyContext extends Pick<RotateRequest, 'makeSuccessor'> {
  readonly context: WorkflowContext;
}

interface ApplyRequest {
  readonly policy: Policy;
  readonly login: AccountLogin;
  /** Whether keys that the policy does not name are disabled. */
  readonly prune: boolean;
  /** Called with the changes before the first of them is made, to ask where one needs it; it throws to stop. */
  readonly confirm: (changes: readonly Change[]) => Promise<void>;
  readonly contextFor: (name: string) => Promise<KeyContext>;
  /** The passphrase for a key that is to get one; asked for before anything is changed, and perhaps again. */
  readonly newPassphrase: (name: string) => Promise<Secret>;
  readonly permissions?: PermissionPolicy | undefined;
  /** Called when a change was made. */
  readonly onDone?: (change: Change) => void;
}

export interface PolicyResult {
  readonly changes: readonly Change[];
  /** Whether anything was changed. */
  readonly applied: boolean;
}

/**
 * The differences between the policy, the keystore and the exchange; nothing is changed.
 * @throws as `takeSnapshot` does
 */
export async function planPolicy(
  context: WorkflowContext,
  { policy, login, prune = false }: Pick<ApplyRequest, 'policy' | 'login'> & { readonly prune?: boolean | undefined },
): Promise<PolicyResult> {
  const steps = planSteps(await takeSnapshot(context, policy, login), prune);
  return { changes: steps.map(asChange), applied: false };
}

const asChange = ({ action, name, detail }: Step): Change => ({ action, name, detail });

/**
 * Makes the keystore and the exchange as the policy says, by the workflows that each change has. Doing it again does
 * nothing; after an interruption it goes on. What is changed is decided while the locks of its keys are held: another run
 * that works on the same keys is waited for.
 * @throws `ERR_STATE` before anything is changed, where there are conflicts or too many keys, or where the keystore was
 *   changed after `confirm` was asked; `ERR_LOCKED`; later what the workflows throw, with a hint of how far it came
 */
export async function applyPolicy(context: WorkflowContext, request: ApplyRequest): Promise<PolicyResult> {
  const snapshot = await takeSnapshot(context, request.policy, request.login);
  const steps = checkedSteps(snapshot, request);
  const work = steps.filter(isWork);
  const result: PolicyResult = { changes: steps.map(asChange), applied: false };
  if (work.length === 0) return result;
  await request.confirm(work.map(asChange));
  for (const step of work) if (needsPassphrase(step)) await request.newPassphrase(step.name);
  const names = request.policy.keys.map(({ name }) => name);
  return context.store.withLocks(names, async (locked) => {
    const held = { ...context, store: withHeldLocks(context.store, locked) };
    const now = (await isUnchanged(held, snapshot)) ? steps : await decideAgain(held, request, work);
    return makeSteps(held, request, now);
  });
}

async function makeSteps(
  { store }: WorkflowContext,
  request: ApplyRequest,
  steps: readonly Step[],
): Promise<PolicyResult> {
  const work = steps.filter(isWork);
  for (const [index, step] of work.entries()) {
    try {
      const keyContext = await request.contextFor(step.name);
      await makeStep(request, { ...keyContext, context: { ...keyContext.context, store } }, step);
    } catch (error) {
      throw soFar(error, step, `${index} of ${work.length}`);
    }
    request.onDone?.(asChange(step));
  }
  return { changes: steps.map(asChange), applied: work.length > 0 };
}

const isWork = ({ action }: Step) => action !== 'stranger';

/** The steps that the policy needs. @throws `ERR_STATE` for conflicts, and for more keys than the account can have */
function checkedSteps(snapshot: Snapshot, { prune }: ApplyRequest): readonly Step[] {
  const steps = planSteps(snapshot, prune);
  refuseConflicts(steps);
  refuseTooMany(steps, snapshot.accountKeys.length);
  return steps;
}

/** What is needed now that another run has changed the keystore: nothing but what was agreed to. */
async function decideAgain(
  context: WorkflowContext,
  request: ApplyRequest,
  agreed: readonly Step[],
): Promise<readonly Step[]> {
  const steps = checkedSteps(await takeSnapshot(context, request.policy, request.login), request);
  const isAgreed = (step: Step) => agreed.some((one) => isDeepStrictEqual(asChange(one), asChange(step)));
  const other = steps.filter(isWork).find((step) => !isAgreed(step));
  if (other === undefined) return steps;
  const message = `another command has changed the keystore; now this is needed as well: ${other.action} ${other.name}`;
  const hint = 'nothing was changed; run the same command again';
  throw new DeribitKeysError('ERR_STATE', message, { hint });
}

function refuseConflicts(steps: readonly Step[]): void {
  const conflicts = steps.filter(({ action }) => action === 'conflict');
  const [first] = conflicts;
  if (first === undefined) return;
  const more = conflicts.length === 1 ? '' : ` (and ${conflicts.length - 1} more)`;
  throw new DeribitKeysError('ERR_STATE', `the policy cannot be applied: ${first.name}: ${first.detail}${more}`, {
    hint: 'nothing was changed; resolve that, or remove the key from the policy',
  });
}

/**
 * Refuses what the account has no room for, as far as that is known. Whether there is room for a rotation's successor is
 * found out by the rotation.
 */
function refuseTooMany(steps: readonly Step[], present: number): void {
  const needed = steps.filter(({ action }) => ['create', 'register', 'replace'].includes(action)).length;
  const room = roomForKeys(present);
  if (room === null || needed <= room) return;
  throw noRoom('ERR_STATE', `the account has room for ${room} more keys, the policy needs ${needed}`);
}

/** What a step threw, with `done`: how many of how many steps were made. */
function soFar(error: unknown, { action, name }: Step, done: string): unknown {
  if (!isDeribitKeysError(error)) return error;
  const where = `${done} changes were made; the same command continues`;
  const { message, hint } = error;
  return error.with({
    message: `${action} ${name}: ${message}`,
    hint: hint === undefined ? where : `${hint}\n${where}`,
  });
}

async function makeStep(request: ApplyRequest, keyContext: KeyContext, step: Step): Promise<void> {
  const { login } = request;
  const { name, policy } = step;
  const { context } = keyContext;
  const change = async (wanted: KeyChange) => {
    await changeKey(context, { login, target: await find(context, login, step), change: wanted });
  };
  if (policy === null) return change({ do: 'disable' });
  switch (step.action) {
    case 'replace':
      await retire(context, name);
      return create(request, keyContext, policy);
    case 'create':
      return create(request, keyContext, policy);
    case 'register':
      return registerAs(context, policy, login);
    case 'link': {
      const { endpoint, subaccount } = login;
      await link(context, { name, clientId: (await find(context, login, step)).clientId, endpoint, subaccount });
      return;
    }
    case 'enable':
      return change({ do: 'enable' });
    case 'edit':
      return change({
        do: 'edit',
        scope: policy.scope,
        label: policy.label ?? undefined,
        features: policy.features ?? undefined,
        ipWhitelist: policy.whitelist ?? undefined,
      });
    case 'record':
      return bringRecordUpToDate(context, name, await find(context, login, step));
    case 'encrypt':
      await changePassphrase(context.store, {
        name,
        next: await request.newPassphrase(name),
        open: (record) => openPrivateKey(context.store, record, { permissions: request.permissions }),
      });
      return;
    case 'rotate': {
      const { makeSuccessor } = keyContext;
      const kind = step.goesOn ? {} : { type: policy.type ?? undefined, bits: policy.bits ?? undefined };
      await rotate(context, { name, ...kind, login: async () => login, makeSuccessor });
      return;
    }
    default:
      throw new DeribitKeysError('ERR_INTERNAL', `the change ${step.action} cannot be made`);
  }
}

function needsPassphrase({ action, policy }: Step): boolean {
  return action === 'encrypt' || (policy?.encrypt === true && (action === 'create' || action === 'replace'));
}

/** The key on the exchange: as it was seen, or for one that was registered meanwhile as it is now. */
async function find(context: WorkflowContext, login: AccountLogin, { name, target }: Step): Promise<AccountKey> {
  if (target !== null) return target;
  const found = (await listAccountKeys(context, login)).find((key) => key.name === name);
  if (found !== undefined) return found;
  throw new DeribitKeysError('ERR_NOT_ON_EXCHANGE', `the account has no key "${name}"`, {
    hint: `see what is wrong with: deribit-keys doctor ${name}`,
  });
}

/** Makes room for a new key of the same name; the old files are moved to retired/. */
async function retire(context: WorkflowContext, name: string): Promise<void> {
  await context.store.withLock(name, async (locked) => {
    await retireKey(context.store, { locked, record: await locked.read(), purge: false });
  });
}

async function create(request: ApplyRequest, { context }: KeyContext, policy: KeyPolicy): Promise<void> {
  const { name, bits, encrypt } = policy;
  const passphrase = encrypt ? await request.newPassphrase(name) : null;
  const kind = { type: policy.type ?? 'ed25519', ...(bits === null ? {} : { bits }) };
  await generate(context.store, name, { ...kind, passphrase });
  await registerAs(context, policy, request.login);
}

/** Registers the key; one whose registration was interrupted as it was started. */
async function registerAs(context: WorkflowContext, policy: KeyPolicy, login: AccountLogin): Promise<void> {
  const { name } = policy;
  const record = await context.store.read(name);
  const begun = record.state === 'pending' ? record.scope : null;
  await register(context, {
    name,
    scope: begun ?? policy.scope,
    label: policy.label ?? undefined,
    features: policy.features ?? [],
    ipWhitelist: policy.whitelist ?? [],
    login,
  });
}

/** The exchange is as the policy says: what was changed there by other means goes into the record. */
async function bringRecordUpToDate(context: WorkflowContext, name: string, key: AccountKey): Promise<void> {
  await context.store.withLock(name, async (locked) => {
    const record = await locked.read();
    if (record.clientId !== key.clientId) return;
    const { keyId, scope, label, features, ipWhitelist } = key;
    await locked.save({ ...record, keyId, scope, label, features, ipWhitelist }, { action: 'record' });
  });
}

/** The keystore for work that holds the locks of some keys already: it does not wait for its own locks. */
function withHeldLocks(store: Keystore, held: readonly LockedKey[]): Keystore {
  const heldKey = (name: string) => held.find((key) => key.name === name);
  const withLocks: Keystore['withLocks'] = (names, work) => {
    const missing = names.filter((name) => heldKey(name) === undefined);
    const inOrder = (taken: readonly LockedKey[]) =>
      names.flatMap((name) => heldKey(name) ?? taken.find((key) => key.name === name) ?? []);
    return missing.length === 0 ? work(inOrder([])) : store.withLocks(missing, (taken) => work(inOrder(taken)));
  };
  return {
    ...store,
    withLocks,
    withLock: (name, work) => {
      const key = heldKey(name);
      return key === undefined ? store.withLock(name, work) : work(key);
    },
  };
}
