import { authorize, type Credentials, requireScope } from '../core/access.js';
import { invalidCredentials, methodNotFound, orMissingParams, RpcError, unauthorized } from '../core/errors.js';
import type { Connection } from '../core/exchange.js';
import { type Call, type Exchange, noAnswer } from '../core/exchange.js';
import { onlyOverWebsocket } from '../core/guesses.js';
import { falsify, strangersKey } from '../faults/falsify.js';
import type { Struck } from '../faults/faults.js';
import { exchangeMethods, ownMethods } from '../methods/table.js';
import { type Arrival, arrive, type Envelope, formatAnswer, readEnvelope, requestId } from './envelope.js';

/** Where a request comes from. */
export interface Origin {
  readonly transport: 'http' | 'websocket';
  readonly connection: Connection | null;
  readonly peer: string;
  readonly credentials: Credentials;
  /** Whether the parameters came in a query string. */
  readonly loose: boolean;
}

/** What is to be done with a request's connection and its answer. */
export interface Outcome {
  /** Null: nothing is sent. */
  readonly text: string | null;
  readonly isError: boolean;
  /** The connection is cut. */
  readonly cut: boolean;
  /** The connection is closed after the answer. */
  readonly hangUp: boolean;
  readonly delayMs: number;
  readonly duplicate: boolean;
  /** The answer waits until another one was sent. */
  readonly reorder: boolean;
}

const plain: Omit<Outcome, 'text' | 'isError'> = {
  cut: false,
  hangUp: false,
  delayMs: 0,
  duplicate: false,
  reorder: false,
};

const defaultHugeBytes = 64 * 1024 * 1024;

/** Handles a parsed JSON-RPC request: rules, faults and all. It never throws. */
export function handleRequest(exchange: Exchange, value: unknown, origin: Origin): Outcome {
  const arrival = arrive(exchange.now());
  try {
    return handleEnvelope(exchange, readEnvelope(value), origin, arrival);
  } catch (error) {
    return refuse(exchange, error, origin.transport, requestId(value), arrival);
  }
}

/** The answer to something that was no request. */
export function refuse(
  exchange: Exchange,
  error: unknown,
  transport: 'http' | 'websocket',
  id: number | string | null = null,
  arrival: Arrival = arrive(exchange.now()),
): Outcome {
  const failure = asRpcError(error);
  record(exchange, transport, '', null, String(failure.code));
  return { ...plain, text: formatAnswer(id, { error: failure }, arrival, exchange.testnet), isError: true };
}

function handleEnvelope(exchange: Exchange, envelope: Envelope, origin: Origin, arrival: Arrival): Outcome {
  const { id, method, params } = envelope;
  const struck = exchange.faults.strike('request', method, params);
  const unhandled = struck.has('cut-before') ? 'cut-before' : struck.has('silent') ? 'silent' : null;
  if (unhandled !== null) {
    record(exchange, origin.transport, method, null, unhandled);
    return { ...plain, text: null, isError: false, cut: unhandled === 'cut-before' };
  }
  const run = new Run(exchange, envelope, origin);
  const answer = run.answer(struck);
  const undelivered = struck.has('cut-after') ? 'cut-after' : struck.has('drop-answer') ? 'drop-answer' : null;
  record(
    exchange,
    origin.transport,
    method,
    run.clientId,
    undelivered === null ? answer.label : `${undelivered}:${answer.label}`,
  );
  const hangUp = answer.body !== null && 'error' in answer.body && hangsUp(exchange, answer.body.error);
  const base = {
    ...plain,
    isError: answer.body !== null && 'error' in answer.body,
    hangUp,
    delayMs: Number(struck.get('delay') ?? 0),
    duplicate: struck.has('duplicate'),
    reorder: struck.has('reorder'),
  };
  if (undelivered !== null) return { ...base, text: null, cut: undelivered === 'cut-after' };
  if (answer.body === null) return { ...base, text: null };
  const testnet = exchange.testnet !== struck.has('wrong-testnet');
  return { ...base, text: distort(formatAnswer(id, answer.body, arrival, testnet), struck) };
}

function hangsUp(exchange: Exchange, error: RpcError): boolean {
  return error.code === 10_028 && (exchange.credits?.options.terminate ?? false);
}

function distort(text: string, struck: Struck): string {
  if (struck.has('garbage')) return '<html><body>502 Bad Gateway</body></html>';
  if (!struck.has('huge')) return text;
  const bytes = Number(struck.get('huge') ?? defaultHugeBytes);
  return `${text.slice(0, -1)},"padding":"${'x'.repeat(Math.max(0, bytes - text.length))}"}`;
}

type Body = { readonly result: unknown } | { readonly error: RpcError };

/** One request on its way through the rules. */
class Run {
  readonly #exchange: Exchange;
  readonly #origin: Origin;
  readonly #envelope: Envelope;
  clientId: string | null = null;

  constructor(exchange: Exchange, envelope: Envelope, origin: Origin) {
    this.#exchange = exchange;
    this.#origin = origin;
    this.#envelope = envelope;
    const { client_id: claimed } = envelope.params;
    if (envelope.method === 'public/auth' && typeof claimed === 'string') this.clientId = claimed;
  }

  answer(struck: Struck): { readonly body: Body | null; readonly label: string } {
    try {
      forcedError(struck);
      const { result, label } = this.#handle();
      return result === noAnswer ? { body: null, label } : { body: { result }, label };
    } catch (error) {
      const failure = orMissingParams(asRpcError(error), this.#envelope.bare);
      return { body: { error: failure }, label: String(failure.code) };
    }
  }

  #handle(): { readonly result: unknown; readonly label: string } {
    const exchange = this.#exchange;
    const { transport, connection, peer, loose, credentials } = this.#origin;
    const { method: name, params: values } = this.#envelope;
    const method = exchangeMethods.get(name) ?? (exchange.faultApi ? ownMethods.get(name) : undefined);
    if (method === undefined) throw methodNotFound();
    if (method.websocketOnly === true && connection === null) throw onlyOverWebsocket();
    const call: Call = { method: name, params: { values, loose }, transport, connection, peer };
    if (method.kind === 'public') {
      this.#pay(connection?.grant?.key.clientId ?? `${transport} ${connection?.id ?? peer}`);
      return { result: falsify(method.handle(exchange, call), this.#strikeAnswer()), label: 'ok' };
    }
    const grant = authorize(exchange, call, credentials);
    this.clientId = grant.key.clientId;
    this.#pay(grant.key.clientId);
    if (method.needs !== null) requireScope(grant, ...method.needs);
    const challenge =
      method.secondFactor === true
        ? (exchange.secondFactor?.check(name, grant.key.clientId, call.params, exchange.now()) ?? null)
        : null;
    if (challenge !== null) return { result: challenge, label: 'challenge' };
    const swap = exchange.faults.strike('handling', name, values).has('swap-key') && 'public_key' in values;
    const params = swap ? { values: { ...values, public_key: strangersKey() }, loose } : call.params;
    const result = method.handle(exchange, { ...call, params, grant });
    return { result: falsify(result, this.#strikeAnswer()), label: 'ok' };
  }

  #strikeAnswer(): Struck {
    return this.#exchange.faults.strike('answer', this.#envelope.method, this.#envelope.params);
  }

  #pay(owner: string): void {
    if (!this.#envelope.method.startsWith('sandbox/')) this.#exchange.credits?.pay(owner, this.#exchange.now());
  }
}

const errorMessages: Readonly<Record<string, string>> = {
  '-32601': 'Method not found',
  '-32602': 'Invalid params',
  '10028': 'too_many_requests',
  '10040': 'retry',
  '11051': 'system_maintenance',
  '12998': 'security_key_authorization_attempts_exceeded',
  '13004': 'invalid_credentials',
  '13009': 'unauthorized',
  '13021': 'forbidden',
  '13028': 'temporarily_unavailable',
  '13403': 'scope_exceeded',
};

function forcedError(struck: Struck): void {
  const code = struck.get('error') ?? null;
  if (code !== null) throw new RpcError(Number(code), errorMessages[code] ?? 'error');
  if (struck.has('refuse-login')) throw invalidCredentials();
  if (struck.has('refuse-refresh')) throw unauthorized();
}

function asRpcError(error: unknown): RpcError {
  return error instanceof RpcError ? error : new RpcError(-32_603, 'Internal error', { reason: String(error) });
}

function record(
  exchange: Exchange,
  transport: 'http' | 'websocket',
  method: string,
  clientId: string | null,
  outcome: string,
): void {
  exchange.calls.add({ method, transport, clientId, handledAtMs: exchange.now(), outcome });
}
