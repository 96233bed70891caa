import { setTimeout as sleep } from 'node:timers/promises';
import type { PublicKey } from '../../crypto/keys.js';
import type { Signer } from '../../crypto/signer.js';
import type { ApiKey } from '../../deribit/api-keys.js';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import type { KeyRecord } from '../../keystore/record.js';
import { accountKeys, type OpenAccount, protectedOptions, requestOptions } from '../account/account.js';
import { matchKeys } from '../account/api-keys.js';
import { type AccountLogin, isAt, type WorkflowContext } from '../context.js';
import { proveLogin } from './proof.js';

/**
 * How long after it was sent a `create_api_key` that was not answered may still be carried out by the exchange. This is a
 * guess, and a generous one: Deribit documents nothing. The next run waits until then before it creates a key.
 */
export const UNCERTAIN_MS = 120_000;

/** How many keys that show nothing are tried by a login: each refused one counts against the exchange's limits. */
const MAX_TRIES = 16;

/** The first pause between two looks for a key that may still be created, and the longest. */
const [FIRST_PAUSE_MS, LONGEST_PAUSE_MS] = [1_000, 10_000];

/** A key of the keystore that is looked for in an account. */
export interface KeySearch {
  readonly account: OpenAccount;
  readonly login: AccountLogin;
  readonly record: KeyRecord;
  readonly publicKey: PublicKey;
  readonly signer: Signer;
  /** The label that it was, or would be, created with. */
  readonly label: string | null;
  /** The account's keys, where they were listed a moment ago: the first look needs no other list then. */
  readonly listed?: readonly ApiKey[];
  readonly memory: SearchMemory;
}

/** What the looks for a key in one run have shown. */
interface SearchMemory {
  /** Client ids whose login was refused for the key: they are not tried again. */
  readonly refused: Set<string>;
  /** Whether the exchange wants a second factor for the list. */
  listIsProtected: boolean;
  /** Ids of all keys that the exchange listed. */
  readonly listed: Set<number>;
}

export const newSearch = (): SearchMemory => ({ refused: new Set(), listIsProtected: false, listed: new Set() });

/** How thoroughly a key is looked for. */
interface Effort {
  /** Whether the second factor is answered where the exchange wants it for the list. */
  readonly secondFactor: boolean;
  /** Whether a login is tried with every key that shows nothing, and not only with those of the same label. */
  readonly everyHidden: boolean;
}

/** The oldest key first. */
export const byAge = (a: ApiKey, b: ApiKey) => (a.timestampMs ?? 0) - (b.timestampMs ?? 0) || a.keyId - b.keyId;

/**
 * The keys of the account that have this public key, by the rule of {@link matchKeys}, oldest first. The record's own
 * key id counts as well: what the exchange shows there may be what is wrong.
 * @throws `ERR_OUTCOME_UNKNOWN` where a key that shows nothing, and cannot be tried by a login, may be the one; `ERR_STATE`
 *   where the account is not the one in which the registration was started
 */
export async function findKeys(
  context: WorkflowContext,
  search: KeySearch,
  effort: Effort,
): Promise<readonly ApiKey[]> {
  const { record, publicKey } = search;
  const keys = search.listed ?? (await listFor(context, search, effort));
  if (keys === null) return [];
  const { same, hidden } = await matchKeys(keys, publicKey);
  const isOnRecord = ({ keyId }: ApiKey) => record.keyId !== null && keyId === record.keyId;
  const found = [...same, ...keys.filter((key) => isOnRecord(key) && !same.includes(key))];
  const unexplained = hidden.filter((key) => !isOnRecord(key));
  const { everyHidden } = effort;
  found.push(...(await tryLogins(context, search, { hidden: unexplained, everyHidden, decided: found.length > 0 })));
  if (found.length === 0) await requireSameAccount(context, search, keys);
  return found.sort(byAge);
}

/** The account's keys; null where they are not shown without a second factor, and it is not to be used. */
async function listFor(context: WorkflowContext, { account, memory }: KeySearch, { secondFactor }: Effort) {
  if (!secondFactor && memory.listIsProtected) return null;
  try {
    const keys = await accountKeys(
      context,
      account,
      secondFactor ? protectedOptions(context) : requestOptions(context),
    );
    for (const { keyId } of keys) memory.listed.add(keyId);
    return keys;
  } catch (error) {
    if (!secondFactor && isDeribitKeysError(error, 'ERR_SECOND_FACTOR_REQUIRED')) {
      memory.listIsProtected = true;
      return null;
    }
    throw error;
  }
}

/** Those of the keys that show nothing under whose client id the private key logs in; the likeliest are tried first. */
async function tryLogins(
  context: WorkflowContext,
  search: KeySearch,
  { hidden, everyHidden, decided }: { hidden: readonly ApiKey[]; everyHidden: boolean; decided: boolean },
): Promise<readonly ApiKey[]> {
  const { login, label, signer } = search;
  const { refused } = search.memory;
  const explained = await explainedClientIds(context, search);
  const isLikely = (key: ApiKey) => label !== null && key.label === label;
  const candidates = hidden
    .filter((key) => (everyHidden || isLikely(key)) && !explained.has(key.clientId) && !refused.has(key.clientId))
    .sort((a, b) => Number(isLikely(b)) - Number(isLikely(a)) || byAge(b, a));
  const found: ApiKey[] = [];
  for (const key of candidates.slice(0, MAX_TRIES)) {
    const { clientId, enabled } = key;
    const proof = enabled === false ? null : await proveLogin(context, { endpoint: login.endpoint, clientId, signer });
    if (proof !== null) found.push(key);
    // a key that may not log in, or not from here, is not shown to be another by a refused login
    else if (enabled !== false && key.ipWhitelist.length === 0) refused.add(clientId);
    else if (everyHidden && isLikely(key) && !decided && found.length === 0) throw undecided(search, key);
  }
  const [untried] = candidates.slice(MAX_TRIES);
  if (untried !== undefined && everyHidden && !decided && found.length === 0) throw undecided(search, untried);
  return found;
}

/** Client ids that are known to belong to other keys: those of the keystore's records, and the login's. */
async function explainedClientIds(context: WorkflowContext, { account, login, record }: KeySearch) {
  const { records } = await context.store.list();
  const others = records.filter((other) => other.fingerprint !== record.fingerprint && isAt(other, login.endpoint));
  return new Set([account.clientId, ...others.map(({ clientId }) => clientId)]);
}

function undecided({ record: { name } }: KeySearch, { clientId, keyId }: ApiKey): DeribitKeysError {
  const message = `the key "${name}" may have been created as ${clientId}: the exchange shows neither its public key nor its fingerprint, and a login cannot tell`;
  const hint = `nothing was created; check the key ${keyId} on Deribit's web page (Account > API): if it is "${name}", enable it without a whitelist and run the same command again, else remove it`;
  return new DeribitKeysError('ERR_OUTCOME_UNKNOWN', message, { hint, maybeSent: true });
}

/**
 * The account in which a registration was started shows the key that began it, or another of the same account: a rotation
 * replaces the key and its client id.
 */
async function requireSameAccount(
  context: WorkflowContext,
  { account, login, record: { name, registrar, subaccount } }: KeySearch,
  keys: readonly ApiKey[],
): Promise<void> {
  if (registrar === null || registrar === account.clientId || subaccount !== null) return;
  const { records } = await context.store.list();
  const there = records.filter((record) => isAt(record, login.endpoint));
  const own = idsOfAccount(there, registrar);
  if (own.has(account.clientId) || keys.some(({ clientId }) => own.has(clientId))) return;
  const again = `deribit-keys remove ${name} --as <another key>, then deribit-keys generate ${name}`;
  const message = `the registration of "${name}" was started by ${registrar}, and the account of ${account.clientId} has no such key`;
  const hint = `log in to the account that it was started in: the key may already be registered there; if this is that account and ${registrar} was removed from it, put the key away and register a new one: ${again}`;
  throw new DeribitKeysError('ERR_STATE', message, { hint });
}

/**
 * The client ids that are known to be of the same account as `clientId`: the login that a key was registered by, and that
 * key, belong to one account.
 */
function idsOfAccount(records: readonly KeyRecord[], clientId: string): ReadonlySet<string> {
  const ids = new Set([clientId]);
  const pairs = records.flatMap((record) => {
    const { clientId: own, registrar, subaccount } = record;
    return own === null || registrar === null || subaccount !== null ? [] : [[own, registrar] as const];
  });
  for (let size = 0; size !== ids.size; ) {
    size = ids.size;
    for (const [a, b] of pairs) {
      if (ids.has(a) || ids.has(b)) ids.add(a).add(b);
    }
  }
  return ids;
}

/**
 * The keys that an earlier, interrupted attempt to create the key has made. While the exchange may still carry out a
 * request of that attempt, this looks again and again, for two minutes at most.
 * @throws `ERR_INTERRUPTED` while waiting, and as `findKeys` does
 */
export async function findAfterAttempt(context: WorkflowContext, search: KeySearch): Promise<readonly ApiKey[]> {
  const thorough: Effort = { secondFactor: true, everyHidden: true };
  const { listed: _listed, ...later } = search;
  const seen = await findKeys(context, search, thorough);
  const leftMs = await uncertainForMs(context, search.record, search.login);
  if (seen.length > 0 || leftMs <= 0) return seen;
  const { name } = search.record;
  context.onNote?.(
    `an earlier request to create the key "${name}" was not answered, and the exchange may still carry it out: looking for the key for ${Math.ceil(leftMs / 1000)} s before another request is sent (Ctrl-C ends the wait; nothing is lost)`,
  );
  const endMs = performance.now() + leftMs;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 1.5, LONGEST_PAUSE_MS)) {
    const remainingMs = endMs - performance.now();
    if (remainingMs <= 0) return findKeys(context, later, thorough);
    await sleep(Math.min(pauseMs, remainingMs), undefined, requestOptions(context)).catch(() => {
      throw new DeribitKeysError('ERR_INTERRUPTED', `interrupted while looking for the key "${name}"`, {
        hint: 'run the same command again: it continues looking',
        maybeSent: false,
      });
    });
    // without the second factor: a code for each look would cost half a minute, or a question
    const found = await findKeys(context, later, { ...thorough, secondFactor: false });
    if (found.length > 0) return found;
  }
}

/** How long the exchange may still carry out a request to create this key, sent under whatever name. */
async function uncertainForMs(context: WorkflowContext, record: KeyRecord, login: AccountLogin): Promise<number> {
  const { records } = await context.store.list();
  const nowMs = context.store.now().getTime();
  const leftMs = records
    .filter((other) => other.fingerprint === record.fingerprint && isAt(other, login.endpoint))
    .map(({ uncertainUntil }) => Date.parse(uncertainUntil ?? '') - nowMs)
    .filter((ms) => ms > 0);
  // a clock that was set back does not make the wait longer
  return Math.min(Math.max(0, ...leftMs), context.uncertainMs ?? UNCERTAIN_MS);
}

/**
 * One key pair is registered once, under whatever name.
 * @throws `ERR_STATE` where another name has it
 */
export async function requireOnlyOne(context: WorkflowContext, record: KeyRecord, login: AccountLogin): Promise<void> {
  const { records } = await context.store.list();
  const twin = records.find((other) => {
    const taken = other.state === 'registered' || other.state === 'pending';
    const same = other.fingerprint === record.fingerprint && other.name !== record.name;
    return same && taken && isAt(other, login.endpoint);
  });
  if (twin === undefined) return;
  throw new DeribitKeysError('ERR_STATE', `the same key pair is ${twin.state} already, as "${twin.name}"`, {
    hint:
      twin.clientId === null
        ? `finish that first: deribit-keys register ${twin.name} …`
        : `use it under this name as well: deribit-keys link ${record.name} --client-id ${twin.clientId}`,
  });
}
