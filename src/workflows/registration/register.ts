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
import type { LockedKey } from '../../keystore/keystore.js';
import { asLocal, type KeyRecord } from '../../keystore/record.js';
import { readPublicKey } from '../../keystore/stored-keys.js';
import { type OpenAccount, protectedOptions, withAccount } from '../account/account.js';
import { subaccountOf } from '../account/subaccount.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { endpointFields, endpointOfRecord } from '../endpoint-selection.js';
import { findOnExchange, requireOnlyOne, UNCERTAIN_MS } from './find-key.js';
import { compareKey, proveLogin, scopeDifferences } from './proof.js';
import { rollBack } from './rollback.js';

/*
 * The life of a registration, as the record tells it. Each arrow is on disk before the next request is sent.
 *
 *   local --> pending --create--> pending, client id known --prove, whitelist--> registered
 *     ^          |  refused for sure      |  proof failed: the new key is removed again
 *     +----------+------------------------+
 *
 * From `pending`, the next run looks for the key by its fingerprint first: it never makes a second one.
 */

export interface RegisterRequest {
  readonly name: string;
  readonly scope: string;
  /** The API key's name on the exchange; made from the local name where left out. */
  readonly label?: string | undefined;
  readonly features?: readonly string[];
  readonly ipWhitelist?: readonly string[];
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
  readonly publicKey: PublicKey;
  readonly signer: Signer;
}

/**
 * Registers the public half of a stored key by `private/create_api_key` and proves each part of it: the fingerprint,
 * the public key where it is shown, the scope, and a signed login. The whitelist is set after the proof.
 *
 * @throws `ERR_STATE` for a key that is registered or retired; `ERR_PROOF_FAILED` where the exchange recorded something
 *   else (the new key is removed again); network errors with the record left `pending`, to be taken up by the next run;
 *   `ERR_RPC` and its kin where the exchange refuses
 */
export async function register(context: WorkflowContext, request: RegisterRequest): Promise<Registration> {
  const scope = formatScope(parseScope(request.scope));
  const label = checkLabel(request.label ?? labelFor(request.name));
  const ipWhitelist = checkAddresses(request.ipWhitelist ?? []);
  const features = checkFeatures(request.features ?? []);

  return context.store.withLock(request.name, async (locked) => {
    const record = await locked.read();
    requireRegistrable(record);
    requireSameAttempt(record, scope, request.login);
    const publicKey = await readPublicKey(context.store, record);
    const signer = await context.signerOf(record);
    const plan: Plan = { scope, label, features, ipWhitelist, publicKey, signer };

    return withAccount(context, request.login, 'read_write', async (account) => {
      const found = record.state === 'pending' ? await findOnExchange(context, account, record, publicKey) : null;
      if (record.state !== 'pending') await requireOnlyOne(context, record, request.login);
      const apiKey = found ?? (await create(context, account, locked, record, plan, request.login));
      const pending = pendingRecord(record, plan, request.login, apiKey);
      await locked.save(pending, { action: found === null ? 'create' : 'adopt' }).catch((error: unknown) => {
        throw answerLost(error, record.name);
      });
      return proveAndFinish(context, account, locked, pending, plan, request.login, apiKey, found !== null);
    });
  });
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

/** An interrupted registration can only be ended where, and as, it was begun. */
function requireSameAttempt(record: KeyRecord, scope: string, login: AccountLogin): void {
  const remembered = endpointOfRecord(record);
  if (record.state !== 'pending' || remembered === null) return;
  const { name } = record;
  if (!sameEndpoint(remembered, login.endpoint)) {
    throw new DeribitKeysError(
      'ERR_USAGE',
      `the registration of "${name}" was begun on ${remembered.url}, not on ${login.endpoint.url}`,
      {
        hint: 'end it there: leave out --env and --url',
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
      hint: `end it first with: deribit-keys register ${name} --scope "${record.scope}" …`,
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

async function create(
  context: WorkflowContext,
  account: OpenAccount,
  locked: LockedKey,
  record: KeyRecord,
  plan: Plan,
  login: AccountLogin,
): Promise<ApiKey> {
  const pending = pendingRecord(record, plan, login, null);
  await locked.save(pending);
  try {
    const { scope, label, features } = plan;
    return await createApiKey(
      account,
      { scope, label, features, publicKey: encodePublicKeyPem(plan.publicKey) },
      protectedOptions(context),
    );
  } catch (error) {
    const outcome = isDeribitKeysError(error) ? error.code : 'ERR_INTERNAL';
    const certain = certainlyNotDone(error);
    // a record that cannot be written does not hide what happened: it stays pending, and the next run looks
    const unanswered = isDeribitKeysError(error, 'ERR_TIMEOUT', 'ERR_INTERRUPTED');
    const uncertainUntil = unanswered ? new Date(context.store.now().getTime() + UNCERTAIN_MS).toISOString() : null;
    await locked
      .save(certain ? asLocal(record) : { ...pending, uncertainUntil }, { action: 'create', outcome })
      .catch((failure: unknown) => {
        context.onNote?.(
          `the keystore could not be brought up to date: ${failure instanceof Error ? failure.message : 'unknown'}`,
        );
      });
    throw certain ? error : answerLost(error, record.name);
  }
}

function answerLost(error: unknown, name: string): unknown {
  if (!isDeribitKeysError(error)) return error;
  return new DeribitKeysError(error.code, `${error.message} (the key may have been created all the same)`, {
    cause: error,
    hint: `run the same command again: it looks for the key of "${name}" on the exchange before it makes one`,
    maybeSent: true,
    ...(error.rpc === undefined ? {} : { rpc: error.rpc }),
  });
}

async function proveAndFinish(
  context: WorkflowContext,
  account: OpenAccount,
  locked: LockedKey,
  pending: KeyRecord,
  plan: Plan,
  login: AccountLogin,
  apiKey: ApiKey,
  adopted: boolean,
): Promise<Registration> {
  const compared = await compareKey(apiKey, plan.publicKey);
  const differences = [...compared.differences, ...scopeDifferences(plan.scope, apiKey.maxScope)];
  // a key that was just made has no whitelist yet, whatever the answer says
  const alreadyRestricted = adopted && apiKey.ipWhitelist.length > 0;
  if (!apiKey.enabled) differences.push('the key: it is disabled');
  const proof = differences.length > 0 ? null : await proveLogin(context, login.endpoint, apiKey.clientId, plan.signer);
  if (proof !== null) {
    differences.push(...scopeDifferences(plan.scope, proof.scope).map((difference) => `the login: ${difference}`));
  } else if (differences.length === 0 && !alreadyRestricted) {
    differences.push('the login: the exchange refuses a login signed with the private key');
  }
  if (differences.length > 0) {
    if (adopted && apiKey.label !== plan.label) throw notOurs(pending.name, apiKey, differences);
    await rollBack(context, account, locked, pending, login, apiKey, differences);
  }
  if (proof === null) context.onNote?.('the login was refused: this address may not be in the whitelist of the key');

  if (plan.ipWhitelist.length > 0) await restrict(context, account, plan, apiKey);
  const registered: KeyRecord = {
    ...pending,
    state: 'registered',
    scope: normaliseScope(apiKey.maxScope),
    label: apiKey.label === '' ? plan.label : apiKey.label,
    features: apiKey.features,
    ipWhitelist: plan.ipWhitelist.length > 0 ? plan.ipWhitelist : apiKey.ipWhitelist,
    registeredAt: context.store.now().toISOString(),
  };
  await locked.save(registered, { action: 'register' }).catch((error: unknown) => {
    throw answerLost(error, registered.name);
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
    scope: normaliseScope(apiKey.maxScope),
    adopted,
  };
}

/** A key with this public half that was found, and looks like somebody else's work: it is left alone. */
function notOurs(name: string, { keyId, clientId, label }: ApiKey, differences: readonly string[]): DeribitKeysError {
  return new DeribitKeysError(
    'ERR_PROOF_FAILED',
    `the account has the public key of "${name}" as ${clientId} ("${label}"), but not as asked; ${differences.join('; ')}`,
    {
      hint: `if that key is meant: deribit-keys link ${name} --client-id ${clientId}; else remove it (id ${keyId}) and register again`,
    },
  );
}

async function restrict(context: WorkflowContext, account: OpenAccount, plan: Plan, apiKey: ApiKey): Promise<void> {
  const edited = await editApiKey(
    account,
    { keyId: apiKey.keyId, scope: apiKey.maxScope, ipWhitelist: plan.ipWhitelist },
    protectedOptions(context),
  );
  const [asked, set] = [[...plan.ipWhitelist].sort().join(' '), [...edited.ipWhitelist].sort().join(' ')];
  if (asked !== set) {
    throw new DeribitKeysError(
      'ERR_PROOF_FAILED',
      `the exchange did not set the whitelist of ${apiKey.clientId} as asked: it shows "${set}"`,
      {
        hint: 'look at the key in Deribit’s web page; run the same command again to try once more',
      },
    );
  }
}
