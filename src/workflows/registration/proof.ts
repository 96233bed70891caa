import type { PublicKey } from '../../crypto/keys.js';
import type { Signer } from '../../crypto/signer.js';
import { type ApiKey, editApiKey, removeApiKey } from '../../deribit/api-keys.js';
import { type Login, signIn } from '../../deribit/auth.js';
import type { Endpoint } from '../../deribit/endpoints.js';
import { compareScopes, normaliseScope } from '../../deribit/scope.js';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import type { SuccessorPlan } from '../../keystore/journal.js';
import type { LockedKey, SaveNote } from '../../keystore/keystore.js';
import { asLocal, type KeyRecord } from '../../keystore/record.js';
import {
  accountKeys,
  messageOf,
  notRecorded,
  type OpenAccount,
  outcomeOf,
  protectedOptions,
  withAccount,
  withTransport,
} from '../account/account.js';
import { type Comparison, compareKey } from '../account/api-keys.js';
import type { AccountLogin, WorkflowContext } from '../context.js';

/** One sentence for each way in which a granted scope differs from the one asked for. */
export function scopeDifferences(asked: string, granted: string): string[] {
  const { missing, extra } = compareScopes(asked, granted);
  return [
    ...(missing.length > 0 ? [`the scope: ${missing.join(' ')} was asked for and not granted`] : []),
    ...(extra.length > 0 ? [`the scope: ${extra.join(' ')} was granted and not asked for`] : []),
  ];
}

/** A login by signature. */
export interface SignedLogin {
  readonly endpoint: Endpoint;
  readonly clientId: string;
  readonly signer: Signer;
}

/**
 * Logs in with the private key, on a connection of its own: the proof that the exchange has the public key.
 * @returns null where the exchange refuses the login; a network that fails is thrown
 */
export async function proveLogin(
  context: WorkflowContext,
  { endpoint, clientId, signer }: SignedLogin,
): Promise<Login | null> {
  try {
    return await withTransport(context, endpoint, (transport) =>
      signIn(context, { transport, credentials: { clientId, signer } }),
    );
  } catch (error) {
    if (isDeribitKeysError(error, 'ERR_UNAUTHORIZED')) return null;
    throw error;
  }
}

/** Whether the key of a record logs in under its client id; its signer may ask for a passphrase. */
export async function keyLogsIn(context: WorkflowContext, record: KeyRecord, endpoint: Endpoint): Promise<boolean> {
  const { clientId } = record;
  if (clientId === null) return false;
  return (await proveLogin(context, { endpoint, clientId, signer: await context.signerOf(record) })) !== null;
}

/** A registered key, and what was proved about it. */
export interface Registration {
  readonly name: string;
  readonly environment: string | null;
  readonly clientId: string;
  readonly keyId: number | null;
  readonly fingerprint: string;
  /** Null where the exchange did not show what to compare. */
  readonly fingerprintVerified: boolean | null;
  readonly publicKeyVerified: boolean | null;
  readonly loginVerified: boolean;
  readonly scope: string;
  /** Whether the key was on the exchange already. */
  readonly adopted: boolean;
}

/** The result for a key that is on record; `compared` is null where the exchange did not show it. */
export function registrationOf(
  { name, environment, keyId, fingerprint }: KeyRecord,
  compared: Comparison | null,
  { clientId, ...proved }: Pick<Registration, 'clientId' | 'loginVerified' | 'scope' | 'adopted'>,
): Registration {
  const fingerprintVerified = compared?.fingerprintVerified ?? null;
  const publicKeyVerified = compared?.publicKeyVerified ?? null;
  return { name, environment, clientId, keyId, fingerprint, fingerprintVerified, publicKeyVerified, ...proved };
}

/** What a key is registered with. */
export interface Plan extends SuccessorPlan {
  readonly asShown: boolean;
  readonly publicKey: PublicKey;
  readonly signer: Signer;
}

/** The hint after a failure that leaves the key on the exchange. */
export const lookAgain = (name: string) =>
  `run the same command again: it looks for the key of "${name}" on the exchange before it creates one`;

/** Saves the record of a key that the exchange has; where that fails, the error says both. */
export async function saveCreated({ locked }: Attempt, record: KeyRecord, action: string): Promise<void> {
  const { name, clientId } = record;
  await locked.save(record, { action }).catch((error: unknown) => {
    throw notRecorded(error, `the exchange has the key "${name}" as ${clientId}`, lookAgain(name));
  });
}

interface Candidate {
  readonly pending: KeyRecord;
  readonly plan: Plan;
  readonly apiKey: ApiKey;
  readonly adopted: boolean;
  /** Whether an attempt of this keystore created it: it may be removed again then. */
  readonly ours: boolean;
}

/**
 * Proves a key that was created or found, sets its whitelist, and records it.
 * @throws `ERR_PROOF_FAILED` where something differs; a key of ours is removed again then
 */
export async function proveAndFinish(attempt: Attempt, candidate: Candidate): Promise<Registration> {
  const { context, login } = attempt;
  const { pending, plan, apiKey, adopted, ours } = candidate;
  const compared = await compareKey(apiKey, plan.publicKey);
  const differences = [...compared.differences, ...scopeDifferences(plan.scope, apiKey.maxScope)];
  // a key that was just made has no whitelist yet, whatever the answer says
  const alreadyRestricted = adopted && apiKey.ipWhitelist.length > 0;
  if (apiKey.enabled === false) differences.push('the key: it is disabled');
  const proof =
    differences.length > 0
      ? null
      : await proveLogin(context, { endpoint: login.endpoint, clientId: apiKey.clientId, signer: plan.signer });
  if (proof !== null) {
    differences.push(...scopeDifferences(plan.scope, proof.scope).map((difference) => `the login: ${difference}`));
  } else if (differences.length === 0 && !alreadyRestricted) {
    differences.push('the login: the exchange refuses a login signed with the private key');
  }
  if (differences.length > 0) {
    if (!ours) throw notOurs(candidate, differences);
    await rollBack(attempt, { pending, apiKey, differences });
  }
  if (proof === null) {
    if (compared.fingerprintVerified === null && compared.publicKeyVerified === null) throw unproved(candidate);
    context.onNote?.('the login was refused: this address may not be in the whitelist of the key');
  }

  if (plan.ipWhitelist.length > 0) await restrict(attempt, plan, apiKey);
  const scope = normaliseScope(apiKey.maxScope);
  const registered: KeyRecord = {
    ...pending,
    state: 'registered',
    scope,
    label: apiKey.label === '' ? plan.label : apiKey.label,
    features: apiKey.features,
    ipWhitelist: plan.ipWhitelist.length > 0 ? plan.ipWhitelist : apiKey.ipWhitelist,
    registeredAt: context.store.now().toISOString(),
  };
  await saveCreated(attempt, registered, 'register');
  const { clientId } = apiKey;
  return registrationOf(registered, compared, { clientId, loginVerified: proof !== null, scope, adopted });
}

/** A key with this public half that somebody else created: it is left as it is, and the record does not mention it. */
function notOurs(
  { pending: { name }, apiKey: { keyId, clientId, label } }: Candidate,
  differences: readonly string[],
): DeribitKeysError {
  const message = `the account has the public key of "${name}" as ${clientId} ("${label}"), but not as requested; ${differences.join('; ')}`;
  const hint = `if that is the key: deribit-keys link ${name} --client-id ${clientId}; else remove it (id ${keyId}) and register again`;
  return new DeribitKeysError('ERR_PROOF_FAILED', message, { hint });
}

/** The exchange shows nothing of the key, and its whitelist keeps the login from proving it. */
function unproved({ pending: { name }, apiKey: { keyId, clientId } }: Candidate): DeribitKeysError {
  const message = `nothing proves that ${clientId} is the key "${name}": the exchange shows neither its public key nor its fingerprint, and refuses the login`;
  const hint = `run the same command again from an address in the whitelist of the key ${keyId}, or with a login that has account:read_write`;
  return new DeribitKeysError('ERR_PROOF_FAILED', message, { hint });
}

async function restrict({ context, account }: Attempt, plan: Plan, apiKey: ApiKey): Promise<void> {
  const { ipWhitelist, asShown } = plan;
  const edited = await editApiKey(
    account,
    { keyId: apiKey.keyId, scope: apiKey.maxScope, ipWhitelist, asShown },
    protectedOptions(context),
  );
  const [asked, set] = [[...ipWhitelist].sort().join(' '), [...edited.ipWhitelist].sort().join(' ')];
  if (asked === set) return;
  const message = `the exchange did not set the whitelist of ${apiKey.clientId} as asked: it shows "${set}"`;
  const hint = "check the key on Deribit's web page; run the same command again to retry";
  throw new DeribitKeysError('ERR_PROOF_FAILED', message, { hint });
}

/** A registration that is under way, and what it works with. */
export interface Attempt {
  readonly context: WorkflowContext;
  readonly account: OpenAccount;
  readonly login: AccountLogin;
  readonly locked: LockedKey;
}

/** Saves a record; a failure is only noted, so that it does not hide what happened on the exchange. */
export async function trySave({ context, locked }: Attempt, record: KeyRecord, note: SaveNote): Promise<void> {
  await locked.save(record, note).catch((error: unknown) => {
    context.onNote?.(`the keystore could not be brought up to date: ${messageOf(error)}`);
  });
}

/**
 * Removes a key and makes sure of it: on a new connection where the first one fails. A key that is gone already is not a
 * failure.
 */
async function removeSurely({ context, account, login }: Attempt, keyId: number): Promise<void> {
  const remove = (on: OpenAccount) => removeApiKey(on, { keyId }, protectedOptions(context));
  await remove(account).catch(() =>
    withAccount(context, { login, level: 'read_write' }, (again) =>
      remove(again).catch(async (error: unknown) => {
        const keys = await accountKeys(context, again);
        if (keys.some((key) => key.keyId === keyId)) throw error;
      }),
    ),
  );
}

/**
 * Removes all but the oldest of several keys with the same public key, such as a request that was carried out late makes.
 * @throws `ERR_PROOF_FAILED` where one could not be removed; the record stays pending
 */
export async function removeTwins(attempt: Attempt, name: string, twins: readonly ApiKey[]): Promise<void> {
  for (const { keyId, clientId } of twins) {
    await removeSurely(attempt, keyId).catch((cause: unknown) => {
      const message = `the account has the key "${name}" twice, and ${clientId} could not be removed`;
      const hint = `run the same command again, or remove the key ${keyId} (${clientId}) on Deribit's web page`;
      throw new DeribitKeysError('ERR_PROOF_FAILED', message, { cause, hint, maybeSent: true });
    });
    attempt.context.onNote?.(`the account had the key "${name}" twice: ${clientId} was removed again`);
  }
}

/**
 * Removes a key that the exchange recorded wrongly, and says what differed.
 * @throws `ERR_PROOF_FAILED`, always; where the key could not be removed, the record stays pending
 */
export async function rollBack(
  attempt: Attempt,
  { pending, apiKey, differences }: { pending: KeyRecord; apiKey: ApiKey; differences: readonly string[] },
): Promise<never> {
  const { keyId, clientId } = apiKey;
  const what = `the exchange did not record the key "${pending.name}" as it was sent; ${differences.join('; ')}`;
  try {
    await removeSurely(attempt, keyId);
  } catch (cause) {
    await trySave(attempt, pending, { action: 'remove', outcome: outcomeOf(cause) });
    throw new DeribitKeysError('ERR_PROOF_FAILED', `${what}; and it could not be removed again`, {
      cause,
      hint: `run the same command again, or remove the key ${keyId} (${clientId}) on Deribit's web page`,
      maybeSent: true,
    });
  }
  await trySave(attempt, asLocal(pending), { action: 'remove' });
  throw new DeribitKeysError('ERR_PROOF_FAILED', what, {
    hint: `the new key (${clientId}) was removed again; the local key is unchanged and not registered`,
  });
}
