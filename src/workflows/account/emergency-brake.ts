import { disableApiKey, listReadableApiKeys } from '../../deribit/api-keys.js';
import { type ErrorCode, isDeribitKeysError } from '../../errors.js';
import { forgetTokens } from '../../integrations/token-store/file-token-store.js';
import type { KeyRecord } from '../../keystore/record.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { audit, messageOf, protectedOptions, withAccount } from './account.js';
import { type AccountKey, describeApiKey } from './api-keys.js';

/*
 * The emergency brake disables keys whatever else is broken: it needs nothing of a key but its id, takes no lock, writes
 * nothing before the exchange was asked, and continues after each failure.
 */

/** What became of one key. */
export interface BrakeResult extends AccountKey {
  /** The error that kept it enabled, or null where it is disabled. */
  readonly error: { readonly code: ErrorCode; readonly message: string } | null;
}

/** The keys of the account as far as they can be read, and how many entries of the exchange's list have no usable id. */
export async function listForBrake(
  context: WorkflowContext,
  login: AccountLogin,
): Promise<{ readonly keys: readonly AccountKey[]; readonly unreadable: number }> {
  const { keys, unreadable } = await withAccount(context, { login, level: 'read' }, (account) =>
    listReadableApiKeys(account, protectedOptions(context)),
  );
  const records = await readableRecords(context);
  return { keys: await Promise.all(keys.map((key) => describeApiKey(key, records, login))), unreadable };
}

/** A keystore that cannot be read only costs the names. */
async function readableRecords({ store, onNote }: WorkflowContext): Promise<readonly KeyRecord[]> {
  try {
    return (await store.list()).records;
  } catch (error) {
    onNote?.(`the keystore cannot be read: ${messageOf(error)}`);
    return [];
  }
}

const order = ({ marks }: AccountKey) => (marks.includes('login') ? 2 : marks.includes('over-powered') ? 0 : 1);

/**
 * Disables the given keys: the most powerful first, the login's own last. What fails for one key does not keep the others
 * from being disabled. Where the connection fails, it is tried once more on another; where an answer is unclear, the
 * account is asked at the end what became of the key.
 * @throws `ERR_INTERRUPTED`; all else is in the result
 */
export async function disableKeys(
  context: WorkflowContext,
  login: AccountLogin,
  keys: readonly AccountKey[],
): Promise<readonly BrakeResult[]> {
  const ordered = [...keys].sort((a, b) => order(a) - order(b));
  const failures = new Map<number, unknown>(ordered.map(({ keyId }) => [keyId, null]));
  await disableOn(context, login, { keys: ordered, failures });
  const again = ordered.filter(({ keyId }) => failures.has(keyId) && isWorthAnotherTry(failures.get(keyId)));
  if (again.length > 0) await disableOn(context, login, { keys: again, failures });
  const seen = failures.size === 0 ? null : await statesNow(context, login);
  const results = ordered.map((key): BrakeResult => {
    const { keyId } = key;
    const isDisabled = !failures.has(keyId) || (seen !== null && (!seen.has(keyId) || seen.get(keyId) === false));
    if (isDisabled) return { ...key, enabled: false, error: null };
    const error = failures.get(keyId);
    const code = isDeribitKeysError(error) ? error.code : 'ERR_PROOF_FAILED';
    return { ...key, enabled: seen?.get(keyId) ?? null, error: { code, message: messageOf(error) } };
  });
  const { records } = await context.store.list().catch(() => ({ records: [] as readonly KeyRecord[] }));
  const disabled = records.filter((record) =>
    results.some(({ clientId, error }) => error === null && clientId === record.clientId),
  );
  const names = disabled.map(({ name }) => name);
  await forgetTokens(context.store, names);
  for (const { name, clientId, fingerprint, error } of results) {
    const { environment } = login.endpoint;
    await audit(context, { action: 'disable', name, fingerprint, clientId, environment, outcome: error?.code ?? 'ok' });
  }
  return results;
}

/** A refusal of the exchange stays one; a connection may be better the next time. */
function isWorthAnotherTry(error: unknown): boolean {
  if (!isDeribitKeysError(error)) return true;
  return error.rpc === undefined && error.code !== 'ERR_SECOND_FACTOR_REQUIRED';
}

/** Disables keys on one connection; those that are disabled leave `failures`. */
async function disableOn(
  context: WorkflowContext,
  login: AccountLogin,
  { keys, failures }: { readonly keys: readonly AccountKey[]; readonly failures: Map<number, unknown> },
): Promise<void> {
  const failed = (keyId: number, error: unknown) => {
    if (isDeribitKeysError(error, 'ERR_INTERRUPTED')) throw error;
    failures.set(keyId, error);
  };
  const begun = new Set<number>();
  try {
    await withAccount(context, { login, level: 'read_write' }, async (account) => {
      for (const { keyId } of keys) {
        begun.add(keyId);
        try {
          const { enabled } = await disableApiKey(account, { keyId }, protectedOptions(context));
          if (enabled === true) failed(keyId, new Error('the exchange still shows it enabled'));
          else failures.delete(keyId);
        } catch (error) {
          failed(keyId, error);
        }
      }
    });
  } catch (error) {
    for (const { keyId } of keys) if (!begun.has(keyId)) failed(keyId, error);
    if (isDeribitKeysError(error, 'ERR_INTERRUPTED')) throw error;
  }
}

/** Whether each key of the account is enabled now; null where the account cannot be asked. */
async function statesNow(
  context: WorkflowContext,
  login: AccountLogin,
): Promise<ReadonlyMap<number, boolean | null> | null> {
  try {
    const { keys } = await listForBrake(context, login);
    return new Map(keys.map(({ keyId, enabled }) => [keyId, enabled]));
  } catch (error) {
    if (isDeribitKeysError(error, 'ERR_INTERRUPTED')) throw error;
    return null;
  }
}
