import { type ApiKey, listApiKeys } from '../../deribit/api-keys.js';
import { call } from '../../deribit/auth.js';
import { CLOCK_LIMIT_MS, clockCommand, describeOffset, LARGE_OFFSET_MS } from '../../deribit/clock.js';
import type { Endpoint } from '../../deribit/endpoints.js';
import type { KeyRecord } from '../../keystore/record.js';
import { isRecord } from '../../util/checks.js';
import { protectedOptions, requestOptions, withAccount } from '../account/account.js';
import { DOCUMENTED_KEY_LIMIT, shownFingerprint } from '../account/api-keys.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { asFound, type Finding, fixOf, notesOn, ownCommand } from './finding.js';
import { compareClocks, explainRefusal } from './refusal.js';

/** What was found of one place that keys live at. */
export interface EndpointView {
  readonly findings: readonly Finding[];
  readonly usable: boolean;
  /** Exchange minus local, in milliseconds; null where it could not be compared. */
  readonly clockOffsetMs: number | null;
}

/** Can the exchange be reached, is it the one that it should be, and do the clocks agree. */
export async function checkEndpoint(context: WorkflowContext, endpoint: Endpoint): Promise<EndpointView> {
  const notes = notesOn(null);
  const { host } = new URL(endpoint.url);
  try {
    const { offsetMs, roundTripMs } = await compareClocks(context, endpoint);
    const offset = `the clock here is ${describeOffset(offsetMs)} (within ${Math.ceil(roundTripMs / 2)} ms)`;
    const size = Math.abs(offsetMs);
    const answers = `${host} (${endpoint.environment}) answers after ${Math.round(roundTripMs)} ms`;
    const clock =
      size >= CLOCK_LIMIT_MS
        ? notes.bad('clock', `${offset}: signed logins are refused as too old or too new`, clockCommand())
        : size >= LARGE_OFFSET_MS
          ? notes.remark('clock', offset, clockCommand())
          : notes.good('clock', offset);
    return { findings: [notes.good('reachable', answers), clock], usable: true, clockOffsetMs: offsetMs };
  } catch (thrown) {
    const error = asFound(thrown);
    const clock = notes.skipped('clock', 'not checked: the exchange does not answer');
    const findings =
      error.code === 'ERR_WRONG_ENVIRONMENT'
        ? [
            notes.good('reachable', `${host} answers`),
            notes.bad('environment', `${host}: ${error.message}`, 'give the other --env, or the right --url'),
            clock,
          ]
        : [notes.bad('reachable', error.message, fixOf(error)), clock];
    return { findings, usable: false, clockOffsetMs: null };
  }
}

/** What an account shows of its keys; null where it could not be asked, and a finding says why. */
export interface AccountView {
  readonly apiKeys: readonly ApiKey[] | null;
  readonly findings: readonly Finding[];
}

/** Asks for the account's keys. @throws `ERR_USAGE` as the login does */
export async function viewAccount(context: WorkflowContext, login: AccountLogin): Promise<AccountView> {
  const notes = notesOn(null);
  const { clientId } = login.credentials;
  try {
    const apiKeys = await withAccount(context, { login, level: 'read' }, (open) =>
      listApiKeys(open, protectedOptions(context)),
    );
    const where = login.subaccount === undefined ? '' : ` of the subaccount ${login.subaccount}`;
    return {
      apiKeys,
      findings: [notes.good('account', `${clientId} sees ${apiKeys.length} API keys${where}`), keysLeft(apiKeys)],
    };
  } catch (thrown) {
    const error = await explainRefusal(context, thrown, {
      endpoint: login.endpoint,
      clientId,
      record: null,
      secret: 'clientSecret' in login.credentials ? login.credentials.clientSecret : null,
    });
    const finding = cannotAsk(error);
    // of a fix of several lines the likeliest reasons, in one line
    return { apiKeys: null, findings: [{ ...finding, fix: finding.fix?.split('\n').slice(0, 3).join('; ') ?? null }] };
  }
}

/** Why the account could not be asked: a missing code or passphrase is no fault. @throws `ERR_USAGE` unchanged */
export function cannotAsk(thrown: unknown): Finding {
  const error = asFound(thrown);
  if (error.code === 'ERR_USAGE') throw error;
  const missing = error.code === 'ERR_SECOND_FACTOR_REQUIRED' || error.code === 'ERR_PASSPHRASE_REQUIRED';
  const found = missing ? notesOn(null).skipped : notesOn(null).bad;
  return found('account', error.message, fixOf(error));
}

/** How many more keys the account may have: a rotation needs room for one. */
function keysLeft(apiKeys: readonly ApiKey[]): Finding {
  const notes = notesOn(null);
  const left = Math.max(0, DOCUMENTED_KEY_LIMIT - apiKeys.length);
  if (left > 0)
    return notes.good('key-limit', `room for ${left} more of the ${DOCUMENTED_KEY_LIMIT} that Deribit documents`);
  const disabled = apiKeys.filter(({ enabled }) => !enabled).map(({ clientId }) => clientId);
  const candidates = disabled.length === 0 ? '' : ` (disabled, but perhaps needed: ${disabled.join(', ')})`;
  return notes.bad(
    'key-limit',
    `the account has ${apiKeys.length} API keys, and Deribit allows ${DOCUMENTED_KEY_LIMIT}: no more can be registered or rotated`,
    `decide which key is not needed${candidates}: ${ownCommand('api-keys', 'list')}, then deribit-keys api-keys remove <which>`,
  );
}

/** Keys of the account that have the same public key: each can log in, and one of them was not meant to exist. */
async function twinsAmong(apiKeys: readonly ApiKey[]): Promise<readonly (readonly ApiKey[])[]> {
  const byFingerprint = new Map<string, ApiKey[]>();
  for (const key of apiKeys) {
    const shown = await shownFingerprint(key);
    if (shown !== null) byFingerprint.set(shown, [...(byFingerprint.get(shown) ?? []), key]);
  }
  return [...byFingerprint.values()].filter(({ length }) => length > 1);
}

/** A finding for each set of twins in which the key of `keep` is; for all of them where that is null. */
export async function checkTwins(apiKeys: readonly ApiKey[], keep: KeyRecord | null, by: string): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const twins of await twinsAmong(apiKeys)) {
    if (keep !== null && !twins.some(({ clientId }) => clientId === keep.clientId)) continue;
    const [oldest] = [...twins].sort((a, b) => (a.timestampMs ?? 0) - (b.timestampMs ?? 0));
    const kept = keep?.clientId ?? oldest?.clientId;
    const others = twins.filter(({ clientId }) => clientId !== kept);
    const ids = twins.map(({ clientId }) => clientId).join(' and ');
    const fix = others.map(({ keyId }) => `${ownCommand('api-keys', 'remove', `id:${keyId}`)} ${by}`).join(' && ');
    found.push(notesOn(keep?.name ?? null).bad('twins', `the account has the same public key twice: ${ids}`, fix));
  }
  return found;
}

/** How far back refused logins are looked for, in milliseconds. */
const RECENT_MS = 10 * 60 * 1_000;

/**
 * What the account's access log (`private/get_access_log`) says of refused logins of the last minutes; null where it says
 * nothing, or cannot be read. Whether Deribit lists refused logins of API keys there is not documented.
 */
export async function checkAccessLog(context: WorkflowContext, login: AccountLogin): Promise<Finding | null> {
  try {
    const request = { method: 'private/get_access_log', params: { offset: 0, count: 50 }, ...requestOptions(context) };
    const log = await withAccount(context, { login, level: 'read' }, (account) => call(account, request));
    const entries = isRecord(log) && Array.isArray(log.data) ? log.data.filter(isRecord) : [];
    const since = context.clock.timestampMs() - RECENT_MS;
    const refused = entries.filter(({ result, timestamp }) => result !== 'success' && Number(timestamp) >= since);
    if (refused.length === 0) return null;
    const told = refused.slice(0, 5).map(({ result, ip }) => `${String(result)} from ${String(ip)}`);
    return notesOn(null).skipped('access-log', `refused lately: ${[...new Set(told)].join('; ')}`);
  } catch (thrown) {
    asFound(thrown);
    return null;
  }
}
