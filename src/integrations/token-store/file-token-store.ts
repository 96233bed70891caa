import { constants } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeribitKeysError } from '../../errors.js';
import { readHandle, replaceFile } from '../../keystore/files.js';
import { absolutePath, type Keystore } from '../../keystore/keystore.js';
import { takeLock, tokenLock } from '../../keystore/lock.js';
import { requireKeyName, tokenFileName } from '../../keystore/names.js';
import { hasFileModes } from '../../keystore/permissions.js';
import {
  parseStoredToken,
  purposeKey,
  type StoredToken,
  type TokenPurpose,
  type TokenStore,
} from '../../session/token-store.js';
import { requireObject } from '../../util/checks.js';

const SCHEMA = 2;

/** The arguments of {@link fileTokenStore}. */
export interface FileTokenStoreOptions {
  /** The keystore's folder. */
  readonly dir: string;
  /** The name of the key. */
  readonly name: string;
}

/**
 * Shares the token of one key between the processes of one machine: in a file of the keystore (0600), where
 * `deribit-keys token` and `exec` keep theirs. It holds one token, for the endpoint and scope that was asked for last, and
 * no refresh token: a new one takes a signed login. A file that is damaged, that others could have read, or that belongs
 * to another purpose counts as no token.
 * @throws `ERR_USAGE` for a name that no key can have
 */
export function fileTokenStore(options: FileTokenStoreOptions): TokenStore {
  const { dir, name } = requireObject('the options of a file token store', options);
  const folder = absolutePath(dir);
  const path = join(folder, tokenFileName(requireKeyName(name)));
  return {
    name: path,
    async get(purpose) {
      try {
        const content = JSON.parse(await readOwn(path)) as TokenPurpose & { schema?: unknown; token?: unknown };
        const isForIt = content.schema === SCHEMA && purposeKey(content) === purposeKey(purpose);
        return isForIt ? parseStoredToken(content.token) : null;
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
        return await takeLock(folder, id, { waitMs: 0, what });
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
