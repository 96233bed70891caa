import type { Secret } from '../crypto/secret.js';
import { type Login, login, refreshLogin } from '../deribit/auth.js';
import {
  type ClockFinding,
  type ExchangeClock,
  getTime,
  type KeptReading,
  withClockCorrection,
} from '../deribit/clock.js';
import { isRefusedLogin, isTransientRefusal } from '../deribit/json-rpc.js';
import { compareScopes } from '../deribit/scope.js';
import type { Transport } from '../deribit/transport.js';
import { type DeribitKeysError, isDeribitKeysError } from '../errors.js';
import type { Emitter, LoginReason, SessionEvents } from './events.js';
import { isFinal } from './failures.js';
import type { KeySource } from './key-source.js';
import { elapsedMs, type Mark, mark, type Time } from './time.js';

const CLOCKS_AGREE_MS = 1_000;

interface TokenManagerContext {
  readonly key: KeySource;
  readonly scope: string | undefined;
  readonly time: Time;
  readonly random: () => number;
  readonly clock: ExchangeClock;
  readonly events: Emitter<SessionEvents>;
}

/** An access token that has not expired, until when it is valid (milliseconds since the epoch, local clock), and for what. */
export interface CurrentToken {
  readonly accessToken: Secret;
  readonly expiresAtMs: number;
  readonly scope: string;
}

interface Token {
  readonly access: Secret;
  readonly refresh: Secret;
  readonly scope: string;
  readonly since: Mark;
  readonly lifeMs: number;
  readonly renewAfterMs: number;
}

/**
 * One login and its token: made, renewed, and made anew where a refresh is refused.
 *
 *     none ── signIn ──> valid ── renewAfterMs ──> due ── lifeMs ──> expired
 *                          ^                        |                  |
 *                          └── renew: refresh, or signIn where refused ┘
 *
 * However many ask, one request is under way at a time, and all of them get what it gives.
 */
export class TokenManager {
  readonly #context: TokenManagerContext;
  #token: Token | null = null;
  #generation = 0;
  #flight: { readonly transport: Transport; readonly promise: Promise<void> } | null = null;
  /** Logins in a row that were refused while the clock could not be read. */
  #unexplained = 0;
  #reported: KeptReading | null = null;

  constructor(context: TokenManagerContext) {
    this.#context = context;
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
    return this.#token !== null && this.#leftMs(this.#token) > 0;
  }

  /** The access token; null where there is none or it has expired. */
  current(): CurrentToken | null {
    const token = this.#token;
    if (token === null || !this.isValid) return null;
    const atFirstMs = Math.floor(token.since.wallMs + token.lifeMs);
    const byNowMs = Math.floor(this.#context.time.nowMs() + this.#leftMs(token));
    // always the same moment, unless the wall clock was set since
    const expiresAtMs = Math.abs(byNowMs - atFirstMs) < CLOCKS_AGREE_MS ? atFirstMs : byNowMs;
    return { accessToken: token.access, expiresAtMs, scope: token.scope };
  }

  /** Whether it can still be handed out to somebody who will use it in a moment. */
  get isUsable(): boolean {
    const token = this.#token;
    return token !== null && this.#leftMs(token) > token.lifeMs - usableForMs(token.lifeMs);
  }

  /** Milliseconds until it should be renewed, not below zero; zero where there is none. */
  get dueInMs(): number {
    const token = this.#token;
    return token === null ? 0 : Math.max(0, token.renewAfterMs - elapsedMs(this.#context.time, token.since));
  }

  /** Drops the token: it died with its connection. */
  forget(): void {
    this.#token = null;
  }

  /** Logs in by signature; once more where it is refused and the clock, then compared, is far off. */
  signIn(transport: Transport, reason: LoginReason): Promise<void> {
    return this.#once(transport, () => this.#sign(transport, reason));
  }

  /** Trades the refresh token for a new pair, or logs in by signature where that is refused. */
  renew(transport: Transport): Promise<void> {
    return this.#once(transport, () => this.#refresh(transport));
  }

  /** Compares the clocks. Throws as the transport does. */
  async readClock(transport: Transport): Promise<KeptReading> {
    const reading = await this.#context.clock.read(() => getTime(transport));
    if (reading !== this.#reported) this.#context.events.emit('clock', reading);
    this.#reported = reading;
    return reading;
  }

  /** What hangs on a connection that is gone does not hold up the next one. */
  #once(transport: Transport, work: () => Promise<void>): Promise<void> {
    if (this.#flight?.transport === transport) return this.#flight.promise;
    const promise = work().finally(() => {
      if (this.#flight?.promise === promise) this.#flight = null;
    });
    this.#flight = { transport, promise };
    return promise;
  }

  async #refresh(transport: Transport): Promise<void> {
    const token = this.#token;
    if (token === null || this.#leftMs(token) <= 0) return this.#sign(transport, 'expired');
    const since = mark(this.#context.time);
    try {
      const made = await refreshLogin(transport, token.refresh);
      this.#keep(made, since);
      this.#context.events.emit('refresh', { scope: made.scope, expiresInS: made.expiresInS });
    } catch (error) {
      if (!isDeribitKeysError(error) || error.rpc === undefined || isTransientRefusal(error)) throw error;
      await this.#sign(transport, 'refresh-refused');
    }
  }

  async #sign(transport: Transport, reason: LoginReason): Promise<void> {
    try {
      await this.#signOnce(transport, reason);
    } catch (error) {
      // the successor may have got the name after the key was read
      if (!isRefusedLogin(error) || !(await this.hasMoved())) throw error;
      await this.#signOnce(transport, 'rotated');
    }
  }

  async #signOnce(transport: Transport, reason: LoginReason): Promise<void> {
    await withClockCorrection({
      clock: this.#context.clock,
      attempt: () => this.#attempt(transport, reason),
      read: () => this.readClock(transport).catch((unread: unknown) => this.#onUnread(unread)),
      explain: (refused, finding) => this.#explained(refused, finding),
    });
    this.#unexplained = 0;
  }

  /** A refusal may be about the clock as long as that was not read: the next attempt tries, once. */
  #onUnread(error: unknown): null {
    this.#unexplained += 1;
    if (!isFinal(error) && this.#unexplained < 2) throw error;
    return null;
  }

  #explained(refusal: DeribitKeysError, finding: ClockFinding): DeribitKeysError {
    return refusal.with({
      message: `${refusal.message} (client id ${this.clientId}; ${clockWords(finding)})`,
      hint:
        'check that the client id belongs to this key and environment, that the API key is enabled and was not rotated, and its IP whitelist' +
        (this.followMs === null ? '; openSession({ keystore, name }) follows rotations' : ''),
    });
  }

  async #attempt(transport: Transport, reason: LoginReason): Promise<void> {
    const { key, scope, time, clock, events } = this.#context;
    const credentials = await key.current();
    const since = mark(time);
    const made = await login(transport, credentials, { scope, timestampMs: clock.timestampMs() });
    const tookMs = time.monotonicMs() - since.monotonicMs;
    this.#keep(made, mark(time));
    const missing = scope === undefined ? [] : compareScopes(scope, made.scope).missing;
    events.emit('login', { reason, scope: made.scope, missing, expiresInS: made.expiresInS, tookMs });
  }

  /** A life that is no positive number counts as one second, so that renewing never turns into a loop. */
  #keep(made: Login, since: Mark): void {
    const lifeMs = Math.max(1, made.expiresInS) * 1000;
    this.#generation += 1;
    this.#token = {
      access: made.accessToken,
      refresh: made.refreshToken,
      scope: made.scope,
      since,
      lifeMs,
      renewAfterMs: renewAfterMs(lifeMs, this.#context.random),
    };
  }

  #leftMs(token: Token): number {
    return token.lifeMs - elapsedMs(this.#context.time, token.since);
  }
}

function clockWords(finding: ClockFinding): string {
  if (finding.kind === 'unread') return 'the clocks could not be compared';
  const off = `off by ${Math.round(finding.offsetMs)} ms`;
  if (finding.kind === 'too-far') return `the clock is ${off}, too far to be corrected`;
  return `the clock is not the reason (${off}${finding.kind === 'corrected' ? ', which was corrected' : ''})`;
}

/** A token is renewed at a moment between these fractions of its life, drawn at random so that a fleet spreads out. */
const RENEW_FROM = 0.6;
const RENEW_SPREAD = 0.2;
/** A token with no more than this part of its life left, or this time if that is shorter, is not handed out. */
const LAST_PART = 0.1;
const LAST_MS = 60_000;

/** How long after its login a token is renewed. */
export function renewAfterMs(lifeMs: number, random: () => number = Math.random): number {
  return lifeMs * (RENEW_FROM + RENEW_SPREAD * random());
}

/** How long after its login a token is still handed out to somebody who will use it in a moment. */
export function usableForMs(lifeMs: number): number {
  return lifeMs - Math.min(LAST_MS, lifeMs * LAST_PART);
}
