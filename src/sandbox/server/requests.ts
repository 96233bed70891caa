import { authorize, type Credentials, requireScope } from '../core/access.js';
import {
  errorOf,
  invalidCredentials,
  invalidParam,
  methodNotFound,
  orMissingParams,
  RpcError,
  unauthorized,
} from '../core/errors.js';
import { type Call, type Connection, type Exchange, type Method, noAnswer } from '../core/exchange.js';
import { isRecord, Params } from '../core/params.js';
import { falsify, unexpectedKey } from '../faults/falsify.js';
import { nothingStruck, type Struck } from '../faults/faults.js';
import { exchangeMethods, ownMethods } from '../methods/table.js';

/** Where a request comes from. */
export interface Origin {
  /** Null for HTTP. */
  readonly connection: Connection | null;
  readonly peer: string;
  readonly credentials: Credentials;
  /** Whether the parameters came in a query string. */
  readonly loose: boolean;
}

/** What a request is answered with, and what the calls say of it. */
export interface Answer {
  /** Null: nothing is answered. */
  readonly body: Body | null;
  readonly label: string;
}

/** A request that may be carried out, or that has its answer already. */
export interface Admitted {
  /** The API key that asks, as far as it is known. */
  readonly clientId: string | null;
  /** The faults that strike its handling. */
  readonly struck: Struck;
  carryOut(): Answer;
}

interface Request {
  readonly exchange: Exchange;
  readonly envelope: Envelope;
  readonly origin: Origin;
  /** The faults that strike it as it comes in. */
  readonly struck: Struck;
}

/** Login, credits, scope and second factor, in this order. Nothing has changed when it returns. */
export function admit({ exchange, envelope, origin, struck: incoming }: Request): Admitted {
  const { method: name, params: values } = envelope;
  const { connection, peer } = origin;
  const { client_id: claimed } = values;
  let clientId = name === 'public/auth' && typeof claimed === 'string' ? claimed : null;
  const settled = (answer: Answer): Admitted => ({ clientId, struck: nothingStruck, carryOut: () => answer });
  const failed = (error: unknown): Answer => {
    const failure = orMissingParams(asRpcError(error), envelope.bare);
    return { body: { error: failure }, label: String(failure.code) };
  };
  try {
    forcedError(incoming);
    const method = methodNamed(exchange, name);
    if (method.websocketOnly === true && connection === null) throw errorOf(10_030);
    const params = new Params(values, origin.loose);
    const call: Call = { params, connection, peer, struck: nothingStruck };
    let handle: (ready: Call) => unknown;
    if (method.kind === 'public') {
      pay(
        exchange,
        name,
        connection?.grant?.key.clientId ?? (connection === null ? `http ${peer}` : `websocket ${connection.id}`),
      );
      handle = (ready) => method.handle(exchange, ready);
    } else {
      const grant = authorize(exchange, call, origin.credentials);
      clientId = grant.key.clientId;
      pay(exchange, name, clientId);
      if (method.needs !== null) requireScope(grant, ...method.needs);
      const challenge = exchange.secondFactor?.check({ method: name, clientId, params }, exchange.now()) ?? null;
      if (challenge !== null) return settled({ body: { result: challenge }, label: 'challenge' });
      handle = (ready) => method.handle(exchange, { ...ready, grant });
    }
    const struck = exchange.faults.strike('handling', name, values);
    const ready = { ...call, struck, params: swapKey(params, struck) };
    const carryOut = (): Answer => {
      try {
        const result = handle(ready);
        if (result === noAnswer) return { body: null, label: 'ok' };
        const falsifying = exchange.faults.strike('answer', name, ready.params.values);
        return { body: { result: falsify(result, falsifying, clientId) }, label: 'ok' };
      } catch (error) {
        return failed(error);
      }
    };
    return { clientId, struck, carryOut };
  } catch (error) {
    return settled(failed(error));
  }
}

function methodNamed(exchange: Exchange, name: string): Method {
  const method = exchangeMethods.get(name) ?? (exchange.settings.faultApi ? ownMethods.get(name) : undefined);
  if (method !== undefined) return method;
  exchange.remark('unknown-method', name);
  throw methodNotFound();
}

function pay(exchange: Exchange, method: string, owner: string): void {
  if (!method.startsWith('sandbox/')) exchange.credits?.pay(owner, exchange.now());
}

/** The error that the exchange answers for whatever was thrown. */
export function asRpcError(error: unknown): RpcError {
  return error instanceof RpcError ? error : new RpcError(-32_603, 'Internal error', { reason: String(error) });
}

function forcedError(struck: Struck): void {
  if (struck.has('error')) throw errorOf(Number(struck.get('error')));
  if (struck.has('refuse-login')) throw invalidCredentials();
  if (struck.has('refuse-refresh')) throw unauthorized();
}

function swapKey(params: Params, struck: Struck): Params {
  const isSwapped = struck.has('swap-key') && 'public_key' in params.values;
  return isSwapped ? params.with({ public_key: unexpectedKey() }) : params;
}

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
