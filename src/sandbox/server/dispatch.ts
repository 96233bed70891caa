import { errorOf } from '../core/errors.js';
import type { Connection, Exchange } from '../core/exchange.js';
import type { SandboxCall } from '../core/logs.js';
import { isRecord } from '../core/params.js';
import { nothingStruck, type Struck } from '../faults/faults.js';
import {
  type Answer,
  type Arrival,
  admit,
  arrive,
  asRpcError,
  type Envelope,
  formatAnswer,
  invalidRequest,
  type Origin,
  type RequestId,
  readEnvelope,
  requestId,
} from './requests.js';

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
    return refuse(exchange, error, { connection: origin.connection, id: requestId(value), arrival });
  }
}

/** Whether an envelope has no id; the parameters of an HTTP request have none anyway. */
function lacksId(value: unknown, { connection }: Origin): boolean {
  return isRecord(value) && !('id' in value) && (connection !== null || 'jsonrpc' in value);
}

interface Refused {
  /** That it came on; null for HTTP. */
  readonly connection: Connection | null;
  readonly id?: RequestId;
  readonly arrival?: Arrival;
}

/** The answer to something that is not a request. */
export function refuse(
  exchange: Exchange,
  error: unknown,
  { connection, id = null, arrival = arrive(exchange.now()) }: Refused,
): Outcome {
  const failure = asRpcError(error);
  record(exchange, connection, { method: '', clientId: null, outcome: String(failure.code) });
  return {
    ...delivery(nothingStruck),
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
  const { connection } = origin;
  const struck = exchange.faults.strike('request', method, params);
  const base = delivery(struck);
  const unhandled = firstOf(struck, 'cut-before', 'silent', 'stop-reading');
  if (unhandled !== null) {
    record(exchange, connection, { method, clientId: null, outcome: unhandled });
    return { ...base, cut: unhandled === 'cut-before' };
  }
  const admitted = admit({ exchange, envelope, origin, struck });
  const late = firstOf(admitted.struck, 'late-cut', 'late-502', 'late-silent');
  const perform = (prefix: string | null): Answer => {
    const answer = admitted.carryOut();
    const outcome = prefix === null ? answer.label : `${prefix}:${answer.label}`;
    record(exchange, connection, { method, clientId: admitted.clientId, outcome });
    return answer;
  };
  if (late !== null) {
    exchange.control.later(Number(admitted.struck.get(late) ?? 0), () => perform(late));
    return { ...base, cut: late === 'late-cut', badGateway: late === 'late-502' };
  }
  const undelivered = firstOf(struck, 'cut-after', 'drop-answer');
  const { body } = perform(undelivered);
  if (undelivered !== null) return { ...base, cut: undelivered === 'cut-after' };
  if (body === null) return base;
  const errorCode = 'error' in body ? body.error.code : null;
  const hangUp = errorCode === 10_028 && (exchange.credits?.options.terminate ?? false);
  const testnet = exchange.settings.testnet !== struck.has('wrong-testnet');
  return { ...base, errorCode, hangUp, text: distort(formatAnswer(id, body, { arrival, testnet }), struck) };
}

/** No answer, delivered as the faults have it. */
function delivery(struck: Struck): Outcome {
  const stray = struck.get('stray-error') ?? null;
  return {
    text: null,
    errorCode: null,
    cut: false,
    hangUp: false,
    badGateway: false,
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

function record(
  exchange: Exchange,
  connection: Connection | null,
  call: Pick<SandboxCall, 'method' | 'clientId' | 'outcome'>,
): void {
  const transport = connection === null ? 'http' : 'websocket';
  exchange.calls.add({ transport, ...call, handledAtMs: exchange.now() });
}
