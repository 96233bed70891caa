import { DeribitKeysError, type ErrorDetails, isDeribitKeysError, type RpcFailure, usageError } from '../errors.js';
import { isRecord, parseJsonObject } from '../util/checks.js';
import { defined } from '../util/defined.js';
import { RPC_CODES } from './rpc-codes.js';

/** The parameters of a request: named ones only. */
export type Params = Readonly<Record<string, unknown>>;

/** A message that the exchange sends on its own account, such as a heartbeat. */
export interface Notification {
  readonly method: string;
  readonly params: Params;
}

/** A reply, its envelope checked. `id` is null where the exchange could not tell which request it answers. */
export interface Reply {
  readonly id: number | null;
  readonly testnet: boolean | null;
  readonly outcome: { readonly result: unknown } | { readonly error: RpcFailure };
}

/** What a frame turned out to be. */
type Frame =
  | { readonly kind: 'reply'; readonly reply: Reply }
  | { readonly kind: 'notification'; readonly notification: Notification }
  /** No JSON-RPC; `id` where it at least says what it answers. */
  | { readonly kind: 'garbage'; readonly id: number | null; readonly problem: string };

/** Deribit's methods, and those of the sandbox that no exchange has. */
const METHOD = /^(public|private|sandbox)\/[a-z0-9_]+$/;
const MAX_DATA_DEPTH = 8;
const LOGIN = 'public/auth';
const LOGIN_REFUSALS: readonly number[] = [13004, 13009, 10000];
/** Parameters whose values are never repeated, whoever echoes them. */
const SECRET_PARAMS = ['access_token', 'refresh_token', 'client_secret', 'authorization_data', 'signature'];

/**
 * The text of a request's envelope.
 * @throws `ERR_USAGE` for a method that is not one, and for parameters that JSON cannot hold
 */
export function encodeRequest(id: number, method: string, params: Params): string {
  if (typeof method !== 'string' || !METHOD.test(method)) {
    throw usageError(
      'the method is not of the form public/name or private/name',
      "write it as Deribit's documentation does, such as public/get_time",
    );
  }
  try {
    return JSON.stringify({ jsonrpc: '2.0', id, method, params });
  } catch {
    throw usageError(
      `the parameters of ${method} cannot be written as JSON`,
      'give plain data without cycles or big integers',
    );
  }
}

/** Reads one frame. Never throws; fields that it does not know are passed over. */
export function decodeFrame(text: string): Frame {
  const value = parseJsonObject(text);
  if (typeof value === 'string') return garbage(null, value);
  const id = Number.isSafeInteger(value.id) ? (value.id as number) : null;
  if (value.id !== undefined && value.id !== null && id === null)
    return garbage(null, 'has an id that is not an integer');
  if (typeof value.method === 'string' && id === null) {
    const params = isRecord(value.params) ? value.params : {};
    return { kind: 'notification', notification: { method: value.method, params } };
  }
  const testnet = value.testnet ?? null;
  if (testnet !== null && typeof testnet !== 'boolean') return garbage(id, 'has a testnet flag that is not a boolean');
  if (value.error !== undefined && value.error !== null) {
    const error = readFailure(value.error);
    if (error === null) return garbage(id, 'has an error without a code and a message');
    return { kind: 'reply', reply: { id, testnet, outcome: { error } } };
  }
  if (!Object.hasOwn(value, 'result')) return garbage(id, 'has neither a result nor an error');
  return { kind: 'reply', reply: { id, testnet, outcome: { result: value.result } } };
}

interface ReplyInContext {
  readonly reply: Reply;
  readonly method: string;
  readonly params: Params;
  readonly expectTestnet: boolean | null;
}

/**
 * The result of a reply. Throws `ERR_WRONG_ENVIRONMENT` where its `testnet` flag contradicts `expectTestnet`, error
 * replies included, else what {@link rpcError} makes of an error.
 */
export function resultOf({ reply, method, params, expectTestnet }: ReplyInContext): unknown {
  if (expectTestnet !== null && reply.testnet !== null && reply.testnet !== expectTestnet) {
    const [expected, actual] = expectTestnet ? ['test', 'production'] : ['production', 'test'];
    const message = `the ${actual} exchange answered where ${expected} was expected`;
    throw new DeribitKeysError('ERR_WRONG_ENVIRONMENT', message, {
      hint: 'check the environment and the URL; nothing else should be sent there',
      maybeSent: true,
    });
  }
  if ('error' in reply.outcome) throw rpcError(method, reply.outcome.error, params);
  return reply.outcome.result;
}

/**
 * The error for an error reply: `ERR_UNAUTHORIZED` for 13004 and 13009 (and 10000 for a login), `ERR_SECOND_FACTOR_REFUSED` for 13668, 12998
 * and 13904, else `ERR_RPC`; always with `rpc`, out of which the secrets among `params` and data of absurd depth are taken. Where the exchange
 * itself cannot know whether the request was carried out (10040, 13028 and their like), `maybeSent` is true.
 */
export function rpcError(method: string, failure: RpcFailure, params: Params = {}): DeribitKeysError {
  const rpc = withoutSecrets(failure, params);
  const known = RPC_CODES.get(method === LOGIN && LOGIN_REFUSALS.includes(rpc.code) ? 13004 : rpc.code);
  const wait = waitOf(rpc);
  const hint = wait === null ? known?.hint : `wait ${wait} s before the next attempt`;
  const words = [rpc.code, printable(rpc.message), reasonOf(rpc)].filter((word) => word !== '').join(' ');
  return new DeribitKeysError(known?.code ?? 'ERR_RPC', `the exchange refused ${method}: ${words}`, {
    ...defined({ hint, maybeSent: known?.uncertain ? true : undefined }),
    rpc,
  });
}

/** Methods that change nothing, and may be sent twice. */
const READS = /^(public\/(?!exchange_token$|fork_token$)|private\/(get|list)_)/;

/** Whether a request for `method` changes nothing on the exchange, so that sending it twice does no harm. */
export function changesNothing(method: string): boolean {
  return READS.test(method);
}

/**
 * Whether the exchange refused a login without saying why. It documents 13004 for that, and for a bad or absent
 * signature also 13009 and 10000.
 */
export function isRefusedLogin(error: unknown): error is DeribitKeysError {
  if (!isDeribitKeysError(error, 'ERR_UNAUTHORIZED') || error.rpc === undefined) return false;
  return error.rpc.code === 13004 || (LOGIN_REFUSALS.includes(error.rpc.code) && error.message.includes(LOGIN));
}

/**
 * The error for a request that waits when the exchange reports an error without saying which request it is about. The
 * outcome is unknown, so that nothing is repeated for what the error says.
 */
export function unattributedError(method: string, failure: RpcFailure, params: Params): DeribitKeysError {
  const { message } = rpcError(method, failure, params);
  return new DeribitKeysError(
    'ERR_OUTCOME_UNKNOWN',
    `${message.replace(' refused ', ' may have refused ')}; the error does not say which request it is for`,
    { hint: 'check on the exchange whether it was carried out before sending it again', maybeSent: true },
  );
}

/** Whether the exchange refused for a reason that passes: 10028, 10040, 11051, 13028 and their like. */
export function isTransientRefusal(error: unknown): boolean {
  return isDeribitKeysError(error) && error.rpc !== undefined && RPC_CODES.get(error.rpc.code)?.transient === true;
}

/** The error for an answer that cannot be read. */
export function protocolError(sentence: string, details: Omit<ErrorDetails, 'hint'> = {}): DeribitKeysError {
  return new DeribitKeysError('ERR_PROTOCOL', sentence, {
    hint: "check that the URL is Deribit's JSON-RPC endpoint, and that no proxy or login page is in front of it",
    ...details,
  });
}

function garbage(id: number | null, problem: string): Frame {
  return { kind: 'garbage', id, problem };
}

function readFailure(error: unknown): RpcFailure | null {
  if (!isRecord(error) || !Number.isSafeInteger(error.code) || typeof error.message !== 'string') return null;
  return { code: error.code as number, message: error.message, ...defined({ data: error.data }) };
}

/** `data.reason` and `data.param`, or `data` itself where it is a text, in brackets. */
function reasonOf({ data }: RpcFailure): string {
  if (typeof data === 'string') return data.trim() === '' ? '' : `(${printable(data)})`;
  if (!isRecord(data)) return '';
  const parts = [data.param, data.reason].filter((part) => typeof part === 'string').map(printable);
  return parts.length === 0 ? '' : `(${parts.join(': ')})`;
}

/** The seconds to wait, which 12998 and others carry. */
function waitOf({ data }: RpcFailure): number | null {
  const wait = isRecord(data) ? data.wait : null;
  return typeof wait === 'number' && Number.isFinite(wait) && wait >= 0 ? Math.ceil(wait) : null;
}

/** Text of the exchange, made fit for a terminal: printable ASCII, at most 120 characters. */
function printable(text: string): string {
  const clean = text.replace(/[^\x20-\x7e]+/g, ' ').trim();
  return clean.length > 120 ? `${clean.slice(0, 117)}...` : clean;
}

function withoutSecrets(failure: RpcFailure, params: Params): RpcFailure {
  const secrets = SECRET_PARAMS.map((name) => params[name]).filter(
    (value): value is string => typeof value === 'string' && value !== '',
  );
  const clean = (text: string) => secrets.reduce((rest, secret) => rest.replaceAll(secret, '[secret]'), text);
  const { code, message, data } = failure;
  return { code, message: clean(message), ...defined({ data: mapStrings(data, clean) }) };
}

/** What is nested deeper than any answer of Deribit's becomes null: else nobody could write the error out. */
function mapStrings(value: unknown, map: (text: string) => string, depth = 0): unknown {
  if (typeof value === 'string') return map(value);
  if (typeof value !== 'object' || value === null) return value;
  if (depth > MAX_DATA_DEPTH) return null;
  if (Array.isArray(value)) return value.map((item) => mapStrings(item, map, depth + 1));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [map(name), mapStrings(item, map, depth + 1)]));
}
