import { setTimeout as sleep } from 'node:timers/promises';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import { usableForMs } from '../../session/token-life.js';

/** What a token was issued for; it serves nothing else. */
export interface TokenPurpose {
  readonly clientId: string;
  /** Of the key: a token of its predecessor is another one. */
  readonly fingerprint: string;
  /** The HTTP endpoint. */
  readonly url: string;
  /** As asked for; null for all that the key allows. */
  readonly scope: string | null;
}

/** A token as a store keeps it. */
export interface StoredToken {
  readonly accessToken: string;
  /** Null where it is not kept: then a new token takes a new signature. */
  readonly refreshToken: string | null;
  /** Milliseconds since the epoch, by the local clock. */
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  /** As granted. */
  readonly scope: string;
}

export interface TokenLock {
  release(): Promise<void>;
}

/**
 * Where processes that use the same key keep its access token, so that they log in once and not each for itself. Deribit
 * allows 16 sessions per key, and a 17th login ends the oldest without a word.
 *
 * A store that cannot be reached throws `ERR_TOKEN_STORE`.
 */
export interface TokenStore {
  /** For people, such as `redis://10.0.0.5:6379`; without a password. */
  readonly name: string;
  /** Resolves to null where there is no token that can be read. */
  get(purpose: TokenPurpose): Promise<StoredToken | null>;
  put(purpose: TokenPurpose, token: StoredToken): Promise<void>;
  /**
   * Tries to become the one that renews the token; null where another one holds the lock. A lock whose holder died ends
   * by itself within half a minute.
   */
  lock(purpose: TokenPurpose): Promise<TokenLock | null>;
  close(): Promise<void>;
}

export interface SharedTokenOptions {
  readonly store: TokenStore;
  readonly purpose: TokenPurpose;
  /** Logs in, or trades `expiring.refreshToken` for a new pair where there is one. */
  readonly renew: (expiring: StoredToken | null) => Promise<StoredToken>;
  /** A token that the exchange refused: it is replaced, unless another process did so already. */
  readonly refused?: string | undefined;
  /** What to do while the store cannot be reached: log in without it (the default), or throw `ERR_TOKEN_STORE`. */
  readonly whenAway?: 'login' | 'refuse' | undefined;
  readonly nowMs?: (() => number) | undefined;
  /** Told, as a sentence, why a token was not shared. */
  readonly onNote?: ((note: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const POLL_MS = 100;
/** A login takes a few seconds at the most; after this, a process no longer waits for another one's. */
const WAIT_MS = 30_000;

/** Whether `token` will do for a request that is about to be sent. A clock that was set back cannot tell its age. */
export function isUsable(token: StoredToken, nowMs: number): boolean {
  const ageMs = nowMs - token.issuedAtMs;
  return ageMs >= 0 && ageMs < usableForMs(token.expiresAtMs - token.issuedAtMs);
}

/**
 * Returns a token that is valid for a while: the store's, or a new one, which is then stored. Of all processes that use
 * the store one renews the token, and the others wait for it.
 * @throws what `renew` throws; `ERR_TOKEN_STORE` with `whenAway: 'refuse'`; `ERR_INTERRUPTED`
 */
export async function sharedToken(options: SharedTokenOptions): Promise<StoredToken> {
  const { store, purpose, renew, refused, whenAway = 'login', nowMs = Date.now, onNote, signal } = options;
  const stored = async (): Promise<StoredToken | null> => {
    const token = await store.get(purpose);
    return token === null || token.accessToken === refused || !isUsable(token, nowMs()) ? null : token;
  };
  try {
    const giveUpAt = performance.now() + WAIT_MS;
    for (;;) {
      const token = await stored();
      if (token !== null) return token;
      const lock = await store.lock(purpose);
      if (lock !== null || performance.now() > giveUpAt) return await renewLocked(lock);
      await sleep(POLL_MS * (0.5 + Math.random()), undefined, { signal }).catch(() => {
        throw new DeribitKeysError('ERR_INTERRUPTED', 'interrupted while another process renews the token', {
          maybeSent: false,
        });
      });
    }
  } catch (error) {
    if (!isDeribitKeysError(error, 'ERR_TOKEN_STORE') || whenAway === 'refuse') throw error;
    onNote?.(`${error.message}: logging in without it`);
    return renew(null);
  }

  async function renewLocked(lock: TokenLock | null): Promise<StoredToken> {
    try {
      const found = await stored();
      if (found !== null) return found;
      const expiring = await store.get(purpose);
      const token = await renew(expiring?.accessToken === refused ? null : expiring);
      await store.put(purpose, token).catch((error: unknown) => {
        if (!isDeribitKeysError(error)) throw error;
        onNote?.(`the token was not stored: ${error.message}`);
      });
      return token;
    } finally {
      await lock?.release().catch(() => {});
    }
  }
}

const keyOf = ({ clientId, fingerprint, url, scope }: TokenPurpose) =>
  JSON.stringify([clientId, fingerprint, url, scope]);

/** A store for the sessions of one process. */
export function memoryTokenStore(): TokenStore {
  const tokens = new Map<string, StoredToken>();
  const held = new Set<string>();
  return {
    name: 'memory',
    async get(purpose) {
      return tokens.get(keyOf(purpose)) ?? null;
    },
    async put(purpose, token) {
      tokens.set(keyOf(purpose), token);
    },
    async lock(purpose) {
      const key = keyOf(purpose);
      if (held.has(key)) return null;
      held.add(key);
      return {
        async release() {
          held.delete(key);
        },
      };
    },
    async close() {
      tokens.clear();
    },
  };
}

/** Reads a token back that a store has kept as JSON; null for anything else. */
export function parseStoredToken(value: unknown): StoredToken | null {
  if (typeof value !== 'object' || value === null) return null;
  const { accessToken, refreshToken, issuedAtMs, expiresAtMs, scope } = value as Partial<StoredToken>;
  const isToken = (text: unknown): text is string => typeof text === 'string' && /^[\x21-\x7e]+$/.test(text);
  if (!isToken(accessToken) || typeof scope !== 'string') return null;
  if (typeof issuedAtMs !== 'number' || typeof expiresAtMs !== 'number' || !Number.isFinite(expiresAtMs)) return null;
  return { accessToken, refreshToken: isToken(refreshToken) ? refreshToken : null, issuedAtMs, expiresAtMs, scope };
}
