import { setTimeout as sleep } from 'node:timers/promises';
import type { PublicKey } from '../../crypto/keys.js';
import { type ApiKey, listApiKeys } from '../../deribit/api-keys.js';
import { sameEndpoint } from '../../deribit/endpoints.js';
import { DeribitKeysError } from '../../errors.js';
import type { KeyRecord } from '../../keystore/record.js';
import { type OpenAccount, protectedOptions, requestOptions } from '../account/account.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { endpointOfRecord } from '../endpoint-selection.js';
import { compareKey } from './proof.js';

/** How long after it was given up a request may still reach the exchange: a guess. */
export const UNCERTAIN_MS = 5_000;

/** The key that an interrupted run made, or null. The record's own id counts too: the fingerprint may be what is wrong. */
export async function findOnExchange(
  context: WorkflowContext,
  account: OpenAccount,
  record: KeyRecord,
  publicKey: PublicKey,
): Promise<ApiKey | null> {
  const seen = await lookFor(context, account, record, publicKey);
  const waitMs = Date.parse(record.uncertainUntil ?? '') - context.store.now().getTime();
  if (seen !== null || !(waitMs > 0)) return seen;
  context.onNote?.(`the last attempt may still be on its way: looking again in ${Math.ceil(waitMs / 1000)} s`);
  await sleep(Math.min(waitMs, UNCERTAIN_MS), undefined, requestOptions(context)).catch(() => {
    throw new DeribitKeysError('ERR_INTERRUPTED', 'interrupted while looking for the key', { maybeSent: false });
  });
  return lookFor(context, account, record, publicKey);
}

async function lookFor(
  context: WorkflowContext,
  account: OpenAccount,
  record: KeyRecord,
  publicKey: PublicKey,
): Promise<ApiKey | null> {
  const keys = await listApiKeys(account, protectedOptions(context));
  const known = keys.find((key) => record.keyId !== null && key.keyId === record.keyId);
  if (known !== undefined) return known;
  for (const key of keys) {
    const { fingerprintVerified, publicKeyVerified } = await compareKey(key, publicKey);
    if (fingerprintVerified || publicKeyVerified) return key;
  }
  requireSameAccount(account, record, keys);
  return null;
}

/** The account in which a registration was begun shows the key that began it; another login of it is as good. */
function requireSameAccount(account: OpenAccount, { name, registrar, subaccount }: KeyRecord, keys: readonly ApiKey[]) {
  const other = registrar !== null && registrar !== account.clientId && subaccount === null;
  if (!other || keys.some(({ clientId }) => clientId === registrar)) return;
  throw new DeribitKeysError(
    'ERR_STATE',
    `the registration of "${name}" was begun by ${registrar}, and the account of ${account.clientId} has no such key`,
    { hint: 'log in to the account that it was begun in: there the key may be registered already' },
  );
}

/**
 * One keypair is registered once, under whatever name.
 * @throws `ERR_STATE` where another name has it
 */
export async function requireOnlyOne(context: WorkflowContext, record: KeyRecord, login: AccountLogin): Promise<void> {
  const { records } = await context.store.list();
  const twin = records.find((other) => {
    const place = endpointOfRecord(other);
    const taken = other.state === 'registered' || other.state === 'pending';
    const same = other.fingerprint === record.fingerprint && other.name !== record.name;
    return same && taken && place !== null && sameEndpoint(place, login.endpoint);
  });
  if (twin === undefined) return;
  throw new DeribitKeysError('ERR_STATE', `the same keypair is ${twin.state} already, as "${twin.name}"`, {
    hint:
      twin.clientId === null
        ? `end that first: deribit-keys register ${twin.name} …`
        : `use it under this name as well: deribit-keys link ${record.name} --client-id ${twin.clientId}`,
  });
}
