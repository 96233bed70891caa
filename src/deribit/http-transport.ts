import { platform } from '#platform';
import { DeribitKeysError, isDeribitKeysError, usageError } from '../errors.js';
import { onAbort } from '../util/checks.js';
import { type ConnectOptions, checkConnectOptions, startTimer } from './connect-options.js';
import { type Endpoint, httpUrlOf } from './endpoints.js';
import { changesNothing, decodeFrame, encodeRequest, type Params, protocolError, resultOf } from './json-rpc.js';
import { describeHost, interruptedError, networkError, statusError, timeoutError } from './network-errors.js';
import type { HttpClient, PostAnswer } from './platform/platform.js';
import { checkRequest, type RequestOptions, type Transport } from './transport.js';

interface HttpOptions extends ConnectOptions {
  /** Replaces the platform's HTTP client; `proxy`, `env` and `ca` have no effect then. */
  readonly client?: HttpClient | undefined;
}

/**
 * Prepares requests over HTTP: each is an envelope that is posted once to `<url>/<method>`. Nothing is sent yet.
 * @throws `ERR_USAGE` for bad options
 */
export function openHttp(endpoint: Endpoint, options: HttpOptions = {}): Transport {
  return new HttpPosts(endpoint, options);
}

interface SentRequest {
  readonly id: number;
  readonly method: string;
  readonly params: Params;
}

class HttpPosts implements Transport {
  readonly kind = 'http';
  readonly url: string;
  readonly #expectTestnet: boolean | null;
  readonly #timeoutMs: number;
  readonly #maxReplyBytes: number;
  readonly #host: string;
  readonly #sendsOnce: boolean;
  readonly #newClient: () => Promise<HttpClient>;
  /** What ends each pending request early. */
  readonly #pending = new Set<() => void>();
  #client: Promise<HttpClient> | null = null;
  #closed = false;
  #lastId = 0;

  constructor(endpoint: Endpoint, given: HttpOptions) {
    const options = checkConnectOptions(given);
    const { client, timeoutMs, maxReplyBytes } = options;
    this.url = httpUrlOf(endpoint.url).replace(/\/$/, '');
    this.#expectTestnet = endpoint.expectTestnet;
    this.#timeoutMs = timeoutMs;
    this.#maxReplyBytes = maxReplyBytes;
    const proxy = client === undefined ? platform.proxyFor(this.url, options) : null;
    this.#host = describeHost(this.url, proxy);
    this.#sendsOnce = client !== undefined || platform.sendsOnce;
    this.#newClient = async () => client ?? platform.openHttpClient(this.url, { ...options, host: this.#host, proxy });
  }

  async request(method: string, given?: Params, options?: RequestOptions): Promise<unknown> {
    const { params, signal, timeoutMs = this.#timeoutMs, ...credentials } = checkRequest(given, options);
    const accessToken = credentials.accessToken?.reveal();
    this.#lastId += 1;
    const id = this.#lastId;
    const body = encodeRequest(id, method, params);
    if (!this.#sendsOnce && !changesNothing(method)) throw mayBeRepeated(method);
    const headers = { 'content-type': 'application/json', ...bearer(accessToken) };
    if (this.#closed) throw closedError(false);
    this.#client ??= this.#newClient();
    const client = await this.#client;
    if (this.#closed) throw closedError(false);
    if (signal?.aborted) throw interruptedError(`the request ${method}`, { maybeSent: false });

    const abort = new AbortController();
    let maybeSent = false;
    const end = (reason: DeribitKeysError) => abort.abort(reason);
    const stopListening = onAbort(signal, () => end(interruptedError(`the request ${method}`, { maybeSent })));
    const timer = startTimer(timeoutMs, () => end(timeoutError(`the answer to ${method}`, timeoutMs, { maybeSent })));
    const close = () => end(closedError(maybeSent));
    this.#pending.add(close);
    const startMs = performance.now();
    platform.trace(() => ({ kind: 'request', transport: 'http', method }));
    let outcome = 'ok';
    try {
      const answer = await client.post({
        url: `${this.url}/${method}`,
        headers,
        body,
        maxReplyBytes: this.#maxReplyBytes,
        signal: abort.signal,
        onSending: () => {
          maybeSent = true;
        },
      });
      const sent = accessToken === undefined ? params : { ...params, access_token: accessToken };
      return this.#resultOf(answer, { id, method, params: sent });
    } catch (error) {
      const failure = abort.signal.aborted
        ? (abort.signal.reason as DeribitKeysError)
        : isDeribitKeysError(error)
          ? error
          : networkError(this.#host, error, { maybeSent });
      outcome = failure.rpc === undefined ? failure.code : String(failure.rpc.code);
      throw failure;
    } finally {
      clearTimeout(timer);
      stopListening();
      this.#pending.delete(close);
      const ms = Math.round(performance.now() - startMs);
      platform.trace(() => ({ kind: 'answer', transport: 'http', method, outcome, ms }));
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const close of [...this.#pending]) close();
    const client = this.#client;
    this.#client = null;
    // one that could not be made has already failed the requests that needed it
    await (await client?.catch(() => null))?.close();
  }

  /** Errors come with statuses of all kinds, so the body counts first; the status counts where the body says nothing. */
  #resultOf({ status, body: text }: PostAnswer, { id, method, params }: SentRequest): unknown {
    if (text === null) {
      throw protocolError(`the answer to ${method} is larger than the allowed size`, { maybeSent: true });
    }
    const frame = decodeFrame(text);
    if (frame.kind === 'reply' && (frame.reply.id === null || frame.reply.id === id)) {
      return resultOf({ reply: frame.reply, method, params, expectTestnet: this.#expectTestnet });
    }
    if (status < 200 || status > 299) throw statusError(this.#host, status, { maybeSent: true });
    const other = frame.kind === 'reply' ? 'belongs to another request' : 'is not a reply';
    const problem = frame.kind === 'garbage' ? frame.problem : other;
    throw protocolError(`the answer to ${method} ${problem}`, { maybeSent: true });
  }
}

function closedError(maybeSent: boolean): DeribitKeysError {
  return new DeribitKeysError('ERR_CONNECTION_CLOSED', 'the HTTP transport is closed', {
    hint: 'open another one',
    maybeSent,
  });
}

function mayBeRepeated(method: string): DeribitKeysError {
  return usageError(
    `${method} is not sent over HTTP from here`,
    "a browser's fetch may send a request twice when its connection is cut: use a wss: URL",
  );
}

/** A token that no header can carry is refused here: an HTTP client would repeat it in its complaint. */
function bearer(accessToken: string | undefined): Record<string, string> {
  if (accessToken === undefined) return {};
  if (!/^[\x21-\x7e]+$/.test(accessToken)) {
    throw usageError(`the access token (${accessToken.length} characters) is not printable ASCII`, 'log in again');
  }
  return { authorization: `Bearer ${accessToken}` };
}
