import type { ConnectOptions } from '../deribit/connect-options.js';
import { type Endpoint, httpUrlOf } from '../deribit/endpoints.js';
import { isTransientRefusal, type Params } from '../deribit/json-rpc.js';
import type { Transport } from '../deribit/transport.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { onAbort } from '../util/on-abort.js';
import { Backoff } from './backoff.js';
import type { SessionContext } from './context.js';
import type { SessionEvents } from './events.js';
import { endOf, isCut, isFinal, isFinalAtFirst, mayAskAgain, sessionOver } from './failures.js';
import { type Attempt, ask, type Question, type Recovery, refuseOwnMethods } from './request-retry.js';
import type { AccessToken, Session, SessionRequestOptions } from './session.js';
import { pause } from './time.js';

export type PrepareHttp = (endpoint: Endpoint, options: ConnectOptions) => Transport | Promise<Transport>;

/**
 * A session over HTTP: a token, and requests that carry it. There is no connection to lose and no timer: whoever asks
 * while the token is due has it renewed in passing, and waits for that only where it is about to expire.
 */
export class HttpSession implements Session {
  readonly kind = 'http';
  readonly url: string;
  readonly clientId: string;
  readonly closed: Promise<Error | null>;
  readonly #context: SessionContext;
  readonly #prepare: PrepareHttp;
  readonly #end = new AbortController();
  readonly #recovery: Recovery;
  #settleClosed: (error: Error | null) => void = () => {};
  #ending: { readonly error: DeribitKeysError | null } | null = null;
  #transport: Transport | null = null;

  constructor(context: SessionContext, prepare: PrepareHttp) {
    this.#context = context;
    this.#prepare = prepare;
    this.url = httpUrlOf(context.endpoint.url);
    this.clientId = context.clientId;
    this.closed = new Promise((resolve) => {
      this.#settleClosed = resolve;
    });
    this.#recovery = {
      end: this.#end.signal,
      requireOpen: () => void this.#open(),
      onFailure: (error) => {
        if (isDeribitKeysError(error, 'ERR_WRONG_ENVIRONMENT')) this.#begin(error);
      },
      replaceToken: async (generation) => {
        if (generation === this.#context.tokens.generation) await this.#renewed('unauthorized');
      },
    };
  }

  /** Logs in for the first time. Throws why it could not; the session has ended then. */
  async open(): Promise<void> {
    const { options, time, random, tokens, clock, scheduler, openWithinMs, connectOptions, endpoint } = this.#context;
    const { signal } = options;
    const close = () => void this.close();
    void this.closed.then(onAbort(signal, close));
    const startMs = time.monotonicMs();
    const backoff = new Backoff(options.backoff ?? {}, random);
    for (;;) {
      try {
        if (signal?.aborted) close();
        this.#transport ??= await this.#prepare(endpoint, connectOptions);
        const transport = this.#open();
        await scheduler.loginTurn(this.#end.signal);
        const loggedIn = tokens.signIn(transport, 'open');
        if (!clock.isFresh) tokens.readClock(transport).catch(() => {});
        await loggedIn;
        this.#open();
        return;
      } catch (error) {
        const waitMs = backoff.next();
        const late = time.monotonicMs() - startMs + waitMs > openWithinMs;
        if (this.#ending === null && (late || isFinalAtFirst(error))) this.#begin(error);
        if (this.#ending !== null) throw endOf(this.#ending.error, 'opening the session');
        await pause(time, waitMs, this.#end.signal);
      }
    }
  }

  get clockOffsetMs(): number | null {
    return this.#context.clock.reading?.offsetMs ?? null;
  }

  async request<T = unknown>(method: string, params: Params = {}, options: SessionRequestOptions = {}): Promise<T> {
    refuseOwnMethods(method);
    return (await ask(this.#context, this.#recovery, this.#question(method, params), options)) as T;
  }

  async accessToken(): Promise<string> {
    return (await this.token()).accessToken;
  }

  async token(): Promise<AccessToken> {
    const question: Question = {
      method: 'the access token',
      send: () => this.#token(),
      mayRepeat: (error) => isUnsent(error) || isTransientRefusal(error),
    };
    return (await ask(this.#context, this.#recovery, question, {})) as AccessToken;
  }

  async subscribe(): Promise<() => Promise<void>> {
    throw new DeribitKeysError('ERR_USAGE', 'there are no subscriptions over HTTP', {
      hint: 'open the session with a ws: or wss: URL',
    });
  }

  on<Name extends keyof SessionEvents>(name: Name, listener: (event: SessionEvents[Name]) => void): () => void {
    return this.#context.events.on(name, listener);
  }

  off<Name extends keyof SessionEvents>(name: Name, listener: (event: SessionEvents[Name]) => void): void {
    this.#context.events.off(name, listener);
  }

  async close(): Promise<void> {
    this.#begin(null);
    await this.#transport?.close();
  }

  #question(method: string, params: Params): Question {
    const isPrivate = method.startsWith('private/');
    return {
      method,
      mayRepeat: (error) => mayAskAgain(method, error) || isUnsent(error),
      send: async (attempt: Attempt) => {
        const { leftMs, signal } = attempt;
        const startMs = this.#context.time.monotonicMs();
        const token = isPrivate ? await this.#token() : null;
        attempt.generation = this.#context.tokens.generation;
        const timeoutMs = Math.max(1, leftMs - (this.#context.time.monotonicMs() - startMs));
        return this.#open().request(method, params, {
          timeoutMs,
          ...(token === null ? {} : { accessToken: token.accessToken }),
          ...(signal === undefined ? {} : { signal }),
        });
      },
    };
  }

  /** A token that is valid for a moment to come. */
  async #token(): Promise<AccessToken> {
    const { tokens } = this.#context;
    if (!tokens.isUsable) await this.#renewed('expired');
    else if (tokens.dueInMs === 0) this.#renewed('expired').catch(() => {});
    const token = tokens.reveal();
    if (token === null) throw notLoggedIn(null);
    return token;
  }

  /** Throws with `maybeSent: false`: what the token was wanted for was not sent. */
  async #renewed(reason: 'expired' | 'unauthorized'): Promise<void> {
    const { tokens, clock, scheduler } = this.#context;
    const transport = this.#open();
    const { generation } = tokens;
    try {
      await scheduler.loginTurn(this.#end.signal);
      if (tokens.generation !== generation) return;
      await (reason === 'expired' ? tokens.renew(transport) : tokens.signIn(transport, reason));
      if (!clock.isFresh) tokens.readClock(transport).catch(() => {});
    } catch (error) {
      if (isFinal(error)) this.#begin(error);
      this.#open();
      throw notLoggedIn(error);
    }
  }

  /** Throws where the session has ended. */
  #open(): Transport {
    if (this.#ending !== null || this.#transport === null) throw sessionOver(this.#ending?.error ?? null);
    return this.#transport;
  }

  #begin(error: unknown): void {
    if (this.#ending !== null) return;
    const reason = error === null ? null : endOf(error, '');
    this.#ending = { error: reason };
    this.#end.abort();
    void this.#transport?.close();
    this.#context.events.emit('closed', { error: reason });
    this.#context.events.release();
    this.#settleClosed(reason);
  }
}

/** Whether the network failed before anything was sent. */
function isUnsent(error: unknown): boolean {
  return (isCut(error) || isDeribitKeysError(error, 'ERR_TIMEOUT')) && error.maybeSent === false;
}

/** The request that needed the token was not sent. */
function notLoggedIn(cause: unknown): DeribitKeysError {
  const message = 'the token could not be renewed';
  if (isDeribitKeysError(cause)) return cause.with({ message: `${message}: ${cause.message}`, maybeSent: false });
  return new DeribitKeysError('ERR_UNAUTHORIZED', message, { cause, maybeSent: false });
}
