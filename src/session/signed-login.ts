import type { Signer } from '../crypto/signer.js';
import { type Login, login } from '../deribit/auth.js';
import {
  type ClockFinding,
  type ExchangeClock,
  getTime,
  type KeptReading,
  withClockCorrection,
} from '../deribit/clock.js';
import type { Transport } from '../deribit/transport.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { isFinal } from './failures.js';
import type { SessionKey } from './key-source.js';
import type { Emitter, SessionEvents } from './session.js';
import type { Time } from './time.js';

/** A signed timestamp is accepted for this long. */
const SIGNATURE_LIFE_MS = 60_000;

interface SignedLoginContext {
  readonly time: Time;
  readonly clock: ExchangeClock;
  readonly events: Emitter<SessionEvents>;
  /** Added to the hint for a refused login. */
  readonly advice: string;
}

/** What a login is made with. */
interface LoginRequest {
  readonly transport: Transport;
  readonly credentials: SessionKey;
  readonly scope: string | undefined;
}

interface MadeLogin extends Login {
  /** From its request to the answer, without what corrected the clock. */
  readonly tookMs: number;
}

/** Logs in by signature, and compares the clocks where that is refused. */
export class SignedLogin {
  readonly #context: SignedLoginContext;
  /** Logins in a row that were refused while the clock could not be read. */
  #unexplained = 0;
  #reported: KeptReading | null = null;

  constructor(context: SignedLoginContext) {
    this.#context = context;
  }

  /**
   * Logs in; once more where that is refused and the clock, then compared, is far off.
   * @throws as `login` does; the message of a refusal says what the clocks have to do with it
   */
  async make(request: LoginRequest): Promise<MadeLogin> {
    const made = await withClockCorrection({
      clock: this.#context.clock,
      attempt: () => this.#attempt(request),
      read: () => this.readClock(request.transport).catch((unread: unknown) => this.#onUnread(unread)),
      explain: (refused, finding) => this.#explained(request.credentials.clientId, refused, finding),
    });
    this.#unexplained = 0;
    return made;
  }

  /** Compares the clocks. @throws as the transport does */
  async readClock(transport: Transport): Promise<KeptReading> {
    const reading = await this.#context.clock.read(() => getTime(transport));
    if (reading !== this.#reported) this.#context.events.emit('clock', reading);
    this.#reported = reading;
    return reading;
  }

  /** A refusal may be about the clock as long as that was not read: the next attempt tries, once. */
  #onUnread(error: unknown): null {
    this.#unexplained += 1;
    if (!isFinal(error) && this.#unexplained < 2) throw error;
    return null;
  }

  #explained(clientId: string, refusal: DeribitKeysError, finding: ClockFinding): DeribitKeysError {
    return refusal.with({
      message: `${refusal.message} (client id ${clientId}; ${clockWords(finding)})`,
      hint: `check that the client id belongs to this key and environment, that the API key is enabled and was not rotated, and that its IP whitelist allows this address${this.#context.advice}`,
    });
  }

  async #attempt({ transport, credentials: { clientId, signer }, scope }: LoginRequest): Promise<MadeLogin> {
    const { time, clock } = this.#context;
    const startMs = time.monotonicMs();
    const credentials = { clientId, signer: limited(signer, time) };
    const made = await login(transport, credentials, { scope, timestampMs: clock.timestampMs() });
    return { ...made, tookMs: time.monotonicMs() - startMs };
  }
}

/** The signer, which fails where a signature takes longer than its timestamp is accepted: a signer may never answer. */
function limited(signer: Signer, time: Time): Signer {
  const sign = (message: Uint8Array) =>
    new Promise<Uint8Array>((resolve, reject) => {
      const timer = time.setTimeout(() => reject(tooSlow()), SIGNATURE_LIFE_MS);
      const fail = (error: unknown) => reject(isDeribitKeysError(error) ? error : failed(error));
      // a signer of the user's may throw synchronously
      const signing = new Promise<Uint8Array>((begin) => begin(signer.sign(message)));
      signing.then(resolve, fail).finally(() => time.clearTimeout(timer));
    });
  return { algorithm: signer.algorithm, publicKey: signer.publicKey, sign };
}

function failed(cause: unknown): DeribitKeysError {
  return new DeribitKeysError('ERR_SIGNER', 'the signer failed', {
    cause,
    hint: 'see the cause of this error',
  });
}

function tooSlow(): DeribitKeysError {
  return new DeribitKeysError('ERR_SIGNER', `the signer returned no signature within ${SIGNATURE_LIFE_MS / 1000} s`, {
    hint: 'check whether the agent or token that holds the key is waiting for input',
  });
}

function clockWords(finding: ClockFinding): string {
  if (finding.kind === 'unread') return 'the clocks could not be compared';
  const off = `off by ${Math.round(finding.offsetMs)} ms`;
  if (finding.kind === 'too-far') return `the clock is ${off}, too far off to be corrected`;
  return `the clock is not the reason (${off}${finding.kind === 'corrected' ? ', which was corrected' : ''})`;
}
