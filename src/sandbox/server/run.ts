import { authorize, type Credentials, requireScope } from '../core/access.js';
import {
  errorOf,
  invalidCredentials,
  methodNotFound,
  orMissingParams,
  RpcError,
  unauthorized,
} from '../core/errors.js';
import {
  type Call,
  type Connection,
  type Exchange,
  type Method,
  noAnswer,
  type PrivateCall,
} from '../core/exchange.js';
import { Params } from '../core/params.js';
import { falsify, unexpectedKey } from '../faults/falsify.js';
import { nothingStruck, type Struck } from '../faults/faults.js';
import { exchangeMethods, ownMethods } from '../methods/table.js';
import type { Envelope } from './envelope.js';

/** Where a request comes from. */
export interface Origin {
  readonly transport: 'http' | 'websocket';
  readonly connection: Connection | null;
  readonly peer: string;
  readonly credentials: Credentials;
  /** Whether the parameters came in a query string. */
  readonly loose: boolean;
}

type Body = { readonly result: unknown } | { readonly error: RpcError };

/** What a request is answered with, and what the calls say of it. */
export interface Answer {
  /** Null: nothing is answered. */
  readonly body: Body | null;
  readonly label: string;
}

/** A request that may be carried out, or that has its answer already. */
export interface Admitted {
  /** The faults that strike its handling. */
  readonly struck: Struck;
  carryOut(): Answer;
}

/** One request on its way through the rules: admitted, then carried out. */
export class Run {
  readonly #exchange: Exchange;
  readonly #origin: Origin;
  readonly #envelope: Envelope;
  /** The API key that asks, as far as it is known. */
  clientId: string | null = null;

  constructor(exchange: Exchange, envelope: Envelope, origin: Origin) {
    this.#exchange = exchange;
    this.#origin = origin;
    this.#envelope = envelope;
    const { client_id: claimed } = envelope.params;
    if (envelope.method === 'public/auth' && typeof claimed === 'string') this.clientId = claimed;
  }

  /** Login, credits, scope and second factor, in this order. Nothing has changed when it returns. */
  admit(struck: Struck): Admitted {
    try {
      forcedError(struck);
      return this.#admit();
    } catch (error) {
      return this.#settled(this.#failed(error));
    }
  }

  #admit(): Admitted {
    const exchange = this.#exchange;
    const { transport, connection, peer, loose, credentials } = this.#origin;
    const { method: name, params: values } = this.#envelope;
    const method = exchangeMethods.get(name) ?? (exchange.settings.faultApi ? ownMethods.get(name) : undefined);
    if (method === undefined) {
      exchange.remark('unknown-method', name);
      throw methodNotFound();
    }
    if (method.websocketOnly === true && connection === null) throw errorOf(10_030);
    const params = new Params(values, loose);
    const call: Call = { method: name, params, transport, connection, peer, struck: nothingStruck };
    if (method.kind === 'public') {
      this.#pay(connection?.grant?.key.clientId ?? `${transport} ${connection?.id ?? peer}`);
      return this.#admitted(method, call);
    }
    const grant = authorize(exchange, call, credentials);
    this.clientId = grant.key.clientId;
    this.#pay(grant.key.clientId);
    if (method.needs !== null) requireScope(grant, ...method.needs);
    const challenge = exchange.secondFactor?.check({ method: name, clientId: this.clientId, params }, exchange.now());
    if (challenge) return this.#settled({ body: { result: challenge }, label: 'challenge' });
    return this.#admitted(method, { ...call, grant });
  }

  #admitted(method: Method, call: Call | PrivateCall): Admitted {
    const struck = this.#exchange.faults.strike('handling', call.method, call.params.values);
    const ready = { ...call, struck, params: swapKey(call.params, struck) };
    return { struck, carryOut: () => this.#carryOut(method, ready) };
  }

  #carryOut(method: Method, call: Call | PrivateCall): Answer {
    try {
      const exchange = this.#exchange;
      const result =
        method.kind === 'public' ? method.handle(exchange, call) : method.handle(exchange, call as PrivateCall);
      if (result === noAnswer) return { body: null, label: 'ok' };
      const struck = exchange.faults.strike('answer', call.method, call.params.values);
      return { body: { result: falsify(result, struck, this.clientId) }, label: 'ok' };
    } catch (error) {
      return this.#failed(error);
    }
  }

  #settled(answer: Answer): Admitted {
    return { struck: nothingStruck, carryOut: () => answer };
  }

  #failed(error: unknown): Answer {
    const failure = orMissingParams(asRpcError(error), this.#envelope.bare);
    return { body: { error: failure }, label: String(failure.code) };
  }

  #pay(owner: string): void {
    if (!this.#envelope.method.startsWith('sandbox/')) this.#exchange.credits?.pay(owner, this.#exchange.now());
  }
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
