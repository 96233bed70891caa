import { encodePublicKeyPem } from '../../crypto/index.js';
import { type ApiKey, checkAddresses, checkFeatures, checkLabel, createApiKey } from '../../deribit/api-keys.js';
import { sameEndpoint } from '../../deribit/endpoints.js';
import { formatScope, normaliseScope, parseScope, scopesEqual } from '../../deribit/scope.js';
import { certainlyNotDone, DeribitKeysError, isDeribitKeysError, usageError } from '../../errors.js';
import { asLocal, type KeyRecord } from '../../keystore/record.js';
import { readPublicKey } from '../../keystore/stored-keys.js';
import { outcomeOf, protectedOptions, subaccountOf, withAccount } from '../account/account.js';
import { explainKeyLimit } from '../account/api-keys.js';
import { type AccountLogin, endpointFields, endpointOfRecord, type WorkflowContext } from '../context.js';
import { byAge, findAfterAttempt, findKeys, newSearch, requireOnlyOne, UNCERTAIN_MS } from './find-key.js';
import {
  type Attempt,
  lookAgain,
  type Plan,
  proveAndFinish,
  type Registration,
  removeTwins,
  saveCreated,
  trySave,
} from './proof.js';

/*
 * The life of a registration, as the record shows it. Each arrow is on disk before the next request is sent.
 *
 *   local --> pending --create--> pending, client id known --prove, whitelist--> registered
 *     ^          |  refused for sure      |  proof failed: the new key is removed again
 *     +----------+------------------------+
 *
 * From `pending`, the next run looks for the key first (see find-key.ts), and while the exchange may still carry out the
 * request, it waits. After each creation it looks for a second key with the same public half, and keeps the older one.
 */

export type { Registration };

/** The account that a key is registered on, and what is asked for. */
export interface RegisterRequest {
  /** The name of the stored key. */
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

/** A name for the exchange (letters, digits, underscore, at most 16) made from a local one. */
export function labelFor(name: string): string {
  return name.replace(/[^A-Za-z0-9_]/g, '_').slice(0, 16);
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
      return withAccount(context, { login, level: 'read_write' }, (account) =>
        findOrCreate({ context, account, login, locked }, record, plan),
      );
    });
  });
}

async function findOrCreate(attempt: Attempt, record: KeyRecord, plan: Plan): Promise<Registration> {
  const { context, login, account } = attempt;
  const { publicKey, signer, label } = plan;
  const search = { account, login, record, publicKey, signer, label, memory: newSearch() };
  // what was done with a key since its backup was made is not on record
  const sentBefore = record.state === 'pending' || record.restoredAt !== null;
  let found = sentBefore
    ? await findAfterAttempt(context, search)
    : await findKeys(context, search, { secondFactor: false, everyHidden: false });
  let created: ApiKey | null = null;
  const save = (apiKey: ApiKey, action: string) =>
    saveCreated(attempt, pendingRecord(record, { plan, login, apiKey }), action);
  if (found.length === 0) {
    created = await create(attempt, record, plan);
    // what an answer says of another key is no reason to touch that
    if (created.clientId === account.clientId || search.memory.listed.has(created.keyId)) {
      throw answerLost(answersForAnother(created), record.name);
    }
    await save(created, 'create');
    const { keyId } = created;
    const others = await findKeys(context, search, { secondFactor: sentBefore, everyHidden: sentBefore });
    found = [created, ...others.filter((key) => key.keyId !== keyId)].sort(byAge);
  }
  const isOurs = (key: ApiKey) =>
    key.keyId === created?.keyId || (record.state === 'pending' && (key.label === label || key.keyId === record.keyId));
  // a key that somebody else made of the same public half stays; of our own the oldest
  const kept = found.find((key) => !isOurs(key)) ?? found[0];
  if (kept === undefined) throw new DeribitKeysError('ERR_INTERNAL', 'no key was created');
  const twins = found.filter((key) => isOurs(key) && key !== kept);
  await removeTwins(attempt, record.name, twins);
  const [adopted, ours] = [kept !== created, isOurs(kept)];
  if (adopted && ours) await save(kept, 'adopt');
  else if (adopted && created !== null) await attempt.locked.save(asLocal(record), { action: 'remove' });
  const pending = pendingRecord(record, { plan, login, apiKey: kept });
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

/** An interrupted registration can only be finished where, and as, it was started. */
function requireSameAttempt(record: KeyRecord, scope: string, login: AccountLogin): void {
  const remembered = endpointOfRecord(record);
  if (record.state !== 'pending' || remembered === null) return;
  const { name } = record;
  if (!sameEndpoint(remembered, login.endpoint)) {
    throw usageError(
      `the registration of "${name}" was started on ${remembered.url}, not on ${login.endpoint.url}`,
      'finish it there: leave out --env and --url',
    );
  }
  if (record.subaccount !== subaccountOf(login)) {
    const where = record.subaccount === null ? 'the main account' : `the subaccount ${record.subaccount}`;
    throw usageError(
      `the registration of "${name}" was started in ${where}`,
      record.subaccount === null ? 'leave out --subaccount' : `say --subaccount ${record.subaccount}`,
    );
  }
  if (record.scope !== null && !scopesEqual(record.scope, scope)) {
    const message = `the registration of "${name}" was started with the scope ${record.scope}`;
    const hint = `finish it first with: deribit-keys register ${name} --scope "${record.scope}" …`;
    throw new DeribitKeysError('ERR_STATE', message, { hint });
  }
}

function pendingRecord(
  record: KeyRecord,
  { plan, login, apiKey }: { readonly plan: Plan; readonly login: AccountLogin; readonly apiKey: ApiKey | null },
): KeyRecord {
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
    // a key that was found or made belongs to the account of this login, whoever began
    registrar: (apiKey === null ? record.registrar : null) ?? login.credentials.clientId,
    uncertainUntil: null,
  };
}

async function create(attempt: Attempt, record: KeyRecord, plan: Plan): Promise<ApiKey> {
  const { context, account, login, locked } = attempt;
  const { scope, label, features, asShown } = plan;
  const uncertainMs = context.uncertainMs ?? UNCERTAIN_MS;
  const uncertainUntil = new Date(context.store.now().getTime() + uncertainMs).toISOString();
  const pending = { ...pendingRecord(record, { plan, login, apiKey: null }), uncertainUntil };
  await locked.save(pending);
  try {
    return await createApiKey(
      account,
      { scope, label, features, asShown, publicKey: encodePublicKeyPem(plan.publicKey) },
      protectedOptions(context),
    );
  } catch (error) {
    const certain = certainlyNotDone(error);
    // a record that cannot be written stays pending, and the next run looks
    await trySave(attempt, certain ? asLocal(record) : pending, { action: 'create', outcome: outcomeOf(error) });
    if (!certain) throw answerLost(error, record.name);
    throw explainKeyLimit(error);
  }
}

function answersForAnother({ keyId, clientId }: ApiKey): DeribitKeysError {
  const message = `private/create_api_key answered with the key ${keyId} (${clientId}), which was there before`;
  return new DeribitKeysError('ERR_PROTOCOL', message);
}

/** A failure after which the key may be on the exchange: the message says so. */
function answerLost(error: unknown, name: string): unknown {
  if (!isDeribitKeysError(error)) return error;
  return error.with({
    message: `${error.message} (the key may have been created nevertheless)`,
    hint: lookAgain(name),
    maybeSent: true,
  });
}
