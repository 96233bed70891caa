import { Secret } from '../crypto/secret.js';
import { type Credentials, type Login, refreshLogin, type SignInContext, signIn } from '../deribit/auth.js';
import type { Endpoint } from '../deribit/endpoints.js';
import { isTransientRefusal } from '../deribit/json-rpc.js';
import { interruptedError } from '../deribit/network-errors.js';
import type { Transport } from '../deribit/transport.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { defined } from '../util/defined.js';
import { pause, systemTime } from './time.js';

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

/** The lock of a token store, under which one process renews a token. */
export interface TokenLock {
  release(): Promise<void>;
}

/**
 * Where processes that use the same key keep its access token, so that they log in once and not each for itself. Deribit
 * allows 16 sessions per key, and a 17th login ends the oldest without a word.
 *
 * What a store throws while it cannot be reached becomes the cause of an `ERR_TOKEN_STORE`, unless it is one.
 */
export interface TokenStore {
  /** For people, such as `redis://10.0.0.5:6379`; without a password. */
  readonly name: string;
  /** Resolves to null where there is no token that can be read. */
  get(purpose: TokenPurpose): Promise<StoredToken | null>;
  put(purpose: TokenPurpose, token: StoredToken): Promise<void>;
  /**
   * Tries to become the one that renews the token; null where another one holds the lock. A lock whose holder died should
   * end automatically within 10 s: others wait for it, but not longer than 15 s.
   */
  lock(purpose: TokenPurpose): Promise<TokenLock | null>;
  close(): Promise<void>;
}

/** The store of a session. */
export interface SharedTokens {
  readonly store: TokenStore;
  /** The HTTP endpoint. */
  readonly url: string;
  readonly whenAway: 'login' | 'refuse';
}

/** The arguments of {@link sharedToken}. */
export interface SharedTokenOptions {
  readonly store: TokenStore;
  readonly purpose: TokenPurpose;
  /** Logs in, or trades `expiring.refreshToken` for a new pair where there is one. */
  readonly renew: (expiring: StoredToken | null) => Promise<StoredToken>;
  /** A token that the exchange refused: it is replaced, unless another process did so already. */
  readonly refused?: string | undefined;
  /** A token that is still valid and is to be renewed now, unless another process did so already. */
  readonly due?: string | undefined;
  /** What to do while the store cannot be reached: log in without it (the default), or throw `ERR_TOKEN_STORE`. */
  readonly whenAway?: 'login' | 'refuse' | undefined;
  readonly nowMs?: (() => number) | undefined;
  /** Told, as a sentence, why a token was not shared, and the error behind it. */
  readonly onNote?: ((note: string, error: DeribitKeysError) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const POLL_MS = 100;
/** After this, a process no longer waits for another one's login: longer than the lock of a holder that died. */
const WAIT_MS = 15_000;

/** A token is renewed at a moment between these fractions of its life, drawn at random so that a fleet spreads out. */
const RENEW_FROM = 0.6;
const RENEW_SPREAD = 0.2;
/** How long after its login a token is renewed. */
export function renewAfterMs(lifeMs: number, random: () => number = Math.random): number {
  return lifeMs * (RENEW_FROM + RENEW_SPREAD * random());
}

/** A token with no more than this part of its life left, or this time if that is shorter, is not handed out. */
const LAST_PART = 0.1;
const LAST_MS = 60_000;

/** How long after its login a token is still handed out to somebody who will use it in a moment. */
export function usableForMs(lifeMs: number): number {
  return lifeMs - Math.min(LAST_MS, lifeMs * LAST_PART);
}

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
  const { purpose, renew, refused, due, whenAway = 'login', nowMs = Date.now, onNote, signal } = options;
  const store = reporting(options.store);
  const stored = async (): Promise<StoredToken | null> => {
    const token = await store.get(purpose);
    if (token === null || token.accessToken === refused || token.accessToken === due) return null;
    return isUsable(token, nowMs()) ? token : null;
  };
  try {
    const giveUpAt = performance.now() + WAIT_MS;
    for (;;) {
      const token = await stored();
      if (token !== null) return token;
      const lock = await store.lock(purpose);
      if (lock !== null || performance.now() > giveUpAt) return await renewLocked(lock);
      await pause(systemTime, POLL_MS * (0.5 + Math.random()), signal);
      if (signal?.aborted) throw interruptedError('waiting for another process that logs in', { maybeSent: false });
    }
  } catch (error) {
    if (!isDeribitKeysError(error, 'ERR_TOKEN_STORE') || whenAway === 'refuse') throw error;
    onNote?.(`${error.message}: logging in without it`, error);
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
        onNote?.(`the token was not stored: ${error.message}`, error);
      });
      return token;
    } finally {
      await lock?.release().catch(() => {});
    }
  }
}

/** The same store, whose errors are `DeribitKeysError`s: one that a user made may throw anything. */
function reporting(store: TokenStore): Pick<TokenStore, 'get' | 'put' | 'lock'> {
  const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (cause) {
      if (isDeribitKeysError(cause)) throw cause;
      throw new DeribitKeysError('ERR_TOKEN_STORE', `the token store ${store.name} failed`, {
        cause,
        hint: 'its own error is the cause of this one',
      });
    }
  };
  return {
    get: (purpose) => attempt(() => store.get(purpose)),
    put: (purpose, token) => attempt(() => store.put(purpose, token)),
    lock: (purpose) => attempt(() => store.lock(purpose)),
  };
}

/** A text that two purposes have in common only where they are the same. */
export function purposeKey({ clientId, fingerprint, url, scope }: TokenPurpose): string {
  return JSON.stringify([clientId, fingerprint, url, scope]);
}

/** A store for the sessions of one process. */
export function memoryTokenStore(): TokenStore {
  const tokens = new Map<string, StoredToken>();
  const held = new Set<string>();
  return {
    name: 'memory',
    async get(purpose) {
      return tokens.get(purposeKey(purpose)) ?? null;
    },
    async put(purpose, token) {
      tokens.set(purposeKey(purpose), token);
    },
    async lock(purpose) {
      const key = purposeKey(purpose);
      if (held.has(key)) return null;
      held.add(key);
      return { release: async () => void held.delete(key) };
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

interface RenewOptions extends SignInContext {
  /** Opens a transport over HTTP: a token issued there does not end with a connection. */
  readonly connect: (endpoint: Endpoint) => Promise<Transport>;
  readonly endpoint: Endpoint;
  /** Asked for only where a signature is needed. */
  readonly credentials: () => Promise<Credentials>;
  readonly scope?: string | undefined;
  readonly nowMs: () => number;
  /** Told how the token was renewed. */
  readonly onRenewed?: ((how: 'login' | 'refresh') => void) | undefined;
}

/** The session in which the processes of a fleet share one token: they count as one of Deribit's 16 sessions per key. */
const SHARED_SESSION = 'session:deribit_keys';

/** `scope` under the session that processes share, unless it names a session itself. */
export function sharedScope(scope: string | undefined): string {
  if (scope === undefined) return SHARED_SESSION;
  return /(^| )(session:|connection( |$))/.test(scope) ? scope : `${scope} ${SHARED_SESSION}`;
}

/**
 * Logs in for a token that outlives the process: by the refresh token of the expiring one where that is kept, else by
 * signature.
 * @throws as `login` does
 */
export async function renewToken(options: RenewOptions, expiring: StoredToken | null): Promise<StoredToken> {
  const { connect, endpoint, credentials, scope, nowMs, signal } = options;
  const transport = await connect(endpoint);
  try {
    const issuedAtMs = nowMs();
    const refreshToken = expiring?.refreshToken ?? null;
    const byRefresh =
      refreshToken === null ? null : await refreshIfAccepted(transport, new Secret(refreshToken), defined({ signal }));
    const login = byRefresh ?? (await signIn(options, { transport, credentials: await credentials(), scope }));
    options.onRenewed?.(byRefresh === null ? 'login' : 'refresh');
    return {
      accessToken: login.accessToken.reveal(),
      refreshToken: login.refreshToken.reveal(),
      issuedAtMs,
      expiresAtMs: issuedAtMs + login.expiresInS * 1_000,
      scope: login.scope,
    };
  } finally {
    await transport.close().catch(() => {});
  }
}

/** A login by this refresh token; null where the exchange no longer accepts it. @throws as `refreshLogin` does otherwise */
export async function refreshIfAccepted(
  transport: Transport,
  refreshToken: Secret,
  options?: { readonly signal?: AbortSignal },
): Promise<Login | null> {
  try {
    return await refreshLogin(transport, refreshToken, options);
  } catch (error) {
    if (!isDeribitKeysError(error) || error.rpc === undefined || isTransientRefusal(error)) throw error;
    return null;
  }
}
