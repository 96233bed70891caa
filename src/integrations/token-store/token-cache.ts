import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeribitKeysError } from '../../errors.js';
import { readHandle, replaceFile } from '../../keystore/files.js';
import { type Keystore, tokenFileName } from '../../keystore/keystore.js';
import { takeLock } from '../../keystore/lock.js';
import { hasFileModes } from '../../keystore/permissions.js';
import type { KeyRecord } from '../../keystore/record.js';
import type { AccessToken } from '../../session/session.js';

const SCHEMA = 1;
/** A token is handed out while it has this much of its life left, or this part of it where it is short. */
const MARGIN_MS = 60_000;
const MARGIN_PART = 0.2;

/** What a cached token was got for: it is of use for exactly the same alone. */
export interface TokenPurpose {
  readonly clientId: string;
  readonly fingerprint: string;
  /** The HTTP endpoint. */
  readonly url: string;
  /** As asked for; null for all that the key allows. */
  readonly scope: string | null;
}

interface CacheFile extends TokenPurpose {
  readonly schema: number;
  readonly issuedAtMs: number;
  readonly token: AccessToken;
}

/** Where the token of the key `name` is kept. Its leading dot keeps it apart from keys. */
function pathOf(store: Keystore, name: string): string {
  return join(store.folder, tokenFileName(name));
}

/** The purpose of a token for a stored key. */
export function purposeOf(record: KeyRecord, clientId: string, url: string, scope: string | undefined): TokenPurpose {
  return { clientId, fingerprint: record.fingerprint, url, scope: scope ?? null };
}

/**
 * A token that is valid for a while to come: out of the key's cache file in the keystore (0600, replaced whole), or by
 * `fetch`, and then cached. Of several processes that find none, one fetches and the others wait for it. What stands in
 * the way of the cache is told to `onNote`, and hinders nothing. Throws what `fetch` throws.
 */
export async function cachedToken(
  store: Keystore,
  name: string,
  purpose: TokenPurpose,
  fetch: () => Promise<AccessToken>,
  onNote: (note: string) => void,
): Promise<AccessToken> {
  const path = pathOf(store, name);
  const nowMs = () => store.now().getTime();
  const first = await readCached(path, purpose, nowMs());
  if (first !== null) return first;
  const lock = await takeLock(store.folder, `${name}.token`, { waitMs: 30_000 }).catch(notToBeHad);
  try {
    const second = await readCached(path, purpose, nowMs());
    if (second !== null) return second;
    const issuedAtMs = nowMs();
    const token = await fetch();
    const content: CacheFile = { schema: SCHEMA, ...purpose, issuedAtMs, token };
    await replaceFile(path, `${JSON.stringify(content)}\n`).catch((error: unknown) => {
      onNote(`the token was not cached: ${isDeribitKeysError(error) ? error.message : 'the file cannot be written'}`);
    });
    return token;
  } finally {
    await lock?.release();
  }
}

/** Without a lock the worst is one login more. */
function notToBeHad(error: unknown): null {
  if (isDeribitKeysError(error, 'ERR_LOCKED', 'ERR_KEYSTORE_IO')) return null;
  throw error;
}

/** What cannot be read, belongs to somebody else or may be read by others, or is not whole, counts as nothing. */
async function readCached(path: string, purpose: TokenPurpose, nowMs: number): Promise<AccessToken | null> {
  try {
    const handle = await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
    try {
      const stats = await handle.stat();
      if (hasFileModes() && (stats.uid !== process.geteuid?.() || (stats.mode & 0o077) !== 0)) return null;
      return usable(JSON.parse((await readHandle(handle, path)).toString('utf8')), purpose, nowMs);
    } finally {
      await handle.close();
    }
  } catch {
    return null;
  }
}

function usable(value: unknown, purpose: TokenPurpose, nowMs: number): AccessToken | null {
  if (typeof value !== 'object' || value === null) return null;
  const { schema, clientId, fingerprint, url, scope, issuedAtMs, token } = value as Partial<CacheFile>;
  const same =
    schema === SCHEMA &&
    clientId === purpose.clientId &&
    fingerprint === purpose.fingerprint &&
    url === purpose.url &&
    scope === purpose.scope;
  if (!same || typeof token !== 'object' || token === null) return null;
  const { accessToken, expiresAtMs, scope: granted } = token;
  if (typeof accessToken !== 'string' || !/^[\x21-\x7e]+$/.test(accessToken) || typeof granted !== 'string')
    return null;
  if (!Number.isFinite(expiresAtMs) || typeof issuedAtMs !== 'number') return null;
  // a clock that was set back since then cannot tell how old the token is
  if (nowMs < issuedAtMs) return null;
  const marginMs = Math.min(MARGIN_MS, (expiresAtMs - issuedAtMs) * MARGIN_PART);
  return nowMs < expiresAtMs - marginMs ? { accessToken, expiresAtMs, scope: granted } : null;
}
