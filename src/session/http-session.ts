import type { ConnectOptions } from '../deribit/connect-options.js';
import { type Endpoint, httpUrlOf } from '../deribit/endpoints.js';
import { isTransientRefusal, type Params } from '../deribit/json-rpc.js';
import type { Transport } from '../deribit/transport.js';
import { DeribitKeysError, isDeribitKeysError, usageError } from '../errors.js';
import { defined } from '../util/defined.js';
import { isCut, isFinal } from './failures.js';
import { type Attempt, timeoutToSend } from './requests.js';
import type { AccessToken } from './session.js';
import { type SessionContext, SessionCore } from './session-core.js';
import { pause } from './time.js';
import type { CurrentToken } from './token.js';

/** How many tokens are asked for in a row that have expired when they are to be used. */
const MOST_TOKENS = 3;

type PrepareHttp = (endpoint: Endpoint, options: ConnectOptions) => Transport | Promise<Transport>;

/**
 * A session over HTTP: a token, and requests that carry it. There is no connection to lose and no timer: a request that
 * comes while the token is due has it renewed in passing, and waits for that only where it is about to expire.
 */
export class HttpSession extends SessionCore {
  readonly kind = 'http';
  readonly url: string;
  readonly #prepare: PrepareHttp;
  protected transport: Transport | null = null;

  constructor(context: SessionContext, prepare: PrepareHttp) {
    super(context);
    this.#prepare = prepare;
    this.url = httpUrlOf(context.endpoint.url);
  }

  async open(): Promise<void> {
    const { time, tokens, scheduler, connectOptions, endpoint } = this.context;
    this.followSignal();
    for (;;) {
      try {
        this.requireOpen();
        this.transport ??= await this.#prepare(endpoint, connectOptions);
        const transport = this.#ready();
        await scheduler.loginTurn(this.ended);
        this.beginAttempt();
        const loggedIn = tokens.signIn(transport, 'open');
        tokens.compareClocks(transport);
        await loggedIn;
        this.requireOpen();
        return;
      } catch (error) {
        const waitMs = this.isEnding ? null : this.nextAttemptMs(error, { isFirst: true });
        if (waitMs === null) throw this.openingError();
        await pause(time, waitMs, this.ended);
      }
    }
  }

  async token(): Promise<AccessToken> {
    const token = (await this.sendRequest(
      {
        method: 'the access token',
        send: () => this.#token(),
        mayRepeat: (error) => this.wasUnsent(error) || isTransientRefusal(error),
      },
      {},
    )) as CurrentToken;
    return { ...token, accessToken: token.accessToken.reveal() };
  }

  async subscribe(): Promise<() => Promise<void>> {
    throw usageError('there are no subscriptions over HTTP', 'open the session with a ws: or wss: URL');
  }

  protected async send(method: string, params: Params, attempt: Attempt): Promise<unknown> {
    const { time, answers, tokens } = this.context;
    const token = method.startsWith('private/') ? await this.#token() : null;
    attempt.generation = tokens.generation;
    const timeoutMs = timeoutToSend(method, attempt);
    const startMs = time.monotonicMs();
    const { signal } = attempt;
    const options = defined({ timeoutMs, signal, accessToken: token?.accessToken });
    try {
      return await this.#ready().request(method, params, options);
    } finally {
      answers.learn(time.monotonicMs() - startMs);
    }
  }

  protected override wasUnsent(error: unknown): boolean {
    return (isCut(error) || isDeribitKeysError(error, 'ERR_TIMEOUT')) && error.maybeSent === false;
  }

  protected async replaceToken(generation: number): Promise<void> {
    if (generation === this.context.tokens.generation) await this.#renew('unauthorized');
  }

  protected onEnding(): void {
    void this.transport?.close();
    this.finish();
  }

  /** A token that is valid for a moment to come. */
  async #token(): Promise<CurrentToken> {
    let token: CurrentToken | null = null;
    // one that was found in a store may expire before it is used
    for (let left = MOST_TOKENS; token === null && left > 0; left -= 1) token = await this.#freshToken();
    if (token === null) throw notRenewed(null);
    return token;
  }

  async #freshToken(): Promise<CurrentToken | null> {
    const { tokens } = this.context;
    if (tokens.followMs !== null && (await tokens.hasMoved())) await this.#renew('rotated');
    else if (!tokens.isUsable) await this.#renew('expired');
    else if (tokens.dueInMs === 0) this.#renew('expired').catch(() => {});
    return tokens.current();
  }

  /** @throws with `maybeSent: false`: what the token was needed for was not sent */
  async #renew(reason: 'expired' | 'unauthorized' | 'rotated'): Promise<void> {
    const { tokens, scheduler } = this.context;
    const transport = this.#ready();
    const { generation } = tokens;
    try {
      await scheduler.loginTurn(this.ended);
      if (tokens.generation !== generation) return;
      await (reason === 'expired' ? tokens.renew(transport) : tokens.signIn(transport, reason));
      tokens.compareClocks(transport);
    } catch (error) {
      if (isFinal(error)) this.end(error);
      this.requireOpen();
      throw notRenewed(error);
    }
  }

  /** @throws where the session has ended */
  #ready(): Transport {
    this.requireOpen();
    if (this.transport === null) throw this.over();
    return this.transport;
  }
}

/** The request that needed the token was not sent. */
function notRenewed(cause: unknown): DeribitKeysError {
  const message = 'the token could not be renewed';
  if (isDeribitKeysError(cause)) return cause.with({ message: `${message}: ${cause.message}`, maybeSent: false });
  return new DeribitKeysError('ERR_UNAUTHORIZED', message, { cause, maybeSent: false });
}
