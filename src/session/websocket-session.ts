import { websocketUrlOf } from '../deribit/endpoints.js';
import { isTransientRefusal, type Notification, type Params } from '../deribit/json-rpc.js';
import type { Transport } from '../deribit/transport.js';
import type { WebSocketTransport } from '../deribit/websocket-transport.js';
import { type DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { onAbort } from '../util/on-abort.js';
import { Backoff } from './backoff.js';
import { Cancellation } from './cancellation.js';
import { type Connect, connectAndLogIn, cutError, keepTokenFresh } from './connection.js';
import type { SessionContext } from './context.js';
import type { LoginReason, SessionEvents } from './events.js';
import {
  endOf,
  isCut,
  isFinal,
  isFinalAtFirst,
  isSpentToken,
  mayAskAgain,
  notConnected,
  sessionOver,
  uselessLogin,
} from './failures.js';
import { RequestQueue } from './request-queue.js';
import { type Attempt, ask, type Question, type Recovery, refuseOwnMethods } from './request-retry.js';
import type { AccessToken, Session, SessionRequestOptions } from './session.js';
import { type ChannelListener, Subscriptions } from './subscriptions.js';
import { pause } from './time.js';

/** A connection that lived for so long was a good one: the next attempt after it comes soon. */
const GOOD_CONNECTION_MS = 1_000;

/**
 * A session over WebSocket.
 *
 *      connecting ──> logging in ──> restoring ──> ready          final refusal, or close()
 *       ^    |            |              |           |              from anywhere ──> ended
 *       |    +────────────┴──────────────┴───────────+ cut, busy
 *       +── waiting (backoff) <──────────────────────+
 *
 * `#supervise` is the one loop that moves it, and the one exit. Requests go out in `ready` alone; elsewhere they wait in
 * the line. What belongs to one connection (its watch, its renewals) ends with that connection's own signal.
 */
export class WebSocketSession implements Session {
  readonly kind = 'websocket';
  readonly url: string;
  readonly clientId: string;
  readonly closed: Promise<Error | null>;
  readonly #context: SessionContext;
  readonly #connect: Connect;
  readonly #line: RequestQueue;
  readonly #subscriptions = new Subscriptions();
  readonly #deliver = (notification: Notification) => this.#subscriptions.deliver(notification);
  readonly #backoff: Backoff;
  readonly #end = new AbortController();
  readonly #recovery: Recovery;
  /** Set once, by whatever ends the session: its error, or null for `close()`. */
  #ending: { readonly error: DeribitKeysError | null } | null = null;
  readonly #opened: Promise<void>;
  #onOpened: (() => void) | null = null;
  #transport: WebSocketTransport | null = null;

  constructor(context: SessionContext, connect: Connect) {
    this.#context = context;
    this.#connect = connect;
    this.url = websocketUrlOf(context.endpoint.url);
    this.clientId = context.clientId;
    this.#line = new RequestQueue(context.time, context.queueLimit);
    this.#backoff = new Backoff(context.options.backoff ?? {}, context.random);
    this.#recovery = {
      end: this.#end.signal,
      requireOpen: () => {
        if (this.#ending !== null) throw this.#over();
      },
      onFailure: (error) => {
        if (isDeribitKeysError(error, 'ERR_WRONG_ENVIRONMENT')) this.#begin(error);
      },
      replaceToken: (generation) => this.#replaceToken(generation),
    };
    this.#opened = new Promise((resolve) => {
      this.#onOpened = resolve;
    });
    this.closed = this.#supervise();
  }

  /** Resolves when the session is ready for the first time. Throws why it could not be; it has ended then. */
  async open(): Promise<void> {
    const { signal } = this.#context.options;
    const close = () => void this.close();
    if (signal?.aborted) close();
    void this.closed.then(onAbort(signal, close));
    const ended = this.closed.then((error) => {
      throw endOf(error, 'opening the session');
    });
    ended.catch(() => {});
    await Promise.race([this.#opened, ended]);
  }

  get clockOffsetMs(): number | null {
    return this.#context.clock.reading?.offsetMs ?? null;
  }

  async request<T = unknown>(method: string, params: Params = {}, options: SessionRequestOptions = {}): Promise<T> {
    refuseOwnMethods(method);
    const question: Question = {
      method,
      send: (attempt) => this.#send(method, params, attempt),
      mayRepeat: (error) => mayAskAgain(method, error),
    };
    return (await ask(this.#context, this.#recovery, question, options)) as T;
  }

  async accessToken(): Promise<string> {
    return (await this.token()).accessToken;
  }

  async token(): Promise<AccessToken> {
    this.#recovery.requireOpen();
    await this.#readyLine('the access token', this.#context.timeoutMs, undefined);
    // an open line has a token that has not expired
    return this.#context.tokens.reveal() ?? this.token();
  }

  async subscribe(channels: string | readonly string[], listener: ChannelListener): Promise<() => Promise<void>> {
    const wanted = [...new Set(typeof channels === 'string' ? [channels] : channels)];
    const own: ChannelListener = (message) => listener(message);
    this.#recovery.requireOpen();
    this.#subscriptions.add(wanted, own);
    const stop = async () => {
      this.#subscriptions.remove(wanted, own);
      // its listener is gone whatever the exchange says
      if (this.#line.current !== null) await this.#reconcile().catch(() => {});
    };
    try {
      const refused = await this.#reconcile();
      const [first] = wanted.flatMap((channel) => refused.get(channel) ?? []);
      if (first !== undefined) throw first;
      return stop;
    } catch (error) {
      await stop();
      throw error;
    }
  }

  on<Name extends keyof SessionEvents>(name: Name, listener: (event: SessionEvents[Name]) => void): () => void {
    return this.#context.events.on(name, listener);
  }

  off<Name extends keyof SessionEvents>(name: Name, listener: (event: SessionEvents[Name]) => void): void {
    this.#context.events.off(name, listener);
  }

  async close(): Promise<void> {
    this.#begin(null);
    await this.closed;
  }

  async #supervise(): Promise<DeribitKeysError | null> {
    // whoever made the session has it in hand before anything happens
    await null;
    const { time, events, openWithinMs } = this.#context;
    const startMs = time.monotonicMs();
    let lostMs = startMs;
    let attempts = 0;
    while (this.#ending === null) {
      const isFirst = this.#onOpened !== null;
      let readyMs: number | null = null;
      attempts += 1;
      const failure = await this.#live(isFirst ? 'open' : 'reconnect', () => {
        readyMs = time.monotonicMs();
        if (!isFirst) events.emit('reconnect', { attempts, awayMs: readyMs - lostMs });
        this.#onOpened?.();
        this.#onOpened = null;
      });
      if (this.#ending !== null) break;
      const nowMs = time.monotonicMs();
      if (readyMs !== null) {
        lostMs = nowMs;
        attempts = 0;
        if (nowMs - readyMs >= GOOD_CONNECTION_MS) this.#backoff.reset();
      }
      const retryInMs = this.#backoff.next();
      const neverOpened = this.#onOpened !== null;
      const late = neverOpened && nowMs - startMs + retryInMs > openWithinMs;
      if (late || (neverOpened ? isFinalAtFirst(failure) : isFinal(failure))) {
        this.#begin(failure);
        break;
      }
      events.emit('disconnect', { error: failure, attempt: attempts, retryInMs });
      await pause(time, retryInMs, this.#end.signal);
    }
    const error = this.#ending?.error ?? null;
    this.#subscriptions.clear();
    events.emit('closed', { error });
    events.release();
    return error;
  }

  /** One connection from its beginning to its end. Gives why it ended. */
  async #live(reason: LoginReason, onReady: () => void): Promise<DeribitKeysError> {
    const stop = new Cancellation();
    const forget = onAbort(this.#end.signal, () => stop.fire());
    try {
      const transport = await this.#comeUp(reason, stop);
      onReady();
      this.#line.open(transport);
      const renewing = keepTokenFresh(this.#context, transport, stop);
      renewing.catch((error: unknown) => (isFinal(error) ? this.#begin(error) : this.#drop(transport)));
      const { code } = await transport.closed;
      return cutError(this.url, code);
    } catch (error) {
      return endOf(error, '');
    } finally {
      forget();
      stop.fire();
      await this.#goDown();
    }
  }

  /** Connects, logs in and restores the subscriptions, when it is this session's turn. */
  async #comeUp(reason: LoginReason, stop: Cancellation): Promise<WebSocketTransport> {
    const { signal } = this.#end;
    const endTurn = await this.#context.scheduler.connectTurn(signal);
    try {
      if (this.#ending !== null) throw this.#over();
      this.#transport = await connectAndLogIn(this.#context, this.#connect, reason, signal, stop, this.#deliver);
      await this.#restore(this.#transport);
      return this.#transport;
    } finally {
      endTurn();
    }
  }

  /** Nothing is left of the connection: its requests, its token, its channels, its socket. */
  async #goDown(): Promise<void> {
    this.#line.hold();
    this.#context.tokens.forget();
    this.#subscriptions.forget();
    await this.#transport?.close();
    this.#transport = null;
  }

  async #restore(transport: Transport): Promise<void> {
    const refused = await this.#subscriptions.reconcile(transport).catch((error: unknown) => {
      throw isSpentToken(error) ? uselessLogin(error) : error;
    });
    const [first] = refused.values();
    if (first !== undefined) {
      this.#context.events.emit('unsubscribed', { channels: [...refused.keys()], error: first });
    }
  }

  /** Decides that the session ends, and why; `#supervise` then ends it. */
  #begin(error: unknown): void {
    if (this.#ending !== null) return;
    this.#ending = { error: error === null ? null : endOf(error, '') };
    this.#line.close(() => this.#over());
    this.#end.abort();
  }

  #over(): DeribitKeysError {
    return sessionOver(this.#ending?.error ?? null);
  }

  /** Gives up a connection that is closed or of no use; the next one comes by `#supervise`. */
  #drop(line: Transport): void {
    if (this.#line.current === line) this.#line.hold();
    void line.close();
  }

  /** A connection that is logged in, with a token that has not expired: neither sleep nor a late timer may hide that. */
  #readyLine(what: string, timeoutMs: number, signal: AbortSignal | undefined): Promise<Transport> {
    const line = this.#line.current;
    if (line !== null && !this.#context.tokens.isValid) this.#drop(line);
    return this.#line.wait({ what, timeoutMs, signal });
  }

  /** Runs `work` on a connection; where that turns out to be closed already, on the next one. */
  async #onLine<T>(what: string, attempt: Attempt, work: (line: Transport) => Promise<T>): Promise<T> {
    const startMs = this.#context.time.monotonicMs();
    for (;;) {
      const leftMs = attempt.leftMs - (this.#context.time.monotonicMs() - startMs);
      if (!attempt.queue && this.#line.current === null) throw notConnected(what);
      const line = await this.#readyLine(what, leftMs, attempt.signal);
      attempt.generation = this.#context.tokens.generation;
      try {
        return await work(line);
      } catch (error) {
        if (!isDeribitKeysError(error, 'ERR_CONNECTION_CLOSED')) throw error;
        this.#drop(line);
        if (error.maybeSent !== false || !attempt.queue) throw error;
      }
    }
  }

  #send(method: string, params: Params, attempt: Attempt): Promise<unknown> {
    const startMs = this.#context.time.monotonicMs();
    return this.#onLine(method, attempt, (line) => {
      const timeoutMs = Math.max(1, attempt.leftMs - (this.#context.time.monotonicMs() - startMs));
      return line.request(
        method,
        params,
        attempt.signal === undefined ? { timeoutMs } : { timeoutMs, signal: attempt.signal },
      );
    });
  }

  /** Brings the subscriptions of the connection in line with what is wanted, however many connections that takes. */
  async #reconcile(): Promise<ReadonlyMap<string, DeribitKeysError>> {
    const method = 'private/subscribe';
    const question: Question = {
      method,
      send: (attempt) => this.#onLine(method, attempt, (line) => this.#subscriptions.reconcile(line)),
      mayRepeat: (error) => isTransientRefusal(error) || (isCut(error) && error.maybeSent === true),
    };
    const answer = await ask(this.#context, this.#recovery, question, {});
    return answer as ReadonlyMap<string, DeribitKeysError>;
  }

  async #replaceToken(generation: number): Promise<void> {
    const line = this.#line.current;
    if (line === null || this.#context.tokens.generation !== generation) return;
    try {
      await this.#context.tokens.signIn(line, 'unauthorized');
    } catch (error) {
      if (!isFinal(error)) return this.#drop(line);
      this.#begin(error);
      throw this.#over();
    }
  }
}
