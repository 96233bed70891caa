import { invalidParam, RpcError } from '../core/errors.js';
import { isRecord } from '../core/params.js';

export type RequestId = number | string | null;

/** A JSON-RPC request; `id` is null where it has none. */
export interface Envelope {
  readonly id: RequestId;
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
  /** Whether it has no `params` at all. */
  readonly bare: boolean;
}

/** The largest frame or body, in bytes. */
export const largestRequest = 32_768;

/** -32600: a frame or body of more than 32 kB. */
export function tooLarge(): RpcError {
  return new RpcError(-32_600, 'request entity too large');
}

/** A JSON text's value. @throws RpcError 11050 */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new RpcError(11_050, 'bad_request', 'invalid json');
  }
}

/** The id to answer under, whatever else is wrong with the request. */
export function requestId(value: unknown): RequestId {
  const id = isRecord(value) ? value.id : null;
  return typeof id === 'string' || Number.isSafeInteger(id) ? (id as number | string) : null;
}

/** Reads a JSON-RPC 2.0 request with named parameters. @throws RpcError -32600 (batches too) and -32602 */
export function readEnvelope(value: unknown): Envelope {
  if (!isRecord(value)) throw invalidRequest();
  const { jsonrpc = '2.0', id = null, method, params = {} } = value;
  if (jsonrpc !== '2.0' || typeof method !== 'string' || (id !== null && requestId(value) === null)) {
    throw invalidRequest();
  }
  if (!isRecord(params)) throw invalidParam('params', 'must be named');
  // At least five public clients send `/public/auth`.
  return { id: requestId(value), method: method.replace(/^\//, ''), params, bare: value.params === undefined };
}

/** -32600. */
export function invalidRequest(): RpcError {
  return new RpcError(-32_600, 'Invalid Request');
}

/** When a request arrived, for `usIn` and `usDiff` of its answer. */
export interface Arrival {
  readonly usIn: number;
  readonly startedNs: bigint;
}

export function arrive(nowMs: number): Arrival {
  return { usIn: nowMs * 1000, startedNs: process.hrtime.bigint() };
}

export type Body = { readonly result: unknown } | { readonly error: RpcError };

/** An answer's text. */
export function formatAnswer(
  id: RequestId,
  body: Body,
  { arrival, testnet }: { readonly arrival: Arrival; readonly testnet: boolean },
): string {
  const usDiff = Number((process.hrtime.bigint() - arrival.startedNs) / 1000n);
  return JSON.stringify({
    jsonrpc: '2.0',
    ...(id === null ? {} : { id }),
    ...('error' in body ? { error: describeError(body.error) } : body),
    usIn: arrival.usIn,
    usOut: arrival.usIn + usDiff,
    usDiff,
    testnet,
  });
}

function describeError({ code, message, data }: RpcError): Readonly<Record<string, unknown>> {
  return data === undefined ? { code, message } : { code, message, data };
}
