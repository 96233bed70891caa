import { fingerprint } from '../../crypto/index.js';
import type { PublicKey } from '../../crypto/keys.js';
import { type ApiKey, listApiKeys } from '../../deribit/api-keys.js';
import { type Endpoint, sameEndpoint } from '../../deribit/endpoints.js';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import type { KeyRecord } from '../../keystore/record.js';
import { readPublicKey } from '../../keystore/stored-keys.js';
import { protectedOptions, withAccount } from '../account/account.js';
import { compareKey, isSameThere } from '../account/match-key.js';
import { onBehalfOf } from '../account/subaccount.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { endpointOfRecord } from '../endpoint-selection.js';
import { keyScope } from '../registration/link.js';
import { proveLogin, scopeDifferences } from '../registration/proof.js';
import { likelyReasons } from './refusal.js';

export interface Check {
  readonly check: string;
  readonly ok: boolean;
  readonly detail: string;
  /** Likely reasons, where the exchange gives none; the likeliest first. */
  readonly hints?: readonly string[];
}

export interface Verification {
  readonly name: string;
  readonly ok: boolean;
  readonly checks: readonly Check[];
}

/** Runs one check: what it throws on purpose is its finding, except where the user broke it off. */
async function check(name: string, work: () => Promise<string>): Promise<Check> {
  try {
    return { check: name, ok: true, detail: await work() };
  } catch (error) {
    if (!isDeribitKeysError(error) || error.code === 'ERR_INTERRUPTED') throw error;
    return { check: name, ok: false, detail: error.message };
  }
}

const verdict = (name: string, differences: readonly string[], fine: string): Check => ({
  check: name,
  ok: differences.length === 0,
  detail: differences.length === 0 ? fine : differences.join('; '),
});

async function onExchange(apiKey: ApiKey | null, record: KeyRecord, publicKey: PublicKey): Promise<Check[]> {
  if (apiKey === null) {
    return [{ check: 'exchange', ok: false, detail: `the account has no key ${record.clientId}` }];
  }
  const same = await isSameThere(apiKey, publicKey);
  const { differences } = await compareKey(apiKey, publicKey);
  return [
    verdict('exchange', same === false ? differences : [], same === null ? 'not shown' : 'the same public key'),
    {
      check: 'enabled',
      ok: apiKey.enabled !== false,
      detail: apiKey.enabled === null ? 'not shown' : apiKey.enabled ? 'enabled' : 'disabled on the exchange',
    },
    verdict('max-scope', scopeDifferences(record.scope ?? '', apiKey.maxScope), apiKey.maxScope),
  ];
}

/**
 * Proves anew what can be proved of the keys: that the files are whole and belong together, that a signed login works
 * and grants the scope on record; and, with `account`, that the exchange holds the same key, enabled, with that scope
 * (for keys of the same place). What is wrong with a key stands in the result.
 * @throws `ERR_INTERRUPTED`, and what the login of `account` can give
 */
export async function verify(
  context: WorkflowContext,
  records: readonly KeyRecord[],
  options: { readonly account?: AccountLogin; readonly endpointFor?: (record: KeyRecord) => Endpoint | null } = {},
): Promise<readonly Verification[]> {
  const { account, endpointFor = endpointOfRecord } = options;
  const listed = new Map<number | null, readonly ApiKey[]>();
  const results: Verification[] = [];
  for (const record of records) {
    const endpoint = endpointFor(record);
    const isVisible = account !== undefined && endpoint !== null && sameEndpoint(account.endpoint, endpoint);
    if (isVisible && !listed.has(record.subaccount)) {
      listed.set(record.subaccount, await keysOf(context, onBehalfOf(account, record)));
    }
    const apiKeys = isVisible ? (listed.get(record.subaccount) ?? null) : null;
    const checks = await verifyOne(context, record, endpoint, apiKeys);
    results.push({ name: record.name, ok: checks.every(({ ok }) => ok), checks });
  }
  return results;
}

function keysOf(context: WorkflowContext, login: AccountLogin): Promise<readonly ApiKey[]> {
  return withAccount(context, login, 'read', (account) => listApiKeys(account, protectedOptions(context)));
}

async function verifyOne(
  context: WorkflowContext,
  record: KeyRecord,
  endpoint: Endpoint | null,
  apiKeys: readonly ApiKey[] | null,
): Promise<Check[]> {
  let publicKey: PublicKey | null = null;
  const checks = [
    await check('public-key', async () => {
      publicKey = await readPublicKey(context.store, record);
      return `fingerprint ${fingerprint(publicKey)}`;
    }),
    await check('private-key', async () => {
      const signer = await context.signerOf(record);
      return `${signer.algorithm}, belongs to the public key`;
    }),
  ];
  if (record.state === 'pending') {
    const detail = 'its registration is unfinished: run deribit-keys register again, with the same scope';
    return [...checks, { check: 'registration', ok: false, detail }];
  }
  const { clientId } = record;
  if (record.state !== 'registered' || clientId === null || endpoint === null) return checks;
  if (checks.every(({ ok }) => ok)) {
    let granted: string | null = null;
    let refused = false;
    const login = await check('login', async () => {
      const made = await proveLogin(context, endpoint, clientId, await context.signerOf(record));
      refused = made === null;
      if (made === null)
        throw new DeribitKeysError('ERR_UNAUTHORIZED', `the exchange refuses the login of ${clientId}`);
      granted = made.scope;
      return `${clientId} logs in on ${new URL(endpoint.url).host}`;
    });
    const attempt = { endpoint, clientId, record, secret: null };
    checks.push(refused ? { ...login, hints: await likelyReasons(context, attempt) } : login);
    if (granted !== null) {
      checks.push(verdict('scope', scopeDifferences(record.scope ?? '', keyScope(granted)), keyScope(granted)));
    }
  }
  if (apiKeys !== null && publicKey !== null) {
    checks.push(...(await onExchange(apiKeys.find((key) => key.clientId === clientId) ?? null, record, publicKey)));
  }
  return checks;
}
