import { errorOf } from '../core/errors.js';
import type { Exchange } from '../core/exchange.js';
import { isRecord } from '../core/params.js';
import type { Struck } from '../faults/faults.js';
import {
  type Arrival,
  arrive,
  type Envelope,
  formatAnswer,
  invalidRequest,
  type RequestId,
  readEnvelope,
  requestId,
} from './envelope.js';
import { type Answer, asRpcError, type Origin, Run } from './run.js';

/** What is to be done with a request's connection and its answer. */
export interface Outcome {
  /** Null: nothing is sent. */
  readonly text: string | null;
  /** Null: a result. */
  readonly errorCode: number | null;
  /** The connection is cut. */
  readonly cut: boolean;
  /** The connection is closed after the answer. */
  readonly hangUp: boolean;
  readonly delayMs: number;
  readonly duplicate: boolean;
  /** The answer waits until another one was sent. */
  readonly reorder: boolean;
  /** An error that names no request, sent at once. */
  readonly stray: string | null;
  /** A gateway answers instead of the exchange: HTTP 502; a WebSocket is closed with 1011. */
  readonly badGateway: boolean;
  /** For how long nothing more is read from the connection; null: reading goes on. */
  readonly deafMs: number | null;
}

const plain: Omit<Outcome, 'text' | 'errorCode'> = {
  cut: false,
  hangUp: false,
  delayMs: 0,
  duplicate: false,
  reorder: false,
  stray: null,
  badGateway: false,
  deafMs: null,
};

/** What a gateway says in HTML instead of the exchange. */
export const gatewayPage = '<html><body>502 Bad Gateway</body></html>';

const defaultHugeBytes = 64 * 1024 * 1024;

/** Handles a parsed JSON-RPC request: rules, faults and all. It never throws. */
export function handleRequest(exchange: Exchange, value: unknown, origin: Origin): Outcome {
  const arrival = arrive(exchange.now());
  try {
    const envelope = readEnvelope(value);
    if (exchange.settings.strictIds && lacksId(value, origin)) throw invalidRequest();
    return handleEnvelope(exchange, envelope, { ...origin, arrival });
  } catch (error) {
    return refuse(exchange, error, { transport: origin.transport, id: requestId(value), arrival });
  }
}

/** Whether an envelope has no id; the parameters of an HTTP request have none anyway. */
function lacksId(value: unknown, { transport }: Origin): boolean {
  return isRecord(value) && !('id' in value) && (transport === 'websocket' || 'jsonrpc' in value);
}

interface Refused {
  readonly transport: 'http' | 'websocket';
  readonly id?: RequestId;
  readonly arrival?: Arrival;
}

/** The answer to something that is not a request. */
export function refuse(
  exchange: Exchange,
  error: unknown,
  { transport, id = null, arrival = arrive(exchange.now()) }: Refused,
): Outcome {
  const failure = asRpcError(error);
  record(exchange, { transport, method: '', clientId: null, outcome: String(failure.code) });
  return {
    ...plain,
    text: formatAnswer(id, { error: failure }, { arrival, testnet: exchange.settings.testnet }),
    errorCode: failure.code,
  };
}

function handleEnvelope(
  exchange: Exchange,
  envelope: Envelope,
  { arrival, ...origin }: Origin & { readonly arrival: Arrival },
): Outcome {
  const { id, method, params } = envelope;
  const { transport } = origin;
  const struck = exchange.faults.strike('request', method, params);
  const base = { ...plain, errorCode: null, ...deliveryOf(struck) };
  const unhandled = firstOf(struck, 'cut-before', 'silent', 'stop-reading');
  if (unhandled !== null) {
    record(exchange, { transport, method, clientId: null, outcome: unhandled });
    return { ...base, text: null, cut: unhandled === 'cut-before' };
  }
  const run = new Run(exchange, envelope, origin);
  const admitted = run.admit(struck);
  const late = firstOf(admitted.struck, 'late-cut', 'late-502', 'late-silent');
  const perform = (prefix: string | null): Answer => {
    const answer = admitted.carryOut();
    const outcome = prefix === null ? answer.label : `${prefix}:${answer.label}`;
    record(exchange, { transport, method, clientId: run.clientId, outcome });
    return answer;
  };
  if (late !== null) {
    exchange.control.later(Number(admitted.struck.get(late) ?? 0), () => perform(late));
    return { ...base, text: null, cut: late === 'late-cut', badGateway: late === 'late-502' };
  }
  const undelivered = firstOf(struck, 'cut-after', 'drop-answer');
  const { body } = perform(undelivered);
  if (undelivered !== null) return { ...base, text: null, cut: undelivered === 'cut-after' };
  if (body === null) return { ...base, text: null };
  const errorCode = 'error' in body ? body.error.code : null;
  const hangUp = errorCode === 10_028 && (exchange.credits?.options.terminate ?? false);
  const testnet = exchange.settings.testnet !== struck.has('wrong-testnet');
  return { ...base, errorCode, hangUp, text: distort(formatAnswer(id, body, { arrival, testnet }), struck) };
}

function deliveryOf(struck: Struck): Partial<Outcome> {
  const stray = struck.get('stray-error') ?? null;
  return {
    delayMs: Number(struck.get('delay') ?? 0),
    duplicate: struck.has('duplicate'),
    reorder: struck.has('reorder'),
    stray: stray === null ? null : strayError(Number(stray)),
    deafMs: struck.has('stop-reading') ? Number(struck.get('stop-reading') ?? Number.POSITIVE_INFINITY) : null,
  };
}

function strayError(code: number): string {
  const { message } = errorOf(code);
  return JSON.stringify({ jsonrpc: '2.0', id: null, error: { code, message } });
}

function firstOf<const Name extends Parameters<Struck['has']>[0]>(struck: Struck, ...names: Name[]): Name | null {
  return names.find((name) => struck.has(name)) ?? null;
}

/** Reads nothing more from a connection for so long. */
export function stopReading(exchange: Exchange, socket: { pause(): unknown; resume(): unknown }, deafMs: number): void {
  socket.pause();
  if (Number.isFinite(deafMs)) exchange.control.later(deafMs, () => socket.resume());
}

function distort(text: string, struck: Struck): string {
  if (struck.has('garbage')) return gatewayPage;
  if (!struck.has('huge')) return text;
  const bytes = Number(struck.get('huge') ?? defaultHugeBytes);
  return `${text.slice(0, -1)},"padding":"${'x'.repeat(Math.max(0, bytes - text.length))}"}`;
}

function record(exchange: Exchange, call: Omit<Parameters<Exchange['calls']['add']>[0], 'handledAtMs'>): void {
  exchange.calls.add({ ...call, handledAtMs: exchange.now() });
}
