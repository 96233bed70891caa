import { DeribitKeysError, usageError } from '../../errors.js';

/** A message of ccxt's WebSocket client. */
export type Message = Readonly<Record<string, unknown>>;

/** One connection of ccxt's. */
export interface CcxtClient {
  readonly url: string;
  readonly subscriptions: Record<string, unknown>;
  resolve(result: unknown, messageHash: string): unknown;
  /** Without `messageHash`, everything that waits is rejected. */
  reject(error: unknown, messageHash?: string): unknown;
  send(message: unknown): Promise<unknown>;
}

interface SignedRequest {
  readonly url: string;
  readonly method: string;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: unknown;
}

type RequestArguments = readonly [path: string, api?: unknown, method?: string, ...rest: unknown[]];

/** What is used of ccxt's class `deribit`, in its REST form and, where `watch` is there, its WebSocket form. */
export interface CcxtExchange {
  readonly id: string;
  readonly version: string;
  readonly urls: { readonly api: { readonly rest: string; readonly ws?: string } };
  readonly exceptions: Readonly<Record<string, unknown>>;
  readonly clients?: Readonly<Record<string, CcxtClient>>;
  apiKey: string;
  secret: string;
  requiredCredentials: Readonly<Record<string, boolean>>;
  sign(...request: RequestArguments): SignedRequest;
  fetch2(...request: RequestArguments): Promise<unknown>;
  fetch(url: string, method: string, headers: Readonly<Record<string, string>>, body: string): Promise<unknown>;
  fetchTime(): Promise<number>;
  authenticate?(params?: unknown): Promise<unknown>;
  handleMessage?(client: CcxtClient, message: Message): unknown;
  requestId?(): number;
  client?(url: string): CcxtClient;
  watch?(url: string, messageHash: string, message: unknown, subscribeHash: string): Promise<unknown>;
}

/** The exchange's connection, where it has a WebSocket form. */
export type CcxtStreaming = CcxtExchange &
  Required<Pick<CcxtExchange, 'authenticate' | 'handleMessage' | 'requestId' | 'client' | 'watch'>>;

const NEEDED = ['sign', 'fetch2', 'fetch', 'fetchTime'] as const;

/** @throws `ERR_USAGE` for anything but an instance of ccxt's `deribit` that has no connection yet */
export function requireCcxt(value: object): CcxtExchange {
  const exchange = value as CcxtExchange;
  const missing = NEEDED.find((name) => typeof exchange[name] !== 'function');
  if (exchange.id !== 'deribit' || missing !== undefined || typeof exchange.urls?.api !== 'object') {
    throw usageError(
      'this is not an exchange object of ccxt for Deribit',
      'give new ccxt.deribit() or new ccxt.pro.deribit()',
    );
  }
  if (Object.keys(exchange.clients ?? {}).length > 0) {
    throw usageError('the exchange object has connections already', 'call withSigner before anything is watched');
  }
  return exchange;
}

/** Whether the object also has the WebSocket form (`ccxt.pro`). */
export function isStreaming(exchange: CcxtExchange): exchange is CcxtStreaming {
  return typeof exchange.watch === 'function' && typeof exchange.urls.api.ws === 'string';
}

type ErrorClass = new (message: string) => Error;

/** A refused login as ccxt's own `AuthenticationError`, for those who catch that; ours is its cause. */
export function asCcxtError(exchange: CcxtExchange, error: unknown): unknown {
  if (!(error instanceof DeribitKeysError)) return error;
  const kind = exchange.exceptions['13004'];
  if (error.code === 'ERR_UNAUTHORIZED' && typeof kind === 'function') {
    const theirs = new (kind as ErrorClass)(`${exchange.id} ${error.message}`);
    theirs.cause = error;
    return theirs;
  }
  // what ccxt's own request threw, where that is why
  for (let cause: unknown = error.cause; cause instanceof Error; cause = cause.cause) {
    if (!(cause instanceof DeribitKeysError)) return cause;
  }
  return error;
}

/** 13009: the request was refused for its token, hence not handled. */
export const SPENT_TOKEN = 13_009;

/** The exchange's error inside one of ccxt's, which shows the complete answer in its message. */
export function failureIn(error: unknown): { readonly code: number; readonly message: string } | null {
  const text = error instanceof Error ? /\{.*\}/s.exec(error.message)?.[0] : undefined;
  if (text === undefined) return null;
  try {
    const value = JSON.parse(text) as { error?: unknown };
    const failure = (value.error ?? value) as { code?: unknown; message?: unknown };
    if (typeof failure.code !== 'number' || typeof failure.message !== 'string') return null;
    return { code: failure.code, message: failure.message };
  } catch {
    return null;
  }
}
