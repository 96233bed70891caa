import { constants } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeribitKeysError } from '../../errors.js';
import { readHandle, replaceFile } from '../../keystore/files.js';
import type { Keystore } from '../../keystore/keystore.js';
import { takeLock, tokenLock } from '../../keystore/lock.js';
import { tokenFileName } from '../../keystore/names.js';
import { hasFileModes } from '../../keystore/permissions.js';
import { parseStoredToken, type StoredToken, type TokenPurpose, type TokenStore } from '../../session/token-store.js';

const SCHEMA = 2;

const isSame = (a: Partial<TokenPurpose>, b: TokenPurpose) =>
  a.clientId === b.clientId && a.fingerprint === b.fingerprint && a.url === b.url && a.scope === b.scope;

/**
 * Keeps the token of the key `name` in a file of the keystore (0600), which processes of one machine share. A file that
 * is damaged, that others could have read, or that belongs to another purpose counts as no token.
 */
export function fileTokenStore(store: Keystore, name: string): TokenStore {
  const path = join(store.folder, tokenFileName(name));
  return {
    name: path,
    async get(purpose) {
      try {
        const content = JSON.parse(await readOwn(path)) as Partial<TokenPurpose> & {
          schema?: unknown;
          token?: unknown;
        };
        return content.schema === SCHEMA && isSame(content, purpose) ? parseStoredToken(content.token) : null;
      } catch {
        return null;
      }
    },
    async put(purpose, token) {
      // whoever can read this file may use the token until it expires, but not renew it
      const kept: StoredToken = { ...token, refreshToken: null };
      await replaceFile(path, `${JSON.stringify({ schema: SCHEMA, ...purpose, token: kept })}\n`);
    },
    async lock() {
      try {
        const { id, what } = tokenLock(name);
        return await takeLock(store.folder, id, { waitMs: 0, what });
      } catch (error) {
        if (isDeribitKeysError(error, 'ERR_LOCKED')) return null;
        // without a lock, the worst is one login too many
        if (isDeribitKeysError(error, 'ERR_KEYSTORE_IO')) return { release: async () => {} };
        throw error;
      }
    },
    async close() {},
  };
}

/** Deletes the tokens of keys that may no longer do what they could: whoever asks next logs in. */
export async function forgetTokens(store: Keystore, names: readonly string[]): Promise<void> {
  // one that cannot be deleted is refused by the exchange
  await Promise.allSettled(names.map((name) => rm(join(store.folder, tokenFileName(name)), { force: true })));
}

async function readOwn(path: string): Promise<string> {
  const handle = await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  try {
    const stats = await handle.stat();
    if (hasFileModes() && (stats.uid !== process.geteuid?.() || (stats.mode & 0o077) !== 0)) return 'null';
    return (await readHandle(handle, path)).toString('utf8');
  } finally {
    await handle.close();
  }
}
