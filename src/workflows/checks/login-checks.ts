import type { PublicKey } from '../../crypto/keys.js';
import { type ApiKey, listApiKeys } from '../../deribit/api-keys.js';
import { accountOf, type Login, login, signIn } from '../../deribit/auth.js';
import { CLOCK_LIMIT_MS, clockCommand } from '../../deribit/clock.js';
import { type DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import type { KeyRecord } from '../../keystore/record.js';
import { accountLevel, requestOptions, withTransport } from '../account/account.js';
import { isSameThere } from '../account/api-keys.js';
import type { WorkflowContext } from '../context.js';
import { keyScope } from '../registration/link.js';
import { type SignedLogin, scopeDifferences } from '../registration/proof.js';
import type { UnmanagedKey } from './file-checks.js';
import { asFound, type Finding, fixOf, type Notes, notesOn, ownCommand } from './finding.js';

interface Attempt {
  /** Null where it was not granted. */
  readonly login: Login | null;
  readonly error: DeribitKeysError | null;
  /** The account's keys, where the key itself may see them; null else. */
  readonly apiKeys: readonly ApiKey[] | null;
}

/**
 * Logs in with a key, and looks at the account's keys where its scope allows and no second factor is wanted for it.
 * @param correctClock signs by the exchange's clock where the local one is wrong, and asks for nothing beyond the login
 */
export async function tryLogin(
  context: WorkflowContext,
  { endpoint, correctClock = false, ...credentials }: SignedLogin & { readonly correctClock?: boolean },
): Promise<Attempt> {
  const options = requestOptions(context);
  try {
    return await withTransport(context, endpoint, async (transport) => {
      if (correctClock) return { login: await signIn(context, { transport, credentials }), error: null, apiKeys: null };
      const granted = await login(transport, credentials, { ...options, nowMs: context.nowMs });
      if (accountLevel(granted.scope) === 'none') return { login: granted, error: null, apiKeys: null };
      // a code for each key would cost half a minute each
      const apiKeys = await listApiKeys(accountOf(transport, granted), options).catch((error: unknown) => {
        asFound(error);
        return null;
      });
      return { login: granted, error: null, apiKeys };
    });
  } catch (error) {
    return { login: null, error: asFound(error), apiKeys: null };
  }
}

/** What there is to judge a registered key by. */
interface Evidence {
  readonly record: KeyRecord;
  readonly clientId: string;
  readonly publicKey: PublicKey | null;
  /** The file of its private half. */
  readonly keyFile: string;
  /** Of its endpoint; exchange minus local, in milliseconds; null where it could not be compared. */
  readonly clockOffsetMs: number | null;
  /** Null where none could be made. */
  readonly attempt: Attempt | null;
  /** Null where nobody may see the account's keys. */
  readonly apiKeys: readonly ApiKey[] | null;
  /** The login options for a command that fixes it. */
  readonly by: string;
  /** What the key is where it has no record of its own: its name is a client id then. */
  readonly unmanaged?: UnmanagedKey | undefined;
}

interface Case extends Evidence {
  readonly notes: Notes;
  /** The key as the account shows it, or null. */
  readonly apiKey: ApiKey | null;
  readonly clockIsWrong: boolean;
}

/**
 * The checks of a registered key against the exchange, in their order; the verdict on the login comes last, so that
 * what explains a refusal comes before it.
 */
export async function checkOnExchange(evidence: Evidence): Promise<Finding[]> {
  const { record, clientId, apiKeys, clockOffsetMs } = evidence;
  const it: Case = {
    ...evidence,
    notes: notesOn(record.name),
    apiKey: apiKeys?.find((key) => key.clientId === clientId) ?? null,
    clockIsWrong: Math.abs(clockOffsetMs ?? 0) >= CLOCK_LIMIT_MS,
  };
  const found = [await knownClientId(it), enabled(it), await sameKey(it), scope(it)];
  const explained = it.clockIsWrong || found.some(({ ok, check }) => ok === false && check !== 'scope');
  found.push(whitelist(it, explained));
  return [...found, verdict(it, found.find(({ ok }) => ok === false) ?? null)];
}

const unseen = 'not checked: it needs a login with account:read';
const seeMore = ({ record, unmanaged, by }: Case) => `${unmanaged?.again ?? ownCommand('doctor', record.name)} ${by}`;

async function knownClientId(it: Case): Promise<Finding> {
  const { record, clientId, attempt, apiKeys, publicKey, notes, by } = it;
  const check = 'client-id';
  if (it.apiKey !== null || attempt?.login) return notes.good(check, `the exchange knows ${clientId}`);
  if (apiKeys === null) return notes.skipped(check, unseen, seeMore(it));
  const other = it.unmanaged?.freeName ?? `${record.name}-2`;
  const elsewhere = publicKey === null ? null : await findSame(apiKeys, publicKey);
  if (elsewhere !== null) {
    const detail = `the account has this key as ${elsewhere.clientId}, on record is ${clientId}`;
    return notes.bad(check, detail, linkTo(it, elsewhere.clientId, other));
  }
  const detail = `the account has no API key ${clientId}: it was removed, or belongs to another account`;
  if (it.unmanaged !== undefined) {
    const { file } = it.unmanaged;
    const look = `give the right client id (listed by: ${ownCommand('api-keys', 'list')} ${by})`;
    const leaveOut = file === null ? '' : `, or leave it out: ${ownCommand('doctor', '--file', file.path)} ${by}`;
    return notes.bad(check, detail, `${look}${leaveOut}`);
  }
  const register = ownCommand('register', other, '--scope', record.scope ?? 'trade:read');
  return notes.bad(check, detail, `${ownCommand('generate', other)} && ${register} ${by}`);
}

/** The commands that record the client id under which the account has the key. */
function linkTo({ unmanaged, keyFile }: Case, clientId: string, freeName: string): string {
  const stored = unmanaged?.stored ?? null;
  if (stored?.clientId === clientId) return ownCommand('doctor', stored.name);
  const isLocal = stored?.state === 'local';
  const link = ownCommand('link', isLocal ? stored.name : freeName, '--client-id', clientId);
  return isLocal ? link : `${ownCommand('import', freeName, keyFile)} && ${link}`;
}

/** The key of the account that certainly is this one; null where none is. */
export async function findSame(apiKeys: readonly ApiKey[], publicKey: PublicKey): Promise<ApiKey | null> {
  for (const key of apiKeys) if ((await isSameThere(key, publicKey)) === true) return key;
  return null;
}

function enabled(it: Case): Finding {
  const { record, apiKey, attempt, notes, by } = it;
  const check = 'enabled';
  if (apiKey?.enabled || ((apiKey?.enabled ?? null) === null && attempt?.login)) return notes.good(check, 'enabled');
  if (apiKey === null || apiKey.enabled === null) return notes.skipped(check, unseen, seeMore(it));
  const fix = `${ownCommand('api-keys', 'enable', record.name)} ${by}`;
  return notes.bad(check, 'the key is disabled on the exchange', fix);
}

async function sameKey(it: Case): Promise<Finding> {
  const { record, apiKey, attempt, publicKey, notes, by } = it;
  const check = 'exchange-key';
  const same = apiKey === null || publicKey === null ? null : await isSameThere(apiKey, publicKey);
  if (same === false) {
    const detail = `the exchange has another key under that id (${apiKey?.fingerprint}), here is ${record.fingerprint}`;
    const rotate = `put the file of the right key back; without one: ${ownCommand('rotate', record.name)} ${by}`;
    const other = 'give the file of the key that has this client id, or the client id of this key';
    return notes.bad(check, detail, it.unmanaged === undefined ? rotate : other);
  }
  if (attempt?.login) return notes.good(check, 'the exchange verified a signature of this key');
  if (same === true) return notes.good(check, `the exchange has ${record.fingerprint}`);
  return notes.skipped(check, unseen, seeMore(it));
}

function scope(it: Case): Finding {
  const { record, apiKey, attempt, notes, by } = it;
  const check = 'scope';
  const granted = apiKey?.maxScope ?? (attempt?.login ? keyScope(attempt.login.scope) : null);
  if (granted === null) return notes.skipped(check, unseen, seeMore(it));
  if (record.scope === null) return notes.skipped(check, `the record has no scope; the exchange grants ${granted}`);
  if (scopeDifferences(record.scope, granted).length === 0) return notes.good(check, granted);
  const fix = `${ownCommand('api-keys', 'scope', record.name, record.scope)} ${by}`;
  return notes.bad(check, `the exchange grants "${granted}", on record is "${record.scope}"`, fix);
}

/** `explained`: whether something else keeps the key from logging in. */
function whitelist(it: Case, explained: boolean): Finding {
  const { record, apiKey, attempt, notes, by } = it;
  const check = 'whitelist';
  const refused = isDeribitKeysError(attempt?.error, 'ERR_UNAUTHORIZED');
  const edit = `${ownCommand('api-keys', 'edit', record.name)} --ip <this machine's public address> ${by}`;
  const kept = record.ipWhitelist;
  if (apiKey === null) {
    if (attempt?.login) return notes.good(check, 'logins from this address are accepted');
    if (!refused || kept.length === 0) return notes.skipped(check, unseen, seeMore(it));
    return notes.skipped(check, `this address may not be among those on record: ${kept.join(' ')}`, edit);
  }
  const list = apiKey.ipWhitelist;
  if (refused && list.length > 0 && !explained) {
    return notes.bad(check, `the login is refused, and only these addresses may log in: ${list.join(' ')}`, edit);
  }
  if (sorted(list) === sorted(kept)) return notes.good(check, sorted(list));
  const restore = ownCommand('api-keys', 'edit', record.name, ...kept.flatMap((ip) => ['--ip', ip]));
  const fix = kept.length === 0 ? ownCommand('link', record.name, '--client-id', apiKey.clientId) : `${restore} ${by}`;
  return notes.bad(check, `the exchange allows ${sorted(list)}, on record is ${sorted(kept)}`, fix);
}

const sorted = (addresses: readonly string[]) => [...addresses].sort().join(' ') || 'any address';

/** What became of the login; `culprit` is the first of the other checks that found something. */
function verdict(it: Case, culprit: Finding | null): Finding {
  const { clientId, attempt, notes } = it;
  const check = 'login';
  if (attempt === null) return notes.skipped(check, 'not tried: the key or the exchange cannot be used');
  if (attempt.error === null) return notes.good(check, `${clientId} logs in`);
  const { message, code } = attempt.error;
  if (code !== 'ERR_UNAUTHORIZED') return notes.bad(check, message, fixOf(attempt.error));
  if (it.clockIsWrong) return notes.bad(check, `${message}; see "clock"`, clockCommand());
  if (culprit === null) return notes.bad(check, message, seeMore(it));
  return notes.bad(check, `${message}; see "${culprit.check}"`, culprit.fix ?? seeMore(it));
}
