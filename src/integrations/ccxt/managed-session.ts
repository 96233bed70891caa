import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import type { Session } from '../../session/session.js';

/** After a refused login, its error is repeated for this long instead of asking the exchange again. */
const REFUSED_FOR_MS = 5_000;

/**
 * A session that is opened when it is first needed, and again after it has ended: a key that was refused may be enabled
 * again, and callers do not all ask the exchange meanwhile.
 */
export class ManagedSession {
  readonly #open: () => Promise<Session>;
  readonly #nowMs: () => number;
  readonly #refusedForMs: number;
  #session: Promise<Session> | null = null;
  #refusal: { readonly error: DeribitKeysError; readonly atMs: number } | null = null;
  readonly #openings = new WeakMap<Session, Promise<Session>>();
  #isClosed = false;

  /** @param nowMs a clock that never goes back, in milliseconds */
  constructor(
    open: () => Promise<Session>,
    nowMs: () => number = () => performance.now(),
    refusedForMs: number = REFUSED_FOR_MS,
  ) {
    this.#open = open;
    this.#nowMs = nowMs;
    this.#refusedForMs = refusedForMs;
  }

  /** @throws what opening throws; after a refusal the same error for a while */
  get(): Promise<Session> {
    if (this.#isClosed) return Promise.reject(new DeribitKeysError('ERR_CONNECTION_CLOSED', 'the session is closed'));
    const refusal = this.#refusal;
    if (refusal !== null && this.#nowMs() - refusal.atMs < this.#refusedForMs) return Promise.reject(refusal.error);
    this.#refusal = null;
    this.#session ??= this.#start();
    return this.#session;
  }

  /** Ends `session`, unless it was replaced already; the next one is opened when it is needed. */
  async replace(session: Session): Promise<void> {
    if (this.#session === this.#openings.get(session)) this.#session = null;
    await session.close();
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
