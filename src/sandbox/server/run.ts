import { authorize, type Credentials, requireScope } from '../core/access.js';
import {
  errorOf,
  invalidCredentials,
  methodNotFound,
  orMissingParams,
  RpcError,
  unauthorized,
} from '../core/errors.js';
import { type Call, type Connection, type Exchange, type Method, noAnswer } from '../core/exchange.js';
import { Params } from '../core/params.js';
import { falsify, unexpectedKey } from '../faults/falsify.js';
import { nothingStruck, type Struck } from '../faults/faults.js';
import { exchangeMethods, ownMethods } from '../methods/table.js';
import type { Body, Envelope } from './envelope.js';

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
