import { type ErrorCode, isDeribitKeysError } from '../../errors.js';
import { listJournals } from '../../keystore/journal.js';
import type { Keystore } from '../../keystore/keystore.js';
import type { KeyRecord } from '../../keystore/record.js';
import type { WorkflowContext } from '../context.js';
import { type RotateRequest, type Rotation, rotate } from './rotate.js';

/** A rotation of many that failed. */
export interface FailedRotation extends Omit<Rotation, 'state'> {
  readonly state: 'failed';
  readonly error: { readonly code: ErrorCode; readonly message: string; readonly hint?: string };
}

/** What one rotation of many works with. */
export type RotationContext = Pick<RotateRequest, 'login' | 'makeSuccessor'> & { readonly context: WorkflowContext };

export interface RotateAllRequest extends Pick<RotateRequest, 'type' | 'bits' | 'graceMs'> {
  readonly store: Keystore;
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

async function choose(request: RotateAllRequest): Promise<readonly KeyRecord[]> {
  const { store, olderThanMs, isMeant, onLeftOut, loginClientId } = request;
  const journals = await listJournals(store);
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
 * Rotates every registered key of a certain age, the oldest first, one after another. What fails stands in the result and
 * does not stop the rest.
 * @throws `ERR_INTERRUPTED`
 */
export async function rotateAll(request: RotateAllRequest): Promise<readonly (Rotation | FailedRotation)[]> {
  const { type, bits, graceMs } = request;
  const results: (Rotation | FailedRotation)[] = [];
  for (const record of await choose(request)) {
    const { name, clientId, fingerprint } = record;
    try {
      const { context, login, makeSuccessor } = await request.contextFor(record);
      results.push(await rotate(context, { name, type, bits, graceMs, login, makeSuccessor }));
    } catch (error) {
      if (!isDeribitKeysError(error) || error.code === 'ERR_INTERRUPTED') throw error;
      const { code, message, hint } = error;
      const none = { previousClientId: null, previousFingerprint: null, previousName: null, graceUntil: null };
      const failure = { code, message, ...(hint === undefined ? {} : { hint }) };
      results.push({ name, state: 'failed', clientId, fingerprint, ...none, error: failure });
    }
  }
  return results;
}
