import { Secret } from '../crypto/secret.js';
import type { Login } from '../deribit/auth.js';
import { elapsedMs, type Mark, mark } from '../deribit/clock.js';
import type { Time } from './time.js';
import { renewAfterMs, type StoredToken, usableForMs } from './token-store.js';

const CLOCKS_AGREE_MS = 1_000;

/** An access token that has not expired, until when it is valid (milliseconds since the epoch, local clock), and for what. */
export interface CurrentToken {
  readonly accessToken: Secret;
  readonly expiresAtMs: number;
  readonly scope: string;
}

/** A token in use, and when it was issued. */
export interface Token {
  readonly clientId: string;
  readonly access: Secret;
  /** Null where the store does not keep it. */
  readonly refresh: Secret | null;
  readonly scope: string;
  readonly since: Mark;
  readonly lifeMs: number;
  readonly renewAfterMs: number;
}

interface TokenOptions {
  readonly clientId: string;
  readonly random: () => number;
}

/** The token of a login. A life that is no positive number counts as one second, so that renewing never turns into a loop. */
export function tokenOf(made: Login, since: Mark, { clientId, random }: TokenOptions): Token {
  const lifeMs = Math.max(1, made.expiresInS) * 1000;
  const { accessToken: access, refreshToken: refresh, scope } = made;
  return { clientId, access, refresh, scope, since, lifeMs, renewAfterMs: renewAfterMs(lifeMs, random) };
}

/** A token that another session has put into the store. */
export function tokenFromStore(stored: StoredToken, time: Time, { clientId, random }: TokenOptions): Token {
  const { accessToken, refreshToken, issuedAtMs, expiresAtMs, scope } = stored;
  const lifeMs = expiresAtMs - issuedAtMs;
  const now = mark(time);
  const ageMs = Math.max(0, now.wallMs - issuedAtMs);
  return {
    clientId,
    access: new Secret(accessToken),
    refresh: refreshToken === null ? null : new Secret(refreshToken),
    scope,
    since: { wallMs: now.wallMs - ageMs, monotonicMs: now.monotonicMs - ageMs },
    lifeMs,
    renewAfterMs: renewAfterMs(lifeMs, random),
  };
}

/** The token as a store keeps it. */
export function tokenToStore({ access, refresh, since, lifeMs, scope }: Token): StoredToken {
  return {
    accessToken: access.reveal(),
    refreshToken: refresh?.reveal() ?? null,
    issuedAtMs: since.wallMs,
    expiresAtMs: since.wallMs + lifeMs,
    scope,
  };
}

/** Milliseconds until it expires; negative afterwards. */
export function leftMs({ lifeMs, since }: Token, time: Time): number {
  return lifeMs - elapsedMs(time, since);
}

/** Whether it can still be handed out to a caller that will use it in a moment. */
export function isUsableToken(token: Token, time: Time): boolean {
  return leftMs(token, time) > token.lifeMs - usableForMs(token.lifeMs);
}

/** The token as it is shown; its expiry stays the same moment, unless the wall clock was set since. */
export function currentOf(token: Token, time: Time): CurrentToken {
  const atFirstMs = Math.floor(token.since.wallMs + token.lifeMs);
  const byNowMs = Math.floor(time.nowMs() + leftMs(token, time));
  const expiresAtMs = Math.abs(byNowMs - atFirstMs) < CLOCKS_AGREE_MS ? atFirstMs : byNowMs;
  return { accessToken: token.access, expiresAtMs, scope: token.scope };
}
