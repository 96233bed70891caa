import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { onAbort } from '../util/on-abort.js';
import { type ConnectOptions, DEFAULT_MAX_REPLY_BYTES, DEFAULT_TIMEOUT_MS, startTimer } from './connect-options.js';
import { type Endpoint, httpUrlOf } from './endpoints.js';
import { decodeFrame, encodeRequest, type Params, protocolError, resultOf } from './json-rpc.js';
import { interruptedError, networkError, placeOf, statusError, timeoutError } from './network-errors.js';
import { proxyFor } from './proxy.js';
import type { RequestOptions, Transport } from './transport.js';

/** What this transport uses of the web's `fetch`. */
export type Fetch = (url: string, init: FetchInit) => Promise<FetchResponse>;

export interface FetchInit {
  readonly method: 'POST';
  readonly headers: Record<string, string>;
  readonly body: string;
  readonly redirect: 'manual';
  readonly signal: AbortSignal;
}

export interface FetchResponse {
  readonly status: number;
  readonly body: AsyncIterable<Uint8Array> | null;
}

export interface HttpOptions extends ConnectOptions {
  /** Stands in for the platform's own; then `proxy`, `env` and `ca` are its affair. */
  readonly fetch?: Fetch | undefined;
}

/** A transport without a connection: one POST a request. */
export interface HttpTransport extends Transport {
  readonly kind: 'http';
}

/**
 * Prepares requests over HTTP: each is an envelope posted to `<url>/<method>`. Nothing is sent yet. Throws `ERR_USAGE`
 * for a bad proxy.
 */
export function openHttp(endpoint: Endpoint, options: HttpOptions = {}): HttpTransport {
  return new HttpClient(endpoint, options);
}

class HttpClient implements HttpTransport {
  readonly kind = 'http';
  readonly url: string;
  readonly #expectTestnet: boolean | null;
  readonly #timeoutMs: number;
  readonly #maxReplyBytes: number;
  readonly #place: string;
  readonly #newClient: () => Promise<Client>;
  /** For each request under way, what ends it early. */
  readonly #underWay = new Set<(reason: DeribitKeysError) => void>();
  #client: Promise<Client> | null = null;
  #closed = false;
  #lastId = 0;

  constructor(endpoint: Endpoint, options: HttpOptions) {
    this.url = httpUrlOf(endpoint.url).replace(/\/$/, '');
    this.#expectTestnet = endpoint.expectTestnet;
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#maxReplyBytes = options.maxReplyBytes ?? DEFAULT_MAX_REPLY_BYTES;
    const { fetch: given, ca } = options;
    const proxy = given === undefined ? proxyFor(this.url, options) : null;
    this.#place = placeOf(this.url, proxy);
    this.#newClient = async () => {
      if (given !== undefined) return { fetch: given, close: async () => {} };
      return proxy === null && ca === undefined ? platformClient() : undiciClient(proxy, ca);
    };
  }

  async request(method: string, params: Params = {}, options: RequestOptions = {}): Promise<unknown> {
    const { signal, accessToken, timeoutMs = this.#timeoutMs } = options;
    this.#lastId += 1;
    const id = this.#lastId;
    const body = encodeRequest(id, method, params);
    const headers = { 'content-type': 'application/json', ...bearer(accessToken) };
    if (this.#closed) throw closedError(false);
    this.#client ??= this.#newClient();
    const client = await this.#client;
    if (this.#closed) throw closedError(false);
    if (signal?.aborted) throw interruptedError(`the request ${method}`, { maybeSent: false });

    const abort = new AbortController();
    let ended: DeribitKeysError | null = null;
    const end = (reason: DeribitKeysError) => {
      ended ??= reason;
      abort.abort();
    };
    const stopListening = onAbort(signal, () => end(interruptedError(`the request ${method}`, { maybeSent: true })));
    const onTimeout = () => end(timeoutError(`the answer to ${method}`, timeoutMs, { maybeSent: true }));
    const timer = startTimer(timeoutMs, onTimeout);
    this.#underWay.add(end);
    try {
      const init = { method: 'POST', headers, body, redirect: 'manual', signal: abort.signal } as const;
      const response = await client.fetch(`${this.url}/${method}`, init);
      const text = await this.#read(response, method);
      const sent = accessToken === undefined ? params : { ...params, access_token: accessToken };
      return this.#resultOf(response.status, text, id, method, sent);
    } catch (error) {
      if (isDeribitKeysError(error)) throw error;
      throw ended ?? networkError(this.#place, error, { maybeSent: true });
    } finally {
      clearTimeout(timer);
      stopListening();
      this.#underWay.delete(end);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const end of [...this.#underWay]) end(closedError(true));
    const client = this.#client;
    this.#client = null;
    // One that could not be had has failed the requests that asked for it already.
    await (await client?.catch(() => null))?.close();
  }

  /** Leaving the loop early cancels the rest of the body. */
  async #read(response: FetchResponse, method: string): Promise<string> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of response.body ?? []) {
      size += chunk.length;
      if (size > this.#maxReplyBytes) {
        throw protocolError(`the answer to ${method} is larger than the allowed size`, { maybeSent: true });
      }
      chunks.push(chunk);
    }
    return new TextDecoder().decode(Buffer.concat(chunks));
  }

  /** Errors come with statuses of all kinds, so the body counts first; the status where the body says nothing. */
  #resultOf(status: number, text: string, id: number, method: string, params: Params): unknown {
    const frame = decodeFrame(text);
    if (frame.kind === 'reply' && (frame.reply.id === null || frame.reply.id === id)) {
      return resultOf(frame.reply, method, params, this.#expectTestnet);
    }
    if (status < 200 || status > 299) throw statusError(this.#place, status, { maybeSent: true });
    const problem =
      frame.kind === 'garbage' ? frame.problem : frame.kind === 'reply' ? 'belongs to another request' : 'is no reply';
    throw protocolError(`the answer to ${method} ${problem}`, { maybeSent: true });
  }
}

function closedError(maybeSent: boolean): DeribitKeysError {
  return new DeribitKeysError('ERR_CONNECTION_CLOSED', 'the HTTP transport is closed', {
    hint: 'open another one',
    maybeSent,
  });
}

interface Client {
  readonly fetch: Fetch;
  close(): Promise<void>;
}

function platformClient(): Client {
  return { fetch: (url, init) => fetch(url, init), close: async () => {} };
}

/** undici's own fetch, since the platform's does not take another undici's agents. */
async function undiciClient(proxy: string | null, ca: string | undefined): Promise<Client> {
  const { Agent, fetch: undiciFetch, ProxyAgent } = await import('undici');
  const trust = ca === undefined ? {} : (await import('./trust.js')).trustOf(ca);
  const dispatcher =
    proxy === null ? new Agent({ connect: trust }) : new ProxyAgent({ uri: proxy, requestTls: trust, proxyTls: trust });
  return {
    fetch: (url, init) => undiciFetch(url, { ...init, dispatcher }),
    close: () => dispatcher.destroy(),
  };
}

/** A token that no header can carry is refused here: fetch would repeat it in its complaint. */
function bearer(accessToken: string | undefined): Record<string, string> {
  if (accessToken === undefined) return {};
  if (!/^[\x21-\x7e]+$/.test(accessToken)) {
    throw new DeribitKeysError(
      'ERR_USAGE',
      `the access token (${accessToken.length} characters) is not printable ASCII`,
      {
        hint: 'log in again',
        maybeSent: false,
      },
    );
  }
  return { authorization: `Bearer ${accessToken}` };
}
