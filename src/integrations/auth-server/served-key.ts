import type { Signer } from '../../crypto/signer.js';
import { type DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import {
  isUsable,
  purposeKey,
  type SharedTokenOptions,
  type StoredToken,
  sharedToken,
  type TokenPurpose,
} from '../../session/token-store.js';
import type { Metrics } from './metrics.js';

/** A key as its record describes it at the moment. */
interface KeyLogin {
  readonly purpose: TokenPurpose;
  /** Milliseconds since the epoch; null where the record does not say. */
  readonly registeredAtMs: number | null;
  /** When its policy wants it to be rotated; milliseconds since the epoch, null where no policy says. */
  readonly dueAtMs: number | null;
  credentials(): Promise<{ readonly clientId: string; readonly signer: Signer }>;
  /** Logs in, or trades the refresh token of the expiring token for a new one. */
  renew(expiring: StoredToken | null, onRenewed: (how: 'login' | 'refresh') => void): Promise<StoredToken>;
}

/** A key that the server signs with. */
export interface ServedKey {
  readonly name: string;
  /** A text that changes when the record or its policy does: a rotation is noticed by it. It must be cheap. */
  version(): string;
  /** Reads the record; `scope` is what tokens are asked for. */
  login(scope?: string): Promise<KeyLogin>;
  /** The time to sign, by the exchange's clock where that is known; milliseconds. */
  timestampMs(): number;
}

/** The store in which processes share tokens, what happens while it cannot be reached, and who is notified. */
export type TokenSharing = Pick<SharedTokenOptions, 'store' | 'whenAway' | 'onNote'>;

/** What a probe is answered about a key. */
interface KeyStatus {
  readonly name: string;
  readonly ready: boolean;
  /** ISO 8601; null before the first login. */
  readonly lastLoginAt: string | null;
  readonly tokenExpiresInS: number | null;
  /** The code of the last failure, if it was the last thing that happened. */
  readonly error: string | null;
}

/** A refused login is not tried again for this long, whoever asks. */
const REFUSED_FOR_MS = 5_000;
/** Clients choose the scopes of their tokens: for so many of them, tokens are kept. */
const MOST_SCOPES = 1_000;

interface Entry {
  readonly version: string;
  readonly login: KeyLogin;
  token: StoredToken | null;
  flight: Promise<StoredToken> | null;
  failure: { readonly error: DeribitKeysError; readonly atMs: number } | null;
}

/** Hands out valid tokens of one key: it renews them as needed, follows the key's rotations, and repeats no refusal. */
export class KeyServer {
  readonly key: ServedKey;
  readonly #sharing: TokenSharing;
  readonly #metrics: Metrics;
  readonly #entries = new Map<string, Entry>();
  #lastLoginMs: number | null = null;

  constructor(key: ServedKey, { metrics, ...sharing }: TokenSharing & { readonly metrics: Metrics }) {
    this.key = key;
    this.#sharing = sharing;
    this.#metrics = metrics;
  }

  /**
   * @param refused a token that the exchange no longer accepts
   * @throws as a login does
   */
  async token(scope?: string, refused?: string): Promise<StoredToken> {
    const entry = await this.#entry(scope);
    const { token } = entry;
    if (token !== null && token.accessToken !== refused && isUsable(token, Date.now())) return token;
    entry.flight ??= this.#renew(entry, refused).finally(() => {
      entry.flight = null;
    });
    return entry.flight;
  }

  /** The login as the record describes it now. */
  async login(): Promise<KeyLogin> {
    return (await this.#entry(undefined)).login;
  }

  /** Logs in if there is no usable token, and says how the key is; never throws. */
  async status(): Promise<KeyStatus> {
    const { name } = this.key;
    const lastLoginAt = () => (this.#lastLoginMs === null ? null : new Date(this.#lastLoginMs).toISOString());
    try {
      const { expiresAtMs } = await this.token();
      const tokenExpiresInS = Math.round((expiresAtMs - Date.now()) / 1_000);
      return { name, ready: true, lastLoginAt: lastLoginAt(), tokenExpiresInS, error: null };
    } catch (error) {
      const code = isDeribitKeysError(error) ? error.code : 'ERR_INTERNAL';
      return { name, ready: false, lastLoginAt: lastLoginAt(), tokenExpiresInS: null, error: code };
    }
  }

  async #entry(scope: string | undefined): Promise<Entry> {
    const version = this.key.version();
    const known = this.#entries.get(scope ?? '');
    if (known !== undefined && known.version === version) return known;
    const login = await this.key.login(scope);
    const entry: Entry = { version, login, token: null, flight: null, failure: null };
    // a record that changed in another way than by a rotation keeps its token
    if (known !== undefined && purposeKey(known.login.purpose) === purposeKey(login.purpose)) entry.token = known.token;
    // of many scopes, the one that was asked for first is forgotten first
    const [first] = this.#entries.size < MOST_SCOPES ? [] : this.#entries.keys();
    if (first !== undefined) this.#entries.delete(first);
    this.#entries.set(scope ?? '', entry);
    const inS = (atMs: number | null) => (atMs === null ? null : atMs / 1_000);
    this.#metrics.keyAge(this.key.name, { registeredAtS: inS(login.registeredAtMs), dueAtS: inS(login.dueAtMs) });
    return entry;
  }

  async #renew(entry: Entry, refused: string | undefined): Promise<StoredToken> {
    const { failure, login } = entry;
    if (failure !== null && performance.now() - failure.atMs < REFUSED_FOR_MS) throw failure.error;
    entry.failure = null;
    try {
      const token = await sharedToken({
        ...this.#sharing,
        purpose: login.purpose,
        refused,
        renew: (expiring) =>
          login.renew(expiring, (how) => {
            this.#lastLoginMs = Date.now();
            this.#metrics.login(this.key.name, how);
          }),
      });
      this.#lastLoginMs ??= token.issuedAtMs;
      entry.token = token;
      const { issuedAtMs, expiresAtMs } = token;
      this.#metrics.token(this.key.name, { issuedAtS: issuedAtMs / 1_000, expiresAtS: expiresAtMs / 1_000 });
      return token;
    } catch (error) {
      if (isDeribitKeysError(error)) {
        this.#metrics.refusal(this.key.name, error.code);
        if (error.code === 'ERR_UNAUTHORIZED') entry.failure = { error, atMs: performance.now() };
      }
      throw error;
    }
  }
}
