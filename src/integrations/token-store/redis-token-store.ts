import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { trustOf } from '../../deribit/trust.js';
import { DeribitKeysError, isDeribitKeysError, usageError } from '../../errors.js';
import { parseStoredToken, purposeKey, type TokenPurpose, type TokenStore } from '../../session/token-store.js';
import { type LoadPackage, loadOptionalPackage } from '../../signers/optional-package.js';
import { requireObject } from '../../util/checks.js';
import { defined } from '../../util/defined.js';

/** What is used of a client of the package `redis`: of one server, a cluster or Sentinel. */
export interface RedisClient {
  readonly isOpen: boolean;
  /** Connected, and logged in. */
  readonly isReady?: boolean;
  connect(): Promise<unknown>;
  get(key: string): Promise<unknown>;
  pTTL(key: string): Promise<unknown>;
  set(key: string, value: string, options: { readonly PX: number; readonly NX?: true }): Promise<unknown>;
  eval(script: string, options: { readonly keys: string[]; readonly arguments: string[] }): Promise<unknown>;
  destroy(): unknown;
  on(event: 'error', listener: (error: unknown) => void): unknown;
}

/** The arguments of {@link redisTokenStore}. */
export interface RedisTokenStoreOptions {
  /**
   * `redis://` or `rediss://` (TLS), with user, password, host, port and database; Sentinels as
   * `redis+sentinel://host:port,host:port/<name of the primary>`.
   */
  readonly url?: string | undefined;
  /** A client of your own instead of `url`; it is connected, but not closed, by the store. */
  readonly client?: RedisClient | undefined;
  /** Instead of a password in `url`. */
  readonly password?: string | undefined;
  /** 32 bytes, or the same as hex or base64, that all hosts share: values are encrypted under it. */
  readonly key: Uint8Array;
  /** Certificates (PEM) to trust for `rediss://` beside the platform's. */
  readonly ca?: string | undefined;
  /** How long one command may take; milliseconds, default 2,000. */
  readonly timeoutMs?: number | undefined;
  /** For tests: loads the package. */
  readonly load?: LoadPackage | undefined;
}

/** The lock of a holder that died, or that lost Redis, ends after this; one that works extends it. */
const LEASE_MS = 10_000;
/** After a failure, the store counts as away for this long, so that nobody waits for each command's time-out. */
const AWAY_MS = 3_000;

const ifOwn = (command: string) =>
  `if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call(${command}) else return 0 end`;
const RELEASE = ifOwn("'del', KEYS[1]");
const EXTEND = ifOwn(`'pexpire', KEYS[1], ${LEASE_MS}`);

/**
 * Shares tokens between hosts through Redis or Valkey (package `redis`, an optional peer). Names and values are opaque to
 * whoever reads the database; a value opens only under its own name, and expires with its token. Lifetimes are Redis's,
 * so that the clocks of the hosts may differ.
 * @throws `ERR_USAGE` for a URL of another kind or a key of another length, `ERR_TOKEN_STORE` where the package is missing
 */
export async function redisTokenStore(options: RedisTokenStoreOptions): Promise<TokenStore> {
  const { key, timeoutMs = 2_000, url, client: own } = requireObject('the options of a token store', options);
  const name = url === undefined && own !== undefined ? 'redis' : shownUrl(url ?? '');
  const seal = sealer(parseStoreKey(key));
  const client = own ?? (await createClient(options));
  let lastError: unknown;
  /** Ends the wait for a connection that will not come about. */
  let giveUp: (error: unknown) => void = () => {};
  client.on('error', (error) => {
    lastError = error;
    if (refusalOf(error) !== null) giveUp(error);
  });
  let connecting: Promise<unknown> | null = null;
  let awayUntilMs = 0;
  let isClosed = false;

  /** @param onLate called where the command is carried out after all, when nobody waits for it any more */
  async function ask<T>(command: () => Promise<T>, onLate?: () => void): Promise<T> {
    if (isClosed || performance.now() < awayUntilMs) throw away(name, lastError);
    let sent = null as Promise<T> | null;
    try {
      return await within(timeoutMs, async () => {
        if (!client.isOpen) {
          const refused = new Promise<never>((_, reject) => {
            giveUp = reject;
          });
          connecting = Promise.race([client.connect(), refused]).finally(() => {
            connecting = null;
          });
        }
        await connecting;
        sent = command();
        return sent;
      });
    } catch (cause) {
      if (onLate !== undefined) sent?.then(onLate, () => {});
      awayUntilMs = performance.now() + AWAY_MS;
      // while it tries to connect, the client reports the reason for a failure only to its listener
      if (client.isReady !== false) lastError = cause;
      throw away(name, lastError ?? cause);
    }
  }

  const nameOf = (use: 'token' | 'lock', purpose: TokenPurpose) =>
    `deribit-keys:${use}:${seal.nameOf(purposeKey(purpose))}`;

  return {
    name,
    async get(purpose) {
      const at = nameOf('token', purpose);
      const [sealed, leftMs] = await ask(() => Promise.all([client.get(at), client.pTTL(at)]));
      const text = typeof sealed === 'string' ? seal.open(at, sealed) : null;
      if (text === null || typeof leftMs !== 'number' || leftMs <= 0) return null;
      const token = parseStoredToken(JSON.parse(text));
      if (token === null) return null;
      const nowMs = Date.now();
      const lifeMs = token.expiresAtMs - token.issuedAtMs;
      return { ...token, expiresAtMs: nowMs + leftMs, issuedAtMs: Math.min(nowMs, nowMs + leftMs - lifeMs) };
    },
    async put(purpose, token) {
      const at = nameOf('token', purpose);
      const lifeMs = Math.floor(token.expiresAtMs - Date.now());
      if (lifeMs > 0) await ask(() => client.set(at, seal.seal(at, JSON.stringify(token)), { PX: lifeMs }));
    },
    async lock(purpose) {
      const at = nameOf('lock', purpose);
      const holder = randomBytes(16).toString('hex');
      const evaluate = (script: string) => client.eval(script, { keys: [at], arguments: [holder] });
      const release = () => evaluate(RELEASE);
      const take = () => client.set(at, holder, { PX: LEASE_MS, NX: true });
      if ((await ask(take, () => void release().catch(() => {}))) === null) return null;
      const extending = setInterval(() => void evaluate(EXTEND).catch(() => {}), LEASE_MS / 3);
      extending.unref();
      return {
        async release() {
          clearInterval(extending);
          await ask(release);
        },
      };
    },
    async close() {
      isClosed = true;
      if (own === undefined && client.isOpen) client.destroy();
    },
  };
}

/** Why a server that can be reached does not serve: `denied`, or `untrusted`; null for any other failure. */
function refusalOf(error: unknown): 'denied' | 'untrusted' | null {
  if (!(error instanceof Error)) return null;
  const { code = '', message } = error as NodeJS.ErrnoException;
  if (/^(WRONGPASS|NOAUTH|NOPERM)|\bAUTH\b/.test(message)) return 'denied';
  return /CERT|ERR_TLS|UNABLE_TO_VERIFY/.test(code) ? 'untrusted' : null;
}

const WORDS = {
  denied: ['refuses the user or the password', 'check the user and the password in its URL, and what that user may do'],
  untrusted: [
    'has a certificate that is not trusted',
    'name the PEM file of its authority: --ca-file, or in the library ca',
  ],
  away: ['cannot be reached', 'check that Redis runs and takes connections from this host'],
} as const;

function away(name: string, cause?: unknown): DeribitKeysError {
  const [what, hint] = WORDS[refusalOf(cause) ?? 'away'];
  return new DeribitKeysError('ERR_TOKEN_STORE', `the token store ${name} ${what}`, { hint, ...defined({ cause }) });
}

async function within<T>(timeoutMs: number, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  });
  const result = work();
  result.catch(() => {}); // it may fail after the time-out
  try {
    return await Promise.race([result, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The parts of a store's URL.
 * @throws `ERR_USAGE`
 */
export function parseStoreUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url !== null && /^(rediss?|redis\+sentinel):$/.test(url.protocol) && url.host !== '') return url;
  const sentinels = /^redis\+sentinel:\/\/(?:[^@/]*@)?([^/@]+,[^/@]+)(\/.*)?$/.exec(text);
  if (sentinels !== null) return new URL(text.replace(/,[^/]*/, ''));
  throw usageError(
    'the token store is not a redis:// or rediss:// URL',
    'such as redis://10.0.0.5:6379, or rediss://user@redis.example:6380',
  );
}

function shownUrl(text: string): string {
  const url = parseStoreUrl(text);
  return `${url.protocol}//${url.host}${url.pathname === '/' ? '' : url.pathname}`;
}

interface RedisPackage {
  createClient(options: object): RedisClient;
  createSentinel(options: object): RedisClient;
}

async function createClient({ url = '', password, ca, timeoutMs = 2_000, load }: RedisTokenStoreOptions) {
  const parsed = parseStoreUrl(url);
  const redis = (await loadOptionalPackage('redis', 'a token store in Redis', load).catch((error: unknown) => {
    throw isDeribitKeysError(error) ? error.with({ code: 'ERR_TOKEN_STORE' }) : error;
  })) as RedisPackage;
  const socket = {
    connectTimeout: timeoutMs,
    reconnectStrategy: (retries: number) => Math.min(50 * 2 ** retries, 2_000),
    ...(parsed.protocol === 'rediss:' && ca !== undefined ? trustOf(ca) : {}),
  };
  const client = { socket, disableOfflineQueue: true };
  if (password !== undefined) parsed.password = encodeURIComponent(password);
  if (parsed.protocol !== 'redis+sentinel:') return redis.createClient({ url: parsed.href, ...client });
  const hosts = /^redis\+sentinel:\/\/(?:[^@/]*@)?([^/]+)/.exec(url)?.[1] ?? '';
  const sentinelRootNodes = hosts.split(',').map((entry) => {
    const { hostname, port } = new URL(`redis://${entry}`);
    return { host: hostname, port: Number(port || 26_379) };
  });
  const said = (text: string) => (text === '' ? undefined : decodeURIComponent(text));
  const credentials = defined({ username: said(parsed.username), password: said(parsed.password) });
  return redis.createSentinel({
    name: decodeURIComponent(parsed.pathname.slice(1)) || 'mymaster',
    sentinelRootNodes,
    nodeClientOptions: { ...client, ...credentials },
  });
}

/** Length of an AES-256 key, in bytes. */
const KEY_BYTES = 32;
/** Of an AES-GCM nonce (NIST SP 800-38D §5.2.1.1) and tag, in bytes. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Encrypts what leaves the host, under a key that the hosts of a fleet share. */
interface Sealer {
  /** A name that does not reveal what it identifies. */
  nameOf(text: string): string;
  /** AES-256-GCM, bound to `context`: it opens under the same context only. Base64. */
  seal(context: string, text: string): string;
  /** Null for anything that was not sealed by this key under `context`. */
  open(context: string, sealed: string): string | null;
}

/**
 * The key of a token store: 32 bytes, or the same as 64 hex digits or as base64, with or without a newline.
 * @param file where it was read from
 * @throws `ERR_USAGE`
 */
export function parseStoreKey(content: Uint8Array, file?: string): Buffer {
  const bytes = Buffer.from(content instanceof Uint8Array ? content : []);
  if (bytes.length === KEY_BYTES) return bytes;
  const text = bytes.toString('latin1').trim();
  const decoded = /^[0-9a-f]{64}$/i.test(text)
    ? Buffer.from(text, 'hex')
    : /^[A-Za-z0-9+/_-]{43}=?$/.test(text)
      ? Buffer.from(text, 'base64')
      : null;
  if (decoded?.length === KEY_BYTES) return decoded;
  const what = file === undefined ? 'the key of the token store is not' : `the key file ${file} does not hold`;
  throw usageError(
    `${what} a key of ${KEY_BYTES} bytes`,
    `make one with: (umask 077; openssl rand -out ${file ?? 'store.key'} ${KEY_BYTES})`,
  );
}

/** @param key 32 bytes; two keys are derived from it, for names and for values */
export function sealer(key: Uint8Array): Sealer {
  const derive = (use: string) => createHmac('sha256', key).update(`deribit-keys token store: ${use}`).digest();
  const nameKey = derive('names');
  const valueKey = derive('values');
  return {
    nameOf: (text) => createHmac('sha256', nameKey).update(text).digest('hex').slice(0, 40),
    seal(context, text) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', valueKey, nonce).setAAD(Buffer.from(context));
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return Buffer.concat([nonce, body, cipher.getAuthTag()]).toString('base64');
    },
    open(context, sealed) {
      const bytes = Buffer.from(sealed, 'base64');
      if (bytes.length < NONCE_BYTES + TAG_BYTES) return null;
      const nonce = bytes.subarray(0, NONCE_BYTES);
      try {
        const decipher = createDecipheriv('aes-256-gcm', valueKey, nonce, { authTagLength: TAG_BYTES })
          .setAAD(Buffer.from(context))
          .setAuthTag(bytes.subarray(-TAG_BYTES));
        const body = bytes.subarray(NONCE_BYTES, -TAG_BYTES);
        return Buffer.concat([decipher.update(body), decipher.final()]).toString('utf8');
      } catch {
        return null;
      }
    },
  };
}
