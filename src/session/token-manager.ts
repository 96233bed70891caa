import { fingerprint } from '../crypto/fingerprint.js';
import { Secret } from '../crypto/secret.js';
import type { Login } from '../deribit/auth.js';
import { type ExchangeClock, elapsedMs, type Mark, mark } from '../deribit/clock.js';
import { isRefusedLogin } from '../deribit/json-rpc.js';
import { compareScopes } from '../deribit/scope.js';
import type { Transport } from '../deribit/transport.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import type { KeySource, SessionKey } from './key-source.js';
import type { Emitter, LoginReason, SessionEvents } from './session.js';
import { SignedLogin } from './signed-login.js';
import type { Time } from './time.js';
import {
  type CurrentToken,
  currentOf,
  isUsableToken,
  leftMs,
  type Token,
  tokenFromStore,
  tokenOf,
  tokenToStore,
} from './token.js';
import { refreshIfAccepted, type SharedTokens, type StoredToken, sharedScope, sharedToken } from './token-store.js';

/** How long a token stays in use before a store that was away is asked again. */
const STORE_AWAY_MS = 5_000;

interface TokenManagerContext {
  readonly key: KeySource;
  readonly scope: string | undefined;
  readonly time: Time;
  readonly random: () => number;
  readonly clock: ExchangeClock;
  readonly events: Emitter<SessionEvents>;
  /** Null for tokens that the session keeps to itself. */
  readonly shared: SharedTokens | null;
}

interface LoginRequest {
  readonly transport: Transport;
  readonly reason: LoginReason;
  readonly credentials: SessionKey;
}

/**
 * One login and its token: made, renewed, and made anew where a refresh is refused.
 *
 *     none ── signIn ──> valid ── renewAfterMs ──> due ── lifeMs ──> expired
 *                          ^                        |                  |
 *                          └── renew: refresh, or signIn where refused ┘
 *
 * However many ask, one request is under way at a time, and all of them get its result. With a token store that is
 * true of all sessions that use it: both arrows first look for a token that another one has put there.
 */
export class TokenManager {
  readonly #context: TokenManagerContext;
  #token: Token | null = null;
  #generation = 0;
  #flight: { readonly transport: Transport; readonly promise: Promise<void> } | null = null;
  readonly #login: SignedLogin;
  readonly #ended = new AbortController();

  constructor(context: TokenManagerContext) {
    const { key, time, clock, events } = context;
    const advice = key.followMs === null ? '; openSession({ keystore, name }) follows rotations' : '';
    this.#context = context;
    this.#login = new SignedLogin({ time, clock, events, advice });
  }

  get clientId(): string {
    return this.#context.key.clientId;
  }

  /** How often {@link hasMoved} is worth asking, in milliseconds; null where the key stays. */
  get followMs(): number | null {
    return this.#context.key.followMs;
  }

  /** Whether a rotation has replaced the key of the last login. */
  hasMoved(): Promise<boolean> {
    return this.#context.key.moved();
  }

  /** Counts the tokens: who was refused with an older one may simply try again. */
  get generation(): number {
    return this.#generation;
  }

  /** Whether there is a token that has not expired. */
  get isValid(): boolean {
    return this.#token !== null && leftMs(this.#token, this.#context.time) > 0;
  }

  /** The access token; null before the first login and after it has expired. */
  current(): CurrentToken | null {
    return this.#token === null || !this.isValid ? null : currentOf(this.#token, this.#context.time);
  }

  /** Whether it can still be handed out to a caller that will use it in a moment. */
  get isUsable(): boolean {
    return this.#token !== null && isUsableToken(this.#token, this.#context.time);
  }

  /** Milliseconds until it should be renewed, not below zero; zero without a token. */
  get dueInMs(): number {
    const token = this.#token;
    return token === null ? 0 : Math.max(0, token.renewAfterMs - elapsedMs(this.#context.time, token.since));
  }

  /** Whether the token is one that other sessions use, too: it does not belong to a connection. */
  get isShared(): boolean {
    return this.#context.shared !== null;
  }

  /** How many tokens in a row may be refused: one from a store may be no better than the one that it replaces. */
  get attempts(): number {
    return this.isShared ? 2 : 1;
  }

  /** Drops the token of a connection, which died with it. */
  forget(): void {
    if (!this.isShared) this.#token = null;
  }

  /** Ends the wait for the login of another session. */
  end(): void {
    this.#ended.abort();
  }

  /** Logs in by signature; once more where it is refused and the clock, then compared, is far off. */
  signIn(transport: Transport, reason: LoginReason): Promise<void> {
    const { shared } = this.#context;
    return this.#once(transport, () =>
      shared === null ? this.#sign(transport, reason) : this.#share(shared, transport, reason),
    );
  }

  /** Trades the refresh token for a new pair, or logs in by signature where that is refused. */
  renew(transport: Transport): Promise<void> {
    const { shared } = this.#context;
    return this.#once(transport, () =>
      shared === null ? this.#refresh(transport) : this.#share(shared, transport, 'expired'),
    );
  }

  /** Compares the clocks, unless they were compared lately; what fails is tried again at the next occasion. */
  compareClocks(transport: Transport): void {
    if (!this.#context.clock.isFresh) this.#login.readClock(transport).catch(() => {});
  }

  /** What hangs on a connection that is gone does not hold up the next one. */
  #once(transport: Transport, work: () => Promise<void>): Promise<void> {
    if (this.#flight?.transport === transport) return this.#flight.promise;
    const flight = { transport, promise: work() };
    const end = () => {
      if (this.#flight === flight) this.#flight = null;
    };
    this.#flight = flight;
    flight.promise.then(end, end);
    return flight.promise;
  }

  async #refresh(transport: Transport): Promise<void> {
    const token = this.#token;
    if (token === null || token.refresh === null || leftMs(token, this.#context.time) <= 0)
      return this.#sign(transport, 'expired');
    if (!(await this.#refreshed(transport, token.refresh))) await this.#sign(transport, 'refresh-refused');
  }

  /** False where the exchange does not accept the refresh token any more. */
  async #refreshed(transport: Transport, refresh: Secret): Promise<boolean> {
    const since = mark(this.#context.time);
    const made = await refreshIfAccepted(transport, refresh);
    if (made === null) return false;
    this.#keep(made, since);
    this.#context.events.emit('refresh', { scope: made.scope, expiresInS: made.expiresInS });
    return true;
  }

  async #sign(transport: Transport, reason: LoginReason): Promise<void> {
    try {
      await this.#signOnce({ transport, reason, credentials: await this.#context.key.current() });
    } catch (error) {
      // the successor may have got the name after the key was read
      if (!isRefusedLogin(error) || !(await this.hasMoved())) throw error;
      await this.#signOnce({ transport, reason: 'rotated', credentials: await this.#context.key.current() });
    }
  }

  /** Takes the token of the store; if it holds none, or the one in hand that is due or was refused, makes the next one. */
  async #share(shared: SharedTokens, transport: Transport, reason: LoginReason): Promise<void> {
    const { key, scope, time, events } = this.#context;
    const credentials = await key.current();
    const { clientId, signer } = credentials;
    const own = this.#token?.clientId === clientId ? this.#token.access.reveal() : undefined;
    const isInUse = own !== undefined && reason !== 'unauthorized' && this.isUsable;
    // it does not belong to the connection that was lost
    if (isInUse && reason === 'reconnect') return;
    try {
      const token = await sharedToken({
        store: shared.store,
        purpose: { clientId, fingerprint: fingerprint(signer.publicKey), url: shared.url, scope: scope ?? null },
        ...(reason === 'unauthorized' ? { refused: own } : { due: own }),
        whenAway: isInUse ? 'refuse' : shared.whenAway,
        renew: (expiring) => this.#renewShared(expiring, { transport, reason, credentials }),
        nowMs: () => time.nowMs(),
        signal: this.#ended.signal,
        onNote: (_, error) => events.emit('unshared', { error }),
      });
      this.#adopt(token, clientId);
    } catch (error) {
      if (isInUse && isDeribitKeysError(error, 'ERR_TOKEN_STORE')) {
        // the store may have been waited for until the token was too old
        return this.isUsable ? this.#postpone(error) : this.#share(shared, transport, reason);
      }
      if (!isRefusedLogin(error) || reason === 'rotated' || !(await this.hasMoved())) throw error;
      await this.#share(shared, transport, 'rotated');
    }
  }

  async #renewShared(expiring: StoredToken | null, login: LoginRequest): Promise<StoredToken> {
    const refresh = expiring?.refreshToken ?? null;
    if (refresh === null) await this.#signOnce(login);
    else if (!(await this.#refreshed(login.transport, new Secret(refresh)))) {
      await this.#signOnce({ ...login, reason: 'refresh-refused' });
    }
    const token = this.#token;
    if (token === null) throw new DeribitKeysError('ERR_INTERNAL', 'there is no token after a login');
    return tokenToStore(token);
  }

  /** Uses a token from the store, unless it is the one in use already. */
  #adopt(stored: StoredToken, clientId: string): void {
    if (this.#token?.access.reveal() === stored.accessToken) return;
    const { time, random, events } = this.#context;
    const token = tokenFromStore(stored, time, { clientId, random });
    this.#generation += 1;
    this.#token = token;
    events.emit('shared', { scope: token.scope, expiresInS: Math.round(leftMs(token, time) / 1000) });
  }

  /** The token stays in use; the store is asked again a little later. */
  #postpone(error: DeribitKeysError): void {
    const token = this.#token;
    if (token !== null) {
      this.#token = { ...token, renewAfterMs: elapsedMs(this.#context.time, token.since) + STORE_AWAY_MS };
    }
    this.#context.events.emit('unshared', { error });
  }

  async #signOnce({ transport, reason, credentials }: LoginRequest): Promise<void> {
    const scope = this.isShared ? sharedScope(this.#context.scope) : this.#context.scope;
    const made = await this.#login.make({ transport, credentials, scope });
    this.#keep(made, mark(this.#context.time));
    const missing = scope === undefined ? [] : compareScopes(scope, made.scope).missing;
    const { expiresInS, tookMs } = made;
    this.#context.events.emit('login', { reason, scope: made.scope, missing, expiresInS, tookMs });
  }

  #keep(made: Login, since: Mark): void {
    this.#generation += 1;
    this.#token = tokenOf(made, since, { clientId: this.clientId, random: this.#context.random });
  }
}
