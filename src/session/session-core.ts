import type { ExchangeClock } from '../deribit/clock.js';
import type { ConnectOptions } from '../deribit/connect-options.js';
import type { Endpoint } from '../deribit/endpoints.js';
import type { Params } from '../deribit/json-rpc.js';
import { checkRequest, type Transport } from '../deribit/transport.js';
import { DeribitKeysError, isDeribitKeysError, usageError } from '../errors.js';
import { onAbort, requireObject } from '../util/checks.js';
import { defined } from '../util/defined.js';
import { endOf, isFinal, isFinalAtFirst, mayAskAgain, sessionOver } from './failures.js';
import type { CreditPool, Scheduler } from './rate-limits.js';
import {
  type AnswerTimes,
  type Attempt,
  type PendingRequest,
  type RequestContext,
  refuseOwnMethods,
  sendRequest,
} from './requests.js';
import type {
  AccessToken,
  CloseOptions,
  Emitter,
  Session,
  SessionEvents,
  SessionOptions,
  SessionRequestOptions,
} from './session.js';
import type { ChannelListener } from './subscriptions.js';
import { Backoff, type Time } from './time.js';
import type { TokenManager } from './token-manager.js';

/** Checked options with every default filled in, and what is made of them. */
export interface SessionContext {
  readonly endpoint: Endpoint;
  readonly options: Omit<SessionOptions, 'clientId' | 'signer'>;
  readonly connectOptions: ConnectOptions;
  readonly timeoutMs: number;
  readonly openWithinMs: number;
  readonly heartbeatS: number;
  readonly queueLimit: number;
  readonly time: Time;
  readonly random: () => number;
  readonly events: Emitter<SessionEvents>;
  readonly clock: ExchangeClock;
  readonly scheduler: Scheduler;
  readonly credits: CreditPool | null;
  readonly answers: AnswerTimes;
  readonly tokens: TokenManager;
}

/** Long enough for `private/logout`, which the exchange answers by closing. */
const LOGOUT_MS = 2_000;

/** What sessions over WebSocket and over HTTP have in common: events, the clock, requests, and how they end. */
export abstract class SessionCore implements Session {
  abstract readonly kind: 'websocket' | 'http';
  abstract readonly url: string;
  readonly closed: Promise<Error | null>;
  protected readonly context: SessionContext;
  /** Between attempts to connect or log in. */
  protected readonly backoff: Backoff;
  readonly #end = new AbortController();
  readonly #requests: RequestContext;
  #settleClosed: (error: Error | null) => void = () => {};
  /** Set once, by whatever ends the session: its error, or null for `close()`. */
  #ending: { readonly error: DeribitKeysError | null } | null = null;
  #firstAttemptMs: number | null = null;

  constructor(context: SessionContext) {
    this.context = context;
    this.backoff = new Backoff(context.options.backoff ?? {}, context.random);
    this.closed = new Promise((resolve) => {
      this.#settleClosed = resolve;
    });
    this.#requests = {
      ...context,
      ended: this.ended,
      mostTokens: context.tokens.attempts,
      requireOpen: () => this.requireOpen(),
      onFailure: (error) => {
        if (isDeribitKeysError(error, 'ERR_WRONG_ENVIRONMENT')) this.end(error);
      },
      replaceToken: (generation) => this.replaceToken(generation),
    };
  }

  /** Resolves when the session is ready for the first time. @throws the reason why it has ended otherwise */
  abstract open(): Promise<void>;
  abstract token(): Promise<AccessToken>;
  abstract subscribe(channels: string | readonly string[], listener: ChannelListener): Promise<() => Promise<void>>;

  /** Sends one request, without repeating it. */
  protected abstract send(method: string, params: Params, attempt: Attempt): Promise<unknown>;
  /** Makes sure that there is a newer token than that of `generation`. */
  protected abstract replaceToken(generation: number): Promise<void>;
  /** Called once when the session is to end; `finish` must be called when nothing of it is left. */
  protected abstract onEnding(): void;
  /** The transport that could log out now, or null. */
  protected abstract readonly transport: Transport | null;

  get clientId(): string {
    return this.context.tokens.clientId;
  }

  get clockOffsetMs(): number | null {
    return this.context.clock.reading?.offsetMs ?? null;
  }

  async request<T = unknown>(method: string, given: Params = {}, options: SessionRequestOptions = {}): Promise<T> {
    const caller = rememberCaller();
    try {
      const { params } = checkRequest(given, defined(requireObject('the options of a request', options ?? {})));
      refuseOwnMethods(method);
      const mayRepeat = (error: unknown) => mayAskAgain(method, error) || this.wasUnsent(error);
      const request = { method, mayRepeat, send: (attempt: Attempt) => this.send(method, params, attempt) };
      return (await this.sendRequest(request, options ?? {})) as T;
    } catch (error) {
      throw withFrames(error, caller);
    }
  }

  async accessToken(): Promise<string> {
    return (await this.token()).accessToken;
  }

  on<Name extends keyof SessionEvents>(name: Name, listener: (event: SessionEvents[Name]) => void): () => void {
    if (typeof listener !== 'function') throw usageError('the listener is not a function', 'give a function');
    return this.context.events.on(name, listener);
  }

  off<Name extends keyof SessionEvents>(name: Name, listener: (event: SessionEvents[Name]) => void): void {
    this.context.events.off(name, listener);
  }

  async close({ logout = false }: CloseOptions = {}): Promise<void> {
    if (logout && this.#ending === null) {
      const { tokens } = this.context;
      const accessToken = this.kind === 'http' ? tokens.current()?.accessToken : undefined;
      const params = { invalidate_token: !tokens.isShared };
      // a WebSocket is closed as the answer
      await this.transport
        ?.request('private/logout', params, defined({ timeoutMs: LOGOUT_MS, accessToken }))
        .catch(() => {});
    }
    this.end(null);
    await this.closed;
  }

  /** Fires when the session is to end. */
  protected get ended(): AbortSignal {
    return this.#end.signal;
  }

  protected get isEnding(): boolean {
    return this.#ending !== null;
  }

  /** What requests are rejected with once the session has ended. */
  protected over(): DeribitKeysError {
    return sessionOver(this.#ending?.error ?? null);
  }

  /** @throws where the session has ended */
  protected requireOpen(): void {
    if (this.#ending !== null) throw this.over();
  }

  protected sendRequest(request: PendingRequest, options: SessionRequestOptions): Promise<unknown> {
    return sendRequest(this.#requests, request, options);
  }

  /** Whether a request failed before anything was sent, and may simply be sent again. */
  protected wasUnsent(_error: unknown): boolean {
    return false;
  }

  /** Decides that the session ends, and why: null for its owner. */
  protected end(error: unknown): void {
    if (this.#ending !== null) return;
    this.#ending = { error: error === null ? null : endOf(error, '') };
    this.#end.abort();
    this.context.tokens.end();
    this.onEnding();
  }

  /** The session has ended: notifies its owner. */
  protected finish(): void {
    const error = this.#ending?.error ?? null;
    this.context.events.emit('closed', { error });
    this.context.events.release();
    this.#settleClosed(error);
  }

  /** Ends the session when the signal of its options fires. */
  protected followSignal(): void {
    const { signal } = this.context.options;
    const close = () => this.end(null);
    if (signal?.aborted) close();
    void this.closed.then(onAbort(signal, close));
  }

  /** The error with which opening fails once the session has ended. */
  protected openingError(): DeribitKeysError {
    return endOf(this.#ending?.error ?? null, 'opening the session');
  }

  /** Called when it is the session's turn to connect or log in. Returns when that was first, where `openWithinMs` begins. */
  protected beginAttempt(): number {
    this.#firstAttemptMs ??= this.context.time.monotonicMs();
    return this.#firstAttemptMs;
  }

  /**
   * How long to wait after a failed attempt to connect or log in; ends the session and returns null where no other
   * attempt is worth it. The first login is attempted for `openWithinMs` only.
   */
  protected nextAttemptMs(failure: unknown, { isFirst }: { readonly isFirst: boolean }): number | null {
    const waitMs = this.backoff.next();
    const { time, openWithinMs } = this.context;
    const isLate = isFirst && time.monotonicMs() - this.beginAttempt() + waitMs > openWithinMs;
    if (!isLate && !(isFirst ? isFinalAtFirst(failure) : isFinal(failure))) return waitMs;
    this.end(failure);
    return null;
  }
}

/**
 * Remembers who calls the session, for errors that come out of a timer or a socket later. The stack is written out only
 * when it is read.
 */
export function rememberCaller(): { readonly stack?: string } {
  if (typeof Error.captureStackTrace !== 'function') return new Error();
  const caller: { stack?: string } = {};
  Error.captureStackTrace(caller, rememberCaller);
  return caller;
}

const withCaller = new WeakSet<Error>();

/** Adds the frames of `caller` to the stack of `error`, once. */
export function withFrames(error: unknown, { stack: frames = '' }: { readonly stack?: string }): unknown {
  if (!(error instanceof DeribitKeysError) || withCaller.has(error)) return error;
  withCaller.add(error);
  const lines = frames.split('\n').filter((line) => /^\s+at |@/.test(line));
  // the first is the session's own method
  const [first, ...rest] = lines.slice(1);
  const { stack = '' } = error;
  if (first !== undefined && !stack.includes(first)) error.stack = [stack, first, ...rest].join('\n');
  return error;
}
