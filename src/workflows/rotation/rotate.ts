import { isDeepStrictEqual } from 'node:util';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import { type RotationJournal, readJournal, writeJournal } from '../../keystore/journal.js';
import type { LockedKey } from '../../keystore/keystore.js';
import type { KeyRecord } from '../../keystore/record.js';
import { kindOf } from '../../signers/kinds.js';
import { onBehalfOf, withAccount } from '../account/account.js';
import { isKeyLimitRefusal, noRoom } from '../account/api-keys.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { register } from '../registration/register.js';
import { finishAbort, finishRotation, goBack, type PromotedWork, type RotationWork, requireLogin } from './finish.js';
import { graceEndMs, inspectKeys, isInGrace, readOrNull } from './inspect.js';
import { promote } from './promote.js';
import { beginRotation, type ListWith, type MakeSuccessor, type SuccessorChoice } from './start.js';

/*
 * A rotation, as its journal shows it (see keystore/journal.ts). Both keys are enabled from the moment that the successor
 * is registered until the old one is disabled, which is after the successor was proved to log in.
 *
 *   inspect the account -> journal -> make the successor -> register and prove it -> promote it -> grace period
 *     -> disable the old key -> remove it -> delete the journal
 */

/** What is chosen of the successor: by default the same kind of key, where the old one lives. */
export interface RotateRequest extends SuccessorChoice {
  readonly name: string;
  /** How long the old key stays enabled after the successor took over; 0 where left out. A later call can change it. */
  readonly graceMs?: number | undefined;
  /** Called where the exchange must be asked; the rotating key itself may be the login. */
  readonly login: (record: KeyRecord) => Promise<AccountLogin>;
  readonly makeSuccessor: MakeSuccessor;
  /** Lists the account's keys before a rotation begins, or returns a list that was made a moment ago with the same login. */
  readonly listWith?: ListWith | undefined;
}

/** The state of a rotation after a call. */
export interface Rotation {
  readonly name: string;
  readonly state: 'done' | 'grace' | 'aborted';
  /** The key that the name means now. */
  readonly clientId: string | null;
  readonly fingerprint: string;
  /** The key that was replaced; of an aborted rotation the successor, null where none was registered. */
  readonly previousClientId: string | null;
  readonly previousFingerprint: string | null;
  /** What the old pair is called in the keystore now; null where the rotation was aborted. */
  readonly previousName: string | null;
  /** Until when the old key stays enabled (ISO 8601, UTC); null except during the grace period. */
  readonly graceUntil: string | null;
}

/**
 * Replaces a registered key by a successor with the same scope, features, whitelist and label, or goes on with a
 * replacement that was interrupted or is in its grace period.
 *
 * @throws `ERR_STATE` and its kin before anything is made; later what the exchange, the network and the keystore throw,
 *   with the journal left to continue from: the same call continues, {@link abortRotation} goes back
 */
export async function rotate(context: WorkflowContext, request: RotateRequest): Promise<Rotation> {
  return context.store.withLock(request.name, async (locked) => {
    const login = loginOnce(locked, request.login);
    let journal = await readJournal(context.store, request.name);
    if (journal?.stage === 'aborting') {
      context.onNote?.('an earlier abort was interrupted: finishing it first');
      const work = { context, locked, journal };
      await underWay(work, () => finishAbort(work, login));
      journal = null;
    }
    const fresh = journal === null;
    journal ??= await beginRotation(context, locked, { ...request, login });
    const work: RotationWork = { context, locked, journal };
    return underWay(work, () => goOn(work, request, { login, fresh }));
  });
}

/** The login is asked for once a run, and not where it is not needed. */
function loginOnce(locked: LockedKey, ask: RotateRequest['login']): () => Promise<AccountLogin> {
  let asked: Promise<AccountLogin> | undefined;
  return () => {
    asked ??= locked.read().then(async (record) => onBehalfOf(await ask(record), record));
    return asked;
  };
}

async function goOn(
  work: RotationWork,
  request: RotateRequest,
  { login, fresh }: { readonly login: () => Promise<AccountLogin>; readonly fresh: boolean },
): Promise<Rotation> {
  const { context, locked } = work;
  requireSameKind(work.journal, request);
  let { journal } = work;
  if (request.graceMs !== undefined && request.graceMs !== journal.graceMs) {
    journal = { ...journal, graceMs: request.graceMs };
    await locked.change([writeJournal(journal)]);
  }
  let proved = fresh;
  if (journal.stage === 'begun') {
    const made = { ...work, journal };
    proved = (await makeAndRegister(made, request.makeSuccessor, { login: await login(), fresh })) && fresh;
    journal = await promote(context.store, locked, journal);
  }
  const promoted = requirePromoted(journal);
  const successor = await locked.read();
  const { clientId, fingerprint } = promoted.previous;
  const result: Rotation = {
    name: promoted.name,
    state: 'done',
    clientId: successor.clientId,
    fingerprint: successor.fingerprint,
    previousClientId: clientId,
    previousFingerprint: fingerprint,
    previousName: promoted.archive,
    graceUntil: null,
  };
  if (isInGrace(promoted, context.store.now().getTime())) {
    return { ...result, state: 'grace', graceUntil: new Date(graceEndMs(promoted) ?? 0).toISOString() };
  }
  await finishRotation({ context, locked, journal: promoted }, await login(), proved);
  return result;
}

function requirePromoted(journal: RotationJournal): PromotedWork['journal'] {
  const { archive, promotedAt } = journal;
  if (archive !== null && promotedAt !== null) return { ...journal, archive };
  throw new DeribitKeysError('ERR_STATE', `the journal of the rotation of "${journal.name}" contradicts itself`);
}

/** @throws `ERR_STATE` where another kind of key is asked for than the one that is being made */
function requireSameKind({ kind, name }: RotationJournal, { type, bits, target }: RotateRequest): void {
  const begun = kind.target ?? { kind: 'file' };
  const sameTarget = isDeepStrictEqual(target ?? begun, begun);
  if ((type ?? kind.type) === kind.type && (bits ?? kind.bits) === kind.bits && sameTarget) return;
  const where = begun.kind === 'file' ? 'a file' : kindOf(begun).describeTarget(begun);
  const what = `${kind.bits === null ? 'ed25519' : `rsa of ${kind.bits} bits`}, in ${where}`;
  const message = `the rotation of "${name}" was started with a successor of another kind: ${what}`;
  const hint = 'leave out --type, --bits and the options that say where the successor is made';
  throw new DeribitKeysError('ERR_STATE', message, { hint });
}

/** Returns whether the successor was proved to log in by this very run. */
async function makeAndRegister(
  work: RotationWork,
  makeSuccessor: MakeSuccessor,
  { login, fresh }: { readonly login: AccountLogin; readonly fresh: boolean },
): Promise<boolean> {
  const { context, locked, journal } = work;
  const { successor: name, kind, plan } = journal;
  let made = await readOrNull(context, name);
  if (!fresh && made?.state !== 'registered') {
    const successor = made;
    await withAccount(context, { login, level: 'read_write' }, (account) =>
      inspectKeys(context, { account, login, journal, successor, oldIsEnough: true }),
    );
  }
  if (made === null) {
    context.onNote?.(`creating the successor${kind.type === 'rsa' ? ` (RSA, ${kind.bits} bits)` : ''} …`);
    made = await makeSuccessor(name, await locked.read(), kind);
  }
  if (made.state !== 'registered') {
    const { loginVerified } = await register(context, { name, ...plan, asShown: true, login }).catch(
      async (error: unknown) => {
        if (!isKeyLimitRefusal(error)) throw error;
        // nothing was created: the rotation is as if it had not begun
        await finishAbort(work, async () => login);
        throw noRoom(
          error.code,
          `the account of "${journal.name}" cannot have more API keys: there is no room for a successor`,
          error,
        );
      },
    );
    if (loginVerified) return true;
    made = await context.store.read(name);
  }
  await requireLogin(context, login, made);
  return false;
}

/**
 * Goes back to before a rotation, as long as the old key is not removed: the old key has its name again and logs in; the
 * successor is removed from the exchange and from the keystore.
 * @throws `ERR_STATE` where no rotation is under way, or the old key is removed already
 */
export async function abortRotation(
  context: WorkflowContext,
  { name, login: ask }: Pick<RotateRequest, 'name' | 'login'>,
): Promise<Rotation> {
  return context.store.withLock(name, async (locked) => {
    const login = loginOnce(locked, ask);
    const journal = await readJournal(context.store, name);
    if (journal === null) {
      await locked.read();
      throw new DeribitKeysError('ERR_STATE', `no rotation of "${name}" is under way: there is nothing to abort`, {
        hint: 'see what was done with: deribit-keys audit',
      });
    }
    const work: RotationWork = { context, locked, journal };
    const aborted = await underWay(work, async (): Promise<Rotation | null> => {
      const aborting = await turnBack(work, login);
      if (aborting === null) return null;
      const successor = await finishAbort({ ...work, journal: aborting }, login);
      const old = await locked.read();
      const { clientId, fingerprint } = old;
      return {
        name,
        state: 'aborted',
        clientId,
        fingerprint,
        previousClientId: successor?.clientId ?? null,
        previousFingerprint: successor?.fingerprint ?? null,
        previousName: null,
        graceUntil: null,
      };
    });
    if (aborted !== null) return aborted;
    const message = `the old key of "${name}" is already removed: the rotation cannot be aborted`;
    const hint = `finish the rotation with: deribit-keys rotate ${name}`;
    throw new DeribitKeysError('ERR_STATE', message, { hint });
  });
}

/** Null where it is too late: the old key is already removed from the exchange. */
async function turnBack(work: RotationWork, login: () => Promise<AccountLogin>): Promise<RotationJournal | null> {
  const { locked, journal } = work;
  if (journal.stage === 'aborting') return journal;
  if (journal.stage === 'promoted') return goBack({ ...work, journal: requirePromoted(journal) }, await login());
  const aborting: RotationJournal = { ...journal, stage: 'aborting' };
  await locked.change([writeJournal(aborting)]);
  return aborting;
}

/** Runs a part of a rotation: as long as its journal is there, errors say how to continue. */
async function underWay<T>(
  { context, locked: { name } }: Pick<RotationWork, 'context' | 'locked'>,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const journal = await readJournal(context.store, name).catch(() => undefined);
    if (!isDeribitKeysError(error) || journal === null) throw error;
    const { hint } = error;
    const next = `the rotation of "${name}" is under way: the same command continues it, deribit-keys rotate ${name} --abort undoes it`;
    throw error.with({ hint: hint === undefined ? next : `${hint}; ${next}` });
  }
}
