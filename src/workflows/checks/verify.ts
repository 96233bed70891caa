import { type ApiKey, listApiKeys } from '../../deribit/api-keys.js';
import { type Endpoint, sameEndpoint } from '../../deribit/endpoints.js';
import { isRefusedLogin } from '../../deribit/json-rpc.js';
import type { KeyRecord } from '../../keystore/record.js';
import { onBehalfOf, protectedOptions, withAccount } from '../account/account.js';
import { type AccountLogin, endpointOfRecord, type WorkflowContext } from '../context.js';
import { keyScope } from '../registration/link.js';
import { scopeDifferences } from '../registration/proof.js';
import { checkTwins } from './exchange-checks.js';
import type { CheckName, Finding } from './finding.js';
import { checkKey, type KeyView, STAGES } from './key-checks.js';
import { checkOnExchange, tryLogin } from './login-checks.js';
import { likelyReasons } from './refusal.js';

/** The result of one check of a key. */
export interface Check {
  readonly check: CheckName;
  readonly ok: boolean;
  readonly detail: string;
  /** Likely reasons, where the exchange states none; the likeliest first. */
  readonly hints?: readonly string[];
  /** The command that fixes it, where one does. */
  readonly fix?: string;
}

/** The results of all checks of one key. */
export interface Verification {
  readonly name: string;
  readonly ok: boolean;
  readonly checks: readonly Check[];
}

function verdict(check: CheckName, differences: readonly string[], fine: string): Check {
  return { check, ok: differences.length === 0, detail: differences.join('; ') || fine };
}

/** Several checks of the doctor in one word: the first that failed or could not be made, else `fine`. */
function summary(check: CheckName, findings: readonly (Finding | undefined)[], fine: string): Check {
  const failed = findings.find((one) => one !== undefined && one.ok === false);
  const open = failed ?? findings.find((one) => one !== undefined && one.ok === null);
  const fix = open?.fix?.replace('deribit-keys doctor ', 'deribit-keys verify ');
  return { check, ok: open === undefined, detail: open?.detail ?? fine, ...(fix === undefined ? {} : { fix }) };
}

/**
 * Proves anew what can be proved of the keys: that the files are intact and belong together, that a signed login works
 * and grants the scope on record; and, with `account`, that the exchange holds the same key, once, enabled, with that
 * scope (for keys of the same endpoint). The checks are the doctor's; what is wrong with a key is in the result.
 * @throws `ERR_INTERRUPTED`, and what the login of `account` throws
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
    const checks = await verifyOne(context, record, { endpoint, apiKeys });
    results.push({ name: record.name, ok: checks.every(({ ok }) => ok), checks });
  }
  return results;
}

function keysOf(context: WorkflowContext, login: AccountLogin): Promise<readonly ApiKey[]> {
  return withAccount(context, { login, level: 'read' }, (account) => listApiKeys(account, protectedOptions(context)));
}

async function verifyOne(
  context: WorkflowContext,
  record: KeyRecord,
  { endpoint, apiKeys }: { readonly endpoint: Endpoint | null; readonly apiKeys: readonly ApiKey[] | null },
): Promise<Check[]> {
  const view = await checkKey(context, record);
  const { clientId } = record;
  const checks = localChecks(record, view);
  if (record.state === 'pending') {
    const detail = 'its registration is unfinished: run deribit-keys register again, with the same scope';
    return [...checks, { check: 'registration', ok: false, detail }];
  }
  if (record.state !== 'registered' || clientId === null || endpoint === null) return checks;
  const key = { record, view, endpoint, clientId };
  if (checks.every(({ ok }) => ok)) checks.push(...(await loginChecks(context, key)));
  if (apiKeys !== null) checks.push(...(await accountChecks(context, key, apiKeys)));
  return checks;
}

const FILE_CHECKS: readonly CheckName[] = [...STAGES, 'signer'];

function localChecks(record: KeyRecord, { findings, signer }: KeyView): Check[] {
  const isOwn = ({ check }: Finding) => FILE_CHECKS.includes(check);
  const privateKey = summary(
    'private-key',
    signer === null ? findings.filter(isOwn) : [],
    `${record.algorithm}, belongs to the public key`,
  );
  const publicKey = findings.find(({ check }) => check === 'public-key');
  return [summary('public-key', [publicKey], `fingerprint ${record.fingerprint}`), privateKey];
}

interface KeyToVerify {
  readonly record: KeyRecord;
  readonly view: KeyView;
  readonly endpoint: Endpoint;
  readonly clientId: string;
}

async function loginChecks(
  context: WorkflowContext,
  { record, view, endpoint, clientId }: KeyToVerify,
): Promise<Check[]> {
  const { signer } = view;
  if (signer === null) return [];
  const { login, error } = await tryLogin(context, { endpoint, clientId, signer, correctClock: true });
  if (login !== null) {
    const granted = keyScope(login.scope);
    return [
      { check: 'login', ok: true, detail: `${clientId} logs in on ${new URL(endpoint.url).host}` },
      verdict('scope', scopeDifferences(record.scope ?? '', granted), granted),
    ];
  }
  const isRefused: boolean = isRefusedLogin(error);
  if (!isRefused && error !== null) return [{ check: 'login', ok: false, detail: error.message }];
  const hints = await likelyReasons(context, { endpoint, clientId, record, secret: null });
  return [{ check: 'login', ok: false, detail: `the exchange refuses the login of ${clientId}`, hints }];
}

async function accountChecks(
  context: WorkflowContext,
  { record, view, clientId }: KeyToVerify,
  apiKeys: readonly ApiKey[],
): Promise<Check[]> {
  const apiKey = apiKeys.find((key) => key.clientId === clientId);
  if (apiKey === undefined) {
    return [{ check: 'exchange', ok: false, detail: `the account has no key ${clientId}` }];
  }
  const by = '--as <another key>';
  const found = await checkOnExchange({
    record,
    clientId,
    apiKeys,
    by,
    publicKey: view.publicKey,
    keyFile: context.store.files(record.name).privateKey,
    clockOffsetMs: null,
    attempt: null,
  });
  const named = (name: CheckName) => found.find(({ check }) => check === name);
  const [same, enabled] = [named('exchange-key'), named('enabled')];
  const twins = await checkTwins(apiKeys, record, by);
  return [
    { check: 'exchange', ok: same?.ok !== false, detail: same?.ok === null ? 'not shown' : (same?.detail ?? '') },
    { check: 'enabled', ok: enabled?.ok !== false, detail: enabled?.detail ?? 'not shown' },
    verdict('max-scope', scopeDifferences(record.scope ?? '', apiKey.maxScope), apiKey.maxScope),
    ...twins.map(({ check, detail }) => ({ check, ok: false, detail })),
  ];
}
