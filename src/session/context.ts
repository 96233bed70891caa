import type { Signer } from '../crypto/signer.js';
import { ExchangeClock } from '../deribit/clock.js';
import { type ConnectOptions, DEFAULT_TIMEOUT_MS } from '../deribit/connect-options.js';
import { type Endpoint, resolveEndpoint } from '../deribit/endpoints.js';
import { parseScope } from '../deribit/scope.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { CreditPool } from './credits.js';
import { Emitter } from './emitter.js';
import type { SessionEvents } from './events.js';
import { alone, type Scheduler } from './scheduler.js';
import type { SessionOptions } from './session.js';
import { systemTime, type Time } from './time.js';
import { TokenManager } from './token-manager.js';

/** For so long a signed timestamp is taken. */
const SIGNATURE_LIFE_MS = 60_000;

/** What the sessions of a fleet have in common. */
export interface Shared {
  readonly scheduler: Scheduler;
  readonly clock: ExchangeClock;
  readonly credits: CreditPool | null;
}

/** Checked options with every default filled in, and the context made of them. */
export interface SessionContext {
  readonly endpoint: Endpoint;
  readonly clientId: string;
  readonly options: SessionOptions;
  readonly connectOptions: ConnectOptions;
  readonly timeoutMs: number;
  readonly openWithinMs: number;
  readonly heartbeatS: number;
  readonly queueLimit: number;
  readonly time: Time;
  readonly random: () => number;
  readonly events: Emitter<SessionEvents>;
  readonly clock: ExchangeClock;
  readonly scheduler: Scheduler;
  readonly credits: CreditPool | null;
  readonly tokens: TokenManager;
}

/** Throws `ERR_USAGE` for options that cannot be meant. */
export function sessionContext(options: SessionOptions, shared?: Shared): SessionContext {
  const { clientId, signer, scope, url, environment, rate } = options;
  if (typeof clientId !== 'string' || clientId === '')
    throw usage('the client id is missing', "give the API key's client id");
  if (typeof signer?.sign !== 'function')
    throw usage('the signer is missing', 'make one with loadSigner or localSigner');
  if (scope !== undefined) parseScope(scope);
  const endpoint = resolveEndpoint({ url, environment });
  const time = options.time ?? systemTime;
  const random = options.random ?? Math.random;
  const events = new Emitter<SessionEvents>();
  const clock = shared?.clock ?? new ExchangeClock(time);
  const { proxy, env = process.env, ca, maxReplyBytes } = options;
  const timeoutMs = atLeast('timeoutMs', options.timeoutMs ?? DEFAULT_TIMEOUT_MS, 1);
  return {
    endpoint,
    clientId,
    options,
    connectOptions: { proxy, env, ca, maxReplyBytes, timeoutMs },
    timeoutMs,
    openWithinMs: atLeast('openWithinMs', options.openWithinMs ?? 30_000, 0),
    heartbeatS: atLeast('heartbeatS', options.heartbeatS ?? 30, 10),
    queueLimit: atLeast('queueLimit', options.queueLimit ?? 1_000, 0),
    time,
    random,
    events,
    clock,
    scheduler: shared?.scheduler ?? alone,
    credits: shared?.credits ?? (rate ? new CreditPool(rate, time) : null),
    tokens: new TokenManager({
      credentials: { clientId, signer: inTime(signer, time) },
      scope,
      time,
      random,
      clock,
      events,
    }),
  };
}

/** A signature that takes longer than its timestamp is good for is of no use, and a signer may never answer. */
function inTime(signer: Signer, time: Time): Signer {
  const { algorithm, publicKey } = signer;
  return {
    algorithm,
    publicKey,
    sign(message) {
      return new Promise((resolve, reject) => {
        const timer = time.setTimeout(() => reject(tooSlow()), SIGNATURE_LIFE_MS);
        const end = () => time.clearTimeout(timer);
        const fail = (error: unknown) => reject(isDeribitKeysError(error) ? error : failed(error));
        callSigner(signer, message).then(resolve, fail).finally(end);
      });
    },
  };
}

/** A signer of somebody else's may throw at once. */
async function callSigner(signer: Signer, message: Uint8Array): Promise<Uint8Array> {
  return signer.sign(message);
}

function failed(cause: unknown): DeribitKeysError {
  return new DeribitKeysError('ERR_SIGNER', 'the signer failed', {
    cause,
    hint: 'its own error is the cause of this one',
  });
}

function tooSlow(): DeribitKeysError {
  return new DeribitKeysError('ERR_SIGNER', `the signer gave no signature within ${SIGNATURE_LIFE_MS / 1000} s`, {
    hint: 'see whether the agent or the token that holds the key waits for something',
  });
}

/** Throws `ERR_USAGE` for anything but a number of at least `least`. */
export function atLeast(name: string, value: number, least: number): number {
  if (Number.isFinite(value) && value >= least) return value;
  throw usage(`${name} must be a number of at least ${least}`, 'leave it out for the default');
}

function usage(sentence: string, hint: string): DeribitKeysError {
  return new DeribitKeysError('ERR_USAGE', sentence, { hint });
}
