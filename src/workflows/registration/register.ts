import { encodePublicKeyPem } from '../../crypto/index.js';
import type { PublicKey } from '../../crypto/keys.js';
import type { Signer } from '../../crypto/signer.js';
import {
  type ApiKey,
  checkAddresses,
  checkFeatures,
  checkLabel,
  createApiKey,
  editApiKey,
} from '../../deribit/api-keys.js';
import { sameEndpoint } from '../../deribit/endpoints.js';
import { formatScope, normaliseScope, parseScope, scopesEqual } from '../../deribit/scope.js';
import { certainlyNotDone, DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import { asLocal, type KeyRecord } from '../../keystore/record.js';
import { readPublicKey } from '../../keystore/stored-keys.js';
import { messageOf, notRecorded, outcomeOf, protectedOptions, withAccount } from '../account/account.js';
import { compareKey } from '../account/match-key.js';
import { subaccountOf } from '../account/subaccount.js';
import { type AccountLogin, UNCERTAIN_MS, type WorkflowContext } from '../context.js';
import { endpointFields, endpointOfRecord } from '../endpoint-selection.js';
import { findAfterAttempt, findKeys, newSearch, requireOnlyOne, type Sought } from './find-key.js';
import { proveLogin, scopeDifferences } from './proof.js';
import { type Attempt, removeTwins, rollBack } from './rollback.js';

/*
 * The life of a registration, as the record tells it. Each arrow is on disk before the next request is sent.
 *
 *   local --> pending --create--> pending, client id known --prove, whitelist--> registered
 *     ^          |  refused for sure      |  proof failed: the new key is removed again
 *     +----------+------------------------+
 *
 * From `pending`, the next run looks for the key first (see find-key.ts), and while the exchange may still carry out the
 * request, it waits. After each creation it looks for a second key with the same public half, and keeps the older one.
 */

export interface RegisterRequest {
  readonly name: string;
  readonly scope: string;
  /** The API key's name on the exchange; made from the local name where left out. */
  readonly label?: string | undefined;
  readonly features?: readonly string[] | undefined;
  readonly ipWhitelist?: readonly string[] | undefined;
  /**
   * Whether scope, label, features and whitelist are those of another key, as the exchange shows it: they are sent as they
   * are, even where this version does not know some of their words.
   */
  readonly asShown?: boolean | undefined;
  readonly login: AccountLogin;
}

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

/** A name for the exchange (letters, digits, underscore, at most 16) made from a local one. */
export function labelFor(name: string): string {
  return name.replace(/[^A-Za-z0-9_]/g, '_').slice(0, 16);
}

interface Plan {
  readonly scope: string;
  readonly label: string;
  readonly features: readonly string[];
  readonly ipWhitelist: readonly string[];
  readonly asShown: boolean;
  readonly publicKey: PublicKey;
  readonly signer: Signer;
}

/** What is sent to the exchange. @throws `ERR_USAGE` for what it would not take */
function planOf(request: RegisterRequest): Omit<Plan, 'publicKey' | 'signer'> {
  const { name, scope, label = labelFor(name), features = [], ipWhitelist = [], asShown = false } = request;
  if (asShown) return { scope: normaliseScope(scope), label, features, ipWhitelist, asShown };
  return {
    scope: formatScope(parseScope(scope)),
    label: checkLabel(label),
    features: checkFeatures(features),
    ipWhitelist: checkAddresses(ipWhitelist),
    asShown,
  };
}

/**
 * Registers the public half of a stored key by `private/create_api_key` and proves each part of it: the fingerprint and
 * the public key where they are shown, the scope, and a signed login. The whitelist is set after the proof. A key that an
 * interrupted run created is found and adopted; a second one is never created.
 *
 * @throws `ERR_STATE` for a key that is registered or retired; `ERR_PROOF_FAILED` where the exchange recorded something
 *   else (the new key is removed again); `ERR_OUTCOME_UNKNOWN` where it cannot be decided whether the key was created
 *   already; network errors with the record left `pending`, for the next run to continue; `ERR_RPC` and its kin where the
 *   exchange refuses
 */
export async function register(context: WorkflowContext, request: RegisterRequest): Promise<Registration> {
  const { name, login } = request;
  const wanted = planOf(request);
  return context.store.withLock(name, async (locked) => {
    const record = await locked.read();
    requireRegistrable(record);
    requireSameAttempt(record, wanted.scope, login);
    const publicKey = await readPublicKey(context.store, record);
    const plan: Plan = { ...wanted, publicKey, signer: await context.signerOf(record) };
    return context.store.withKeyLock(record.fingerprint, async () => {
      if (record.state === 'local') await requireOnlyOne(context, record, login);
      return withAccount(context, login, 'read_write', (account) =>
        findOrCreate({ context, account, login, locked }, record, plan),
      );
    });
  });
}

async function findOrCreate(attempt: Attempt, record: KeyRecord, plan: Plan): Promise<Registration> {
  const { context, login, locked, account } = attempt;
  const { publicKey, signer, label } = plan;
  const sought: Sought = { account, login, record, publicKey, signer, label, memory: newSearch() };
  // what was done with a key since its backup was made is not on record
  const sentBefore = record.state === 'pending' || record.restoredAt !== null;
  const earlier = sentBefore
    ? await findAfterAttempt(context, sought)
    : await findKeys(context, sought, { secondFactor: false, everyHidden: false });
  let found = [...earlier];
  let created: ApiKey | null = null;
  const save = (apiKey: ApiKey, action: string) =>
    locked.save(pendingRecord(record, plan, login, apiKey), { action }).catch((error: unknown) => {
      throw notRecorded(
        error,
        `the exchange has the key "${record.name}" as ${apiKey.clientId}`,
        lookAgain(record.name),
      );
    });
  if (found.length === 0) {
    created = await create(attempt, record, plan);
    await save(created, 'create');
    const { keyId } = created;
    const others = await findKeys(context, sought, { secondFactor: sentBefore, everyHidden: sentBefore });
    found = [created, ...others.filter((key) => key.keyId !== keyId)].sort(
      (a, b) => (a.timestampMs ?? 0) - (b.timestampMs ?? 0) || a.keyId - b.keyId,
    );
  }
  const isOurs = (key: ApiKey) =>
    key.keyId === created?.keyId || (record.state === 'pending' && (key.label === label || key.keyId === record.keyId));
  // a key that somebody else made of the same public half stays; of our own the oldest
  const kept = found.find((key) => !isOurs(key)) ?? found[0];
  if (kept === undefined) throw new DeribitKeysError('ERR_INTERNAL', 'no key was created');
  await removeTwins(
    attempt,
    record.name,
    found.filter((key) => isOurs(key) && key !== kept),
  );
  const [adopted, ours] = [kept !== created, isOurs(kept)];
  if (adopted && ours) await save(kept, 'adopt');
  else if (adopted && created !== null) await locked.save(asLocal(record), { action: 'remove' });
  const pending = pendingRecord(record, plan, login, kept);
  return proveAndFinish(attempt, { pending, plan, apiKey: kept, adopted, ours });
}

/** @throws `ERR_STATE` for a key that is registered already, or retired. */
export function requireRegistrable(record: KeyRecord): void {
  if (record.state !== 'registered' && record.state !== 'retired') return;
  const { name, state, clientId } = record;
  const hint = `prove it with: deribit-keys verify ${name} (another scope: deribit-keys api-keys scope ${name} …)`;
  throw new DeribitKeysError('ERR_STATE', `the key "${name}" is ${state} already, as ${clientId}`, {
    hint: state === 'registered' ? hint : 'generate a new key',
  });
}

/** An interrupted registration can only be finished where, and as, it was begun. */
function requireSameAttempt(record: KeyRecord, scope: string, login: AccountLogin): void {
  const remembered = endpointOfRecord(record);
  if (record.state !== 'pending' || remembered === null) return;
  const { name } = record;
  if (!sameEndpoint(remembered, login.endpoint)) {
    throw new DeribitKeysError(
      'ERR_USAGE',
      `the registration of "${name}" was begun on ${remembered.url}, not on ${login.endpoint.url}`,
      {
        hint: 'finish it there: leave out --env and --url',
      },
    );
  }
  if (record.subaccount !== subaccountOf(login)) {
    const where = record.subaccount === null ? 'the main account' : `the subaccount ${record.subaccount}`;
    throw new DeribitKeysError('ERR_USAGE', `the registration of "${name}" was begun in ${where}`, {
      hint: record.subaccount === null ? 'leave out --subaccount' : `say --subaccount ${record.subaccount}`,
    });
  }
  if (record.scope !== null && !scopesEqual(record.scope, scope)) {
    throw new DeribitKeysError('ERR_STATE', `the registration of "${name}" was begun with the scope ${record.scope}`, {
      hint: `finish it first with: deribit-keys register ${name} --scope "${record.scope}" …`,
    });
  }
}

function pendingRecord(record: KeyRecord, plan: Plan, login: AccountLogin, apiKey: ApiKey | null): KeyRecord {
  return {
    ...record,
    ...endpointFields(login.endpoint),
    state: 'pending',
    scope: plan.scope,
    label: plan.label,
    features: plan.features,
    ipWhitelist: plan.ipWhitelist,
    clientId: apiKey?.clientId ?? null,
    keyId: apiKey?.keyId ?? null,
    subaccount: subaccountOf(login),
    registrar: record.registrar ?? login.credentials.clientId,
    uncertainUntil: null,
  };
}

async function create(attempt: Attempt, record: KeyRecord, plan: Plan): Promise<ApiKey> {
  const { context, account, login, locked } = attempt;
  const { scope, label, features, asShown } = plan;
  const uncertainMs = context.uncertainMs ?? UNCERTAIN_MS;
  const uncertainUntil = new Date(context.store.now().getTime() + uncertainMs).toISOString();
  const pending = { ...pendingRecord(record, plan, login, null), uncertainUntil };
  await locked.save(pending);
  try {
    return await createApiKey(
      account,
      { scope, label, features, asShown, publicKey: encodePublicKeyPem(plan.publicKey) },
      protectedOptions(context),
    );
  } catch (error) {
    const certain = certainlyNotDone(error);
    // a record that cannot be written does not hide what happened: it stays pending, and the next run looks
    await locked
      .save(certain ? asLocal(record) : pending, { action: 'create', outcome: outcomeOf(error) })
      .catch((failure: unknown) => {
        context.onNote?.(`the keystore could not be brought up to date: ${messageOf(failure)}`);
      });
    throw certain ? error : answerLost(error, record.name);
  }
}

const lookAgain = (name: string) =>
  `run the same command again: it looks for the key of "${name}" on the exchange before it creates one`;

/** A failure after which the key may be on the exchange: that is told before anything else. */
function answerLost(error: unknown, name: string): unknown {
  if (!isDeribitKeysError(error)) return error;
  return error.with({
    message: `${error.message} (the key may have been created all the same)`,
    hint: lookAgain(name),
    maybeSent: true,
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

async function proveAndFinish(attempt: Attempt, candidate: Candidate): Promise<Registration> {
  const { context, login, locked } = attempt;
  const { pending, plan, apiKey, adopted, ours } = candidate;
  const compared = await compareKey(apiKey, plan.publicKey);
  const differences = [...compared.differences, ...scopeDifferences(plan.scope, apiKey.maxScope)];
  // a key that was just made has no whitelist yet, whatever the answer says
  const alreadyRestricted = adopted && apiKey.ipWhitelist.length > 0;
  if (apiKey.enabled === false) differences.push('the key: it is disabled');
  const proof = differences.length > 0 ? null : await proveLogin(context, login.endpoint, apiKey.clientId, plan.signer);
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
  await locked.save(registered, { action: 'register' }).catch((error: unknown) => {
    throw notRecorded(
      error,
      `the exchange has the key "${pending.name}" as ${apiKey.clientId}`,
      lookAgain(pending.name),
    );
  });
  return {
    name: registered.name,
    environment: registered.environment,
    clientId: apiKey.clientId,
    keyId: apiKey.keyId,
    fingerprint: registered.fingerprint,
    fingerprintVerified: compared.fingerprintVerified,
    publicKeyVerified: compared.publicKeyVerified,
    loginVerified: proof !== null,
    scope,
    adopted,
  };
}

/** A key with this public half that somebody else created: it is left as it is, and the record does not mention it. */
function notOurs(
  { pending: { name }, apiKey: { keyId, clientId, label } }: Candidate,
  differences: readonly string[],
): DeribitKeysError {
  return new DeribitKeysError(
    'ERR_PROOF_FAILED',
    `the account has the public key of "${name}" as ${clientId} ("${label}"), but not as asked; ${differences.join('; ')}`,
    {
      hint: `if that key is meant: deribit-keys link ${name} --client-id ${clientId}; else remove it (id ${keyId}) and register again`,
    },
  );
}

/** The exchange shows nothing of the key, and its whitelist keeps the login from proving it. */
function unproved({ pending: { name }, apiKey: { keyId, clientId } }: Candidate): DeribitKeysError {
  return new DeribitKeysError(
    'ERR_PROOF_FAILED',
    `nothing proves that ${clientId} is the key "${name}": the exchange shows neither its public key nor its fingerprint, and refuses the login`,
    {
      hint: `run the same command again from an address in the whitelist of the key ${keyId}, or with a login that has account:read_write`,
    },
  );
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
  throw new DeribitKeysError(
    'ERR_PROOF_FAILED',
    `the exchange did not set the whitelist of ${apiKey.clientId} as asked: it shows "${set}"`,
    {
      hint: 'look at the key on Deribit’s web page; run the same command again to try once more',
    },
  );
}
