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
