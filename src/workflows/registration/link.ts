import type { ApiKey } from '../../deribit/api-keys.js';
import { signIn } from '../../deribit/auth.js';
import type { Endpoint } from '../../deribit/endpoints.js';
import { normaliseScope } from '../../deribit/scope.js';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import type { KeyRecord } from '../../keystore/record.js';
import { readPublicKey } from '../../keystore/stored-keys.js';
import {
  accountIdOf,
  accountKeys,
  accountLevel,
  type OpenAccount,
  openAccount,
  withTransport,
} from '../account/account.js';
import { compareKey } from '../account/api-keys.js';
import { endpointFields, type WorkflowContext } from '../context.js';
import { type Registration, registrationOf } from './proof.js';

/** Words of a granted scope that describe the session and not the key. */
const SESSION_WORD = /^(connection|mainaccount|session:|expires:|ip:)/;

/** The part of a granted scope that the key itself allows. */
export function keyScope(granted: string): string {
  return normaliseScope(granted)
    .split(' ')
    .filter((word) => !SESSION_WORD.test(word))
    .join(' ');
}

/** The exchange's own view of the key, where its login may see it; null else. */
async function lookUp(context: WorkflowContext, account: OpenAccount): Promise<ApiKey | null> {
  if (accountLevel(account.login.scope) === 'none') return null;
  try {
    const keys = await accountKeys(context, account);
    return keys.find((key) => key.clientId === account.clientId) ?? null;
  } catch (error) {
    if (isDeribitKeysError(error, 'ERR_SECOND_FACTOR_REQUIRED', 'ERR_UNAUTHORIZED', 'ERR_RPC')) return null;
    throw error;
  }
}

/** Checks, where the login's scope allows it, that the key belongs to the subaccount that the user named. */
async function checkSubaccount(context: WorkflowContext, account: OpenAccount, subaccount: number): Promise<void> {
  if (accountLevel(account.login.scope) === 'none') {
    context.onNote?.('not proved: that the key belongs to that subaccount (its scope has no account:read)');
    return;
  }
  const id = await accountIdOf(context, account);
  if (id === subaccount) return;
  throw new DeribitKeysError('ERR_PROOF_FAILED', `the key belongs to the account ${id}, not to ${subaccount}`, {
    hint: 'nothing was recorded; give the id of the subaccount that the key was made in, or leave it out',
  });
}

/** The API key that a stored key is linked to. */
export interface LinkRequest {
  /** The name of the stored key. */
  readonly name: string;
  /** Of the API key that was made with its public half. */
  readonly clientId: string;
  readonly endpoint: Endpoint;
  /** The user id of the subaccount that the key belongs to; the login must show it then. */
  readonly subaccount?: number | undefined;
}

/**
 * Links a stored key to the API key that was made with its public half on Deribit's web page: logs in with it, which
 * proves that the exchange has this very key under `clientId`, then records it. Where the login's scope
 * allows it, the fingerprint and the public key are compared as well.
 *
 * @throws `ERR_STATE` for a key that is linked to another client id, `ERR_UNAUTHORIZED` where the login is refused,
 *   `ERR_PROOF_FAILED` where the exchange shows another key; nothing is recorded then
 */
export async function link(
  context: WorkflowContext,
  { name, clientId, endpoint, subaccount: wanted }: LinkRequest,
): Promise<Registration> {
  return context.store.withLock(name, async (locked) => {
    const record = await locked.read();
    if (record.state === 'retired' || (record.state === 'registered' && record.clientId !== clientId)) {
      throw new DeribitKeysError('ERR_STATE', `the key "${name}" is ${record.state} already, as ${record.clientId}`, {
        hint: 'link another key, or import this one under another name',
      });
    }
    const publicKey = await readPublicKey(context.store, record);
    const signer = await context.signerOf(record);
    return withTransport(context, endpoint, async (transport) => {
      const login = await signIn(context, { transport, credentials: { clientId, signer } });
      const account = openAccount(transport, clientId, login);
      const subaccount = wanted ?? record.subaccount;
      if (subaccount !== null) await checkSubaccount(context, account, subaccount);
      const apiKey = await lookUp(context, account);
      const compared = apiKey === null ? null : await compareKey(apiKey, publicKey);
      if (compared !== null && compared.differences.length > 0) {
        const message = `the login worked, but the exchange shows a different key; ${compared.differences.join('; ')}`;
        const hint = "nothing was recorded; check the key on Deribit's web page (Account > API)";
        throw new DeribitKeysError('ERR_PROOF_FAILED', message, { hint });
      }
      const scope = apiKey === null ? keyScope(login.scope) : normaliseScope(apiKey.maxScope);
      const linked: KeyRecord = {
        ...record,
        ...endpointFields(endpoint),
        state: 'registered',
        clientId,
        keyId: apiKey?.keyId ?? record.keyId,
        scope,
        label: apiKey?.label ?? record.label,
        features: apiKey?.features ?? record.features,
        ipWhitelist: apiKey?.ipWhitelist ?? record.ipWhitelist,
        subaccount,
        registeredAt: record.registeredAt ?? context.store.now().toISOString(),
      };
      await locked.save(linked, { action: 'link' });
      return registrationOf(linked, compared, { clientId, loginVerified: true, scope, adopted: true });
    });
  });
}
