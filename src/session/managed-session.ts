import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import type { Session } from './session.js';

/** For so long the reason is repeated for which a login was refused, instead of asking the exchange again. */
const REFUSED_FOR_MS = 5_000;

/**
 * A session that is opened when it is first wanted, and again after it has ended: a key that was refused may be enabled
 * again, and those who ask in vain meanwhile do not all bother the exchange.
 */
export class ManagedSession {
  readonly #open: () => Promise<Session>;
  readonly #nowMs: () => number;
  readonly #refusedForMs: number;
  #session: Promise<Session> | null = null;
  #refusal: { readonly error: DeribitKeysError; readonly atMs: number } | null = null;
  readonly #openings = new WeakMap<Session, Promise<Session>>();
  #isClosed = false;
  #clockOffsetMs = 0;

  /** @param nowMs a clock that never goes back */
  constructor(
    open: () => Promise<Session>,
    nowMs: () => number = () => performance.now(),
    refusedForMs: number = REFUSED_FOR_MS,
  ) {
    this.#open = open;
    this.#nowMs = nowMs;
    this.#refusedForMs = refusedForMs;
  }

  /** Throws what opening throws; after a refusal the same again for a while. */
  get(): Promise<Session> {
    if (this.#isClosed) return Promise.reject(new DeribitKeysError('ERR_CONNECTION_CLOSED', 'it is closed'));
    const refusal = this.#refusal;
    if (refusal !== null && this.#nowMs() - refusal.atMs < this.#refusedForMs) return Promise.reject(refusal.error);
    this.#refusal = null;
    this.#session ??= this.#start();
    return this.#session;
  }

  /** Ends `session`, unless it was replaced already; the next one comes when it is wanted. */
  async replace(session: Session): Promise<void> {
    if (this.#session === this.#openings.get(session)) this.#session = null;
    await session.close();
  }

  /** What to add to our clock for a timestamp: nothing until a session has seen that it is far off. */
  get clockCorrectionMs(): number {
    return this.#clockOffsetMs;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await (await this.#session?.catch(() => null))?.close();
  }

  #start(): Promise<Session> {
    const opening = this.#open();
    opening.then(
      (session) => {
        this.#openings.set(session, opening);
        session.on('clock', ({ corrected, offsetMs }) => {
          this.#clockOffsetMs = corrected ? offsetMs : 0;
        });
        return session.closed.then((error) => this.#ended(error, opening));
      },
      (error: unknown) => this.#ended(error, opening),
    );
    return opening;
  }

  #ended(error: unknown, opening: Promise<Session>): void {
    if (this.#session === opening) this.#session = null;
    if (isDeribitKeysError(error, 'ERR_UNAUTHORIZED')) this.#refusal = { error, atMs: this.#nowMs() };
  }
}
