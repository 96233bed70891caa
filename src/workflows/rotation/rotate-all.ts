import type { ApiKey } from '../../deribit/api-keys.js';
import type { SecondFactorChallenge } from '../../deribit/second-factor.js';
import { type ErrorCode, isDeribitKeysError } from '../../errors.js';
import { listJournals, type RotationJournal } from '../../keystore/journal.js';
import type { Keystore } from '../../keystore/keystore.js';
import type { KeyRecord } from '../../keystore/record.js';
import { defined } from '../../util/defined.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { type RotateRequest, type Rotation, rotate } from './rotate.js';

/** A rotation of several that failed. */
export interface FailedRotation extends Omit<Rotation, 'state'> {
  readonly state: 'failed';
  readonly error: { readonly code: ErrorCode; readonly message: string; readonly hint?: string };
}

/** What one rotation of several needs. */
type RotationContext = Pick<RotateRequest, 'login' | 'makeSuccessor'> & { readonly context: WorkflowContext };

interface RotateAllRequest extends Pick<RotateRequest, 'type' | 'bits' | 'graceMs'> {
  readonly store: Keystore;
  /** Called for each key before it is rotated. */
  readonly onStart?: (record: KeyRecord, number: number, of: number) => void;
  /** Called for each key, which may have a passphrase of its own. */
  readonly contextFor: (record: KeyRecord) => Promise<RotationContext>;
  /** Keys that were registered longer ago than this; rotations under way go on whatever their age. */
  readonly olderThanMs: number;
  /** Whether a key is one of those that are meant, such as of the same environment. */
  readonly isMeant: (record: KeyRecord) => boolean;
  /** Called for each key that would be rotated if it were meant. */
  readonly onLeftOut?: (record: KeyRecord) => void;
  /** The key that is logged in comes last. */
  readonly loginClientId: string | null;
}

async function choose(
  { store, olderThanMs, isMeant, onLeftOut, loginClientId }: RotateAllRequest,
  journals: readonly RotationJournal[],
): Promise<readonly KeyRecord[]> {
  const underWay = new Set(journals.map(({ name }) => name));
  const helpers = new Set(journals.flatMap(({ successor, archive }) => [successor, archive]));
  const beforeMs = store.now().getTime() - olderThanMs;
  const madeMs = (record: KeyRecord) => Date.parse(record.registeredAt ?? record.createdAt);
  const isLogin = (record: KeyRecord) => Number(record.clientId === loginClientId);
  const { records } = await store.list();
  const due = records
    .filter(({ state, name }) => state === 'registered' && !helpers.has(name))
    .filter((record) => underWay.has(record.name) || madeMs(record) <= beforeMs);
  if (onLeftOut !== undefined) for (const record of due) if (!isMeant(record)) onLeftOut(record);
  return due.filter(isMeant).sort((a, b) => isLogin(a) - isLogin(b) || madeMs(a) - madeMs(b));
}

/**
 * Rotates every registered key of a certain age, the oldest first, one after another. What fails is in the result and
 * does not stop the rest. A rotation that is in its grace period already keeps it. Where the exchange wants a code for the
 * list of keys, one list serves all keys of a login.
 * @throws `ERR_INTERRUPTED`
 */
export async function rotateAll(request: RotateAllRequest): Promise<readonly (Rotation | FailedRotation)[]> {
  const { type, bits, store } = request;
  const results: (Rotation | FailedRotation)[] = [];
  const journals = await listJournals(store);
  const chosen = await choose(request, journals);
  const lists = sharedLists();
  for (const [index, record] of chosen.entries()) {
    const { name, clientId, fingerprint } = record;
    request.onStart?.(record, index + 1, chosen.length);
    try {
      const { context, login, makeSuccessor } = await request.contextFor(record);
      const isInGrace = journals.some((journal) => journal.name === name && journal.promotedAt !== null);
      const graceMs = isInGrace ? undefined : request.graceMs;
      const work = { name, type, bits, graceMs, login, makeSuccessor, listWith: lists.listWith };
      results.push(await rotate(lists.watch(context), work));
    } catch (error) {
      if (!isDeribitKeysError(error) || error.code === 'ERR_INTERRUPTED') throw error;
      const { code, message, hint } = error;
      const none = { previousClientId: null, previousFingerprint: null, previousName: null, graceUntil: null };
      results.push({
        name,
        state: 'failed',
        clientId,
        fingerprint,
        ...none,
        error: { code, message, ...defined({ hint }) },
      });
    }
  }
  return results;
}

/** Lists of keys that cost a code of the second factor, kept for the keys that are rotated next by the same login. */
function sharedLists() {
  const kept = new Map<string, readonly ApiKey[]>();
  let costsCode = false;
  return {
    /** The context, with an eye on what a code is asked for. */
    watch(context: WorkflowContext): WorkflowContext {
      const { secondFactor } = context;
      if (secondFactor === undefined) return context;
      const watched = (challenge: SecondFactorChallenge) => {
        if (challenge.method === 'private/list_api_keys') costsCode = true;
        return secondFactor(challenge);
      };
      return { ...context, secondFactor: watched };
    },
    async listWith({ credentials, endpoint, subaccount }: AccountLogin, list: () => Promise<readonly ApiKey[]>) {
      const key = JSON.stringify([credentials.clientId, endpoint.url, subaccount ?? null]);
      const keys = kept.get(key) ?? (await list());
      if (costsCode) kept.set(key, keys);
      return keys;
    },
  };
}
