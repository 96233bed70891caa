import { websocketUrlOf } from '../deribit/endpoints.js';
import { isTransientRefusal, type Notification, type Params } from '../deribit/json-rpc.js';
import { timeoutError } from '../deribit/network-errors.js';
import type { Transport } from '../deribit/transport.js';
import type { WebSocketTransport } from '../deribit/websocket-transport.js';
import { type DeribitKeysError, isDeribitKeysError, usageError } from '../errors.js';
import { onAbort } from '../util/checks.js';
import { defined } from '../util/defined.js';
import { type Connect, connectAndLogIn, cutError, keepTokenFresh } from './connection.js';
import { endOf, isCut, isFinal, isSpentToken, notConnected, uselessLogin } from './failures.js';
import { type Attempt, RequestQueue, timeoutToSend } from './requests.js';
import type { AccessToken, LoginReason } from './session.js';
import { rememberCaller, type SessionContext, SessionCore, withFrames } from './session-core.js';
import { type ChannelListener, Subscriptions } from './subscriptions.js';
import { Cancellation, pause } from './time.js';

/** After a connection that lived this long, the next attempt comes soon. */
const GOOD_CONNECTION_MS = 1_000;

/**
 * A session over WebSocket.
 *
 *      connecting ──> logging in ──> restoring ──> ready          final refusal, or close()
 *       ^    |            |              |           |              from anywhere ──> ended
 *       |    +────────────┴──────────────┴───────────+ cut, busy
 *       +── waiting (backoff) <──────────────────────+
 *
 * `#supervise` is the one loop that moves it, and the one exit. Requests go out in `ready` only; elsewhere they wait in
 * the queue. What belongs to one connection (its heartbeat, its renewals) ends with that connection's own signal.
 */
export class WebSocketSession extends SessionCore {
  readonly kind = 'websocket';
  readonly url: string;
  readonly #connect: Connect;
  readonly #queue: RequestQueue;
  readonly #subscriptions = new Subscriptions();
  readonly #deliver = (notification: Notification) => this.#subscriptions.deliver(notification);
  readonly #opened: Promise<void>;
  #onOpened: (() => void) | null = null;
  #isResubscribing = false;
  protected transport: WebSocketTransport | null = null;

  constructor(context: SessionContext, connect: Connect) {
    super(context);
    this.#connect = connect;
    this.url = websocketUrlOf(context.endpoint.url);
    this.#queue = new RequestQueue(context.time, context.queueLimit);
    this.#opened = new Promise((resolve) => {
      this.#onOpened = resolve;
    });
    void this.#supervise();
  }

  async open(): Promise<void> {
    this.followSignal();
    const ended = this.closed.then(() => {
      throw this.openingError();
    });
    ended.catch(() => {});
    await Promise.race([this.#opened, ended]);
  }

  async token(): Promise<AccessToken> {
    this.requireOpen();
    await this.#readyLine('the access token', this.context.timeoutMs, undefined);
    const token = this.context.tokens.current();
    // a ready connection has a token that has not expired
    return token === null ? this.token() : { ...token, accessToken: token.accessToken.reveal() };
  }

  async subscribe(channels: string | readonly string[], listener: ChannelListener): Promise<() => Promise<void>> {
    const caller = rememberCaller();
    const given = typeof channels === 'string' ? [channels] : channels;
    const areNames = Array.isArray(given) && given.every((name) => typeof name === 'string' && name !== '');
    if (typeof listener !== 'function' || !areNames) {
      throw usageError(
        'subscribe takes channel names and a function',
        "for example subscribe('ticker.BTC-PERPETUAL.100ms', ({ data }) => …)",
      );
    }
    const wanted = [...new Set(given)];
    const own: ChannelListener = (message) => listener(message);
    this.requireOpen();
    this.#subscriptions.add(wanted, own);
    const stop = async () => {
      this.#subscriptions.remove(wanted, own);
      // its listener is gone whatever the exchange says
      if (this.#queue.current !== null) await this.#reconcile().catch(() => {});
    };
    try {
      const refused = await this.#reconcile();
      const [first] = wanted.flatMap((channel) => refused.get(channel) ?? []);
      if (first !== undefined) throw first;
      return stop;
    } catch (error) {
      // a silent exchange must not be waited for twice
      void stop();
      throw withFrames(error, caller);
    }
  }

  protected send(method: string, params: Params, attempt: Attempt): Promise<unknown> {
    const { time, answers } = this.context;
    const { signal } = attempt;
    return this.#onLine(method, attempt, async (line) => {
      const timeoutMs = timeoutToSend(method, attempt);
      const startMs = time.monotonicMs();
      try {
        return await line.request(method, params, defined({ timeoutMs, signal }));
      } finally {
        answers.learn(time.monotonicMs() - startMs);
      }
    });
  }

  protected async replaceToken(generation: number): Promise<void> {
    const line = this.#queue.current;
    if (line === null || this.context.tokens.generation !== generation) return;
    try {
      await this.context.tokens.signIn(line, 'unauthorized');
      this.#onRenewed();
    } catch (error) {
      if (!isFinal(error)) return this.#drop(line);
      this.end(error);
      throw this.over();
    }
  }

  protected onEnding(): void {
    this.#queue.close(() => this.over());
  }

  async #supervise(): Promise<void> {
    // whoever made the session has it in hand before anything happens
    await null;
    const { time, events } = this.context;
    let lostMs = time.monotonicMs();
    let attempts = 0;
    while (!this.isEnding) {
      const isFirst = this.#onOpened !== null;
      let readyMs: number | null = null;
      attempts += 1;
      const failure = await this.#live(isFirst ? 'open' : 'reconnect', () => {
        readyMs = time.monotonicMs();
        if (!isFirst) events.emit('reconnect', { attempts, awayMs: readyMs - lostMs });
        this.#onOpened?.();
        this.#onOpened = null;
      });
      if (this.isEnding) break;
      const nowMs = time.monotonicMs();
      if (readyMs !== null) {
        lostMs = nowMs;
        attempts = 0;
        if (nowMs - readyMs >= GOOD_CONNECTION_MS) this.backoff.reset();
      }
      const retryInMs = this.nextAttemptMs(failure, { isFirst: this.#onOpened !== null });
      if (retryInMs === null) break;
      events.emit('disconnect', { error: failure, attempt: attempts, retryInMs });
      await pause(time, retryInMs, this.ended);
    }
    this.#subscriptions.clear();
    this.finish();
  }

  /** One connection from its beginning to its end. Returns why it ended. */
  async #live(reason: LoginReason, onReady: () => void): Promise<DeribitKeysError> {
    const stop = new Cancellation();
    const forget = onAbort(this.ended, () => stop.fire());
    try {
      const transport = await this.#comeUp(reason, stop);
      onReady();
      this.#queue.open(transport);
      const renewing = keepTokenFresh(this.context, transport, { stop, onRenewed: () => this.#onRenewed() });
      renewing.catch((error: unknown) => (isFinal(error) ? this.end(error) : this.#drop(transport)));
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

  /** Connects, logs in and restores what the session keeps across connections, when it is this session's turn. */
  async #comeUp(reason: LoginReason, stop: Cancellation): Promise<WebSocketTransport> {
    const { scheduler, options } = this.context;
    const endTurn = await scheduler.connectTurn(this.ended);
    try {
      this.requireOpen();
      this.beginAttempt();
      const login = { connect: this.#connect, reason, end: this.ended, stop, onSubscription: this.#deliver };
      const transport = await connectAndLogIn(this.context, login);
      this.transport = transport;
      const { cancelOnDisconnect: scope } = options;
      if (scope !== undefined) {
        await this.#asLoggedIn(transport, () => transport.request('private/enable_cancel_on_disconnect', { scope }));
      }
      if (!this.#subscriptions.isSettled) await this.#restore(transport);
      return transport;
    } finally {
      endTurn();
    }
  }

  /** Nothing is left of the connection: its requests, its token, its channels, its socket. */
  async #goDown(): Promise<void> {
    this.#queue.hold();
    this.context.tokens.forget();
    this.#subscriptions.forget();
    await this.transport?.close();
    this.transport = null;
  }

  async #restore(transport: Transport): Promise<void> {
    const refused = await this.#asLoggedIn(transport, () => this.#subscriptions.reconcile(transport));
    const [first] = refused.values();
    if (first !== undefined) {
      this.context.events.emit('unsubscribed', { channels: [...refused.keys()], error: first });
    }
  }

  /** 13009 right after a login is not a refused login, which would be final. A token from a store is replaced. */
  async #asLoggedIn<T>(transport: Transport, work: () => Promise<T>): Promise<T> {
    const { tokens } = this.context;
    for (let left = tokens.isShared ? tokens.attempts : 0; ; left -= 1) {
      try {
        return await work();
      } catch (error) {
        if (!isSpentToken(error)) throw error;
        if (left === 0) throw uselessLogin(error);
        await tokens.signIn(transport, 'unauthorized');
      }
    }
  }

  /** That a private channel outlives the shared token it was asked for with is not documented: all are asked for again. */
  #onRenewed(): void {
    if (!this.context.tokens.isShared || this.#isResubscribing) return;
    this.#isResubscribing = true;
    this.#subscriptions.forget();
    const end = () => {
      this.#isResubscribing = false;
    };
    this.#reconcile().then(end, end);
  }

  /** Gives up a connection that is closed or of no use; `#supervise` opens the next one. */
  #drop(line: Transport): void {
    if (this.#queue.current === line) this.#queue.hold();
    void line.close();
  }

  /** A connection that is logged in, with a token that has not expired: neither sleep nor a late timer may hide that. */
  #readyLine(what: string, withinMs: number, signal: AbortSignal | undefined): Promise<Transport> {
    const line = this.#queue.current;
    if (line !== null && !this.context.tokens.isValid) this.#drop(line);
    return this.#queue.wait({ what, withinMs, signal });
  }

  /** Runs `work` on a connection; where that turns out to be closed already, on the next one. */
  async #onLine<T>(what: string, attempt: Attempt, work: (line: Transport) => Promise<T>): Promise<T> {
    for (;;) {
      if (!attempt.queue && this.#queue.current === null) throw notConnected(what);
      const withinMs = Math.max(0, attempt.leftMs() - attempt.neededMs());
      const line = await this.#readyLine(what, withinMs, attempt.signal);
      attempt.generation = this.context.tokens.generation;
      try {
        return await work(line);
      } catch (error) {
        if (!isDeribitKeysError(error, 'ERR_CONNECTION_CLOSED')) throw error;
        this.#drop(line);
        if (error.maybeSent !== false || !attempt.queue) throw error;
      }
    }
  }

  /** Brings the subscriptions of the connection in line with what is wanted, however many connections that takes. */
  async #reconcile(): Promise<ReadonlyMap<string, DeribitKeysError>> {
    const method = 'private/subscribe';
    const { time } = this.context;
    const send = (attempt: Attempt) =>
      this.#onLine(method, attempt, async (line) => {
        const leftMs = Math.max(1, attempt.leftMs());
        return new Promise<ReadonlyMap<string, DeribitKeysError>>((resolve, reject) => {
          const onTimeout = () => reject(timeoutError(`the answer to ${method}`, leftMs, { maybeSent: true }));
          // it may have to wait for the requests of others, too
          const timer = time.setTimeout(onTimeout, leftMs);
          const work = this.#subscriptions.reconcile(line, leftMs);
          work.then(resolve, reject).finally(() => time.clearTimeout(timer));
        });
      });
    const mayRepeat = (error: unknown) => isTransientRefusal(error) || (isCut(error) && error.maybeSent === true);
    const answer = await this.sendRequest({ method, send, mayRepeat }, {});
    return answer as ReadonlyMap<string, DeribitKeysError>;
  }
}
