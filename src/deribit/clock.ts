import type { DeribitKeysError } from '../errors.js';
import { isRefusedLogin } from './json-rpc.js';
import { fieldsOf, unexpected } from './shapes.js';
import type { RequestOptions, Transport } from './transport.js';

/** The clocks of this machine; a test supplies its own. */
export interface LocalClock {
  /** Wall clock: milliseconds since the epoch. It may jump. */
  nowMs(): number;
  /** Milliseconds since some moment. It never goes back, and may stand still while the machine sleeps. */
  monotonicMs(): number;
}

const systemClock: LocalClock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() };

/** A moment, by both clocks. */
export interface Mark {
  readonly wallMs: number;
  readonly monotonicMs: number;
}

export function mark(clock: LocalClock): Mark {
  return { wallMs: clock.nowMs(), monotonicMs: clock.monotonicMs() };
}

/**
 * Milliseconds since `moment`: the more of what both clocks say, since one may have been set back and the other have
 * stood still. What must not be used for too long is never thought younger than it is.
 */
export function elapsedMs(clock: LocalClock, { wallMs, monotonicMs }: Mark): number {
  return Math.max(clock.nowMs() - wallMs, clock.monotonicMs() - monotonicMs);
}

/** One comparison of the exchange's clock with the local one. */
export interface ClockReading {
  /** Exchange minus local, in milliseconds: positive where the local clock is behind. Accurate to half of `roundTripMs`. */
  readonly offsetMs: number;
  readonly roundTripMs: number;
}

/** A reading that an {@link ExchangeClock} keeps. */
export interface KeptReading extends ClockReading {
  /** How far `offsetMs` has moved since the previous reading; null for the first. */
  readonly driftMs: number | null;
  /** Whether timestamps are corrected by it from now on: it is large, and less than a day. */
  readonly corrected: boolean;
}

/** An offset worth correcting. Deribit accepts timestamps of the last minute; its tolerance for the future is unknown. */
export const LARGE_OFFSET_MS = 2_000;

/** From here on, signatures are likely to be refused: half of Deribit's 60 s is left for latency and further drift. */
export const CLOCK_LIMIT_MS = 30_000;

/**
 * No signature is dated further from the local clock than this, whatever the exchange says the time is: a signature
 * for a distant day would allow a login on that day.
 */
export const FARTHEST_CORRECTION_MS = 24 * 60 * 60 * 1000;

/** A reading is used for this long. */
const FRESH_MS = 60_000;

/**
 * The exchange's clock in milliseconds since the epoch (`public/get_time`).
 * @throws `ERR_PROTOCOL`, and as {@link Transport.request} does
 */
export async function getTime(transport: Transport, options: RequestOptions = {}): Promise<number> {
  const result = await transport.request('public/get_time', {}, options);
  if (typeof result !== 'number' || !Number.isFinite(result)) {
    throw unexpected({ method: 'public/get_time', field: 'the result', expected: 'a number', value: result });
  }
  return result;
}

/**
 * The version of the exchange's API (`public/test`): the cheapest request there is.
 * @throws `ERR_PROTOCOL`, and as {@link Transport.request} does
 */
export async function getVersion(transport: Transport, options: RequestOptions = {}): Promise<string> {
  return fieldsOf('public/test', await transport.request('public/test', {}, options)).string('version');
}

/**
 * Compares the exchange's clock with the local one. Of `samples` readings the one with the shortest round trip counts;
 * the exchange is taken to have answered half-way through it.
 * @param askTime the exchange's time in milliseconds, such as `() => getTime(transport)`; its errors are passed on
 */
export async function readClock(
  askTime: () => Promise<number>,
  { local = systemClock, samples = 1 }: { readonly local?: LocalClock; readonly samples?: number } = {},
): Promise<ClockReading> {
  let best: ClockReading | null = null;
  for (let sample = 0; best === null || sample < samples; sample += 1) {
    const sentMs = local.monotonicMs();
    const theirsMs = await askTime();
    const roundTripMs = Math.max(0, local.monotonicMs() - sentMs);
    const offsetMs = Math.round(theirsMs - (local.nowMs() - roundTripMs / 2));
    if (best === null || roundTripMs < best.roundTripMs) best = { offsetMs, roundTripMs };
  }
  return best;
}

/** What is known of the exchange's clock: one for all logins of a process on the same exchange. */
export class ExchangeClock {
  readonly #local: LocalClock;
  #reading: KeptReading | null = null;
  #readAt: Mark | null = null;
  #flight: Promise<KeptReading> | null = null;

  constructor(local: LocalClock = systemClock) {
    this.#local = local;
  }

  get reading(): KeptReading | null {
    return this.#reading;
  }

  /** Whether it was read within the last minute, or is being read. */
  get isFresh(): boolean {
    if (this.#flight !== null) return true;
    return this.#readAt !== null && elapsedMs(this.#local, this.#readAt) < FRESH_MS;
  }

  /** What is added to the local clock for a signed timestamp: 0 while the two agree well enough. */
  get correctionMs(): number {
    return this.#reading?.corrected ? this.#reading.offsetMs : 0;
  }

  /** A timestamp to sign: whole milliseconds since the epoch by the exchange's clock. */
  timestampMs(): number {
    return Math.max(0, Math.round(this.#local.nowMs() + this.correctionMs));
  }

  /** Reads the exchange's clock and keeps the reading. Concurrent calls share one request. */
  read(askTime: () => Promise<number>): Promise<KeptReading> {
    this.#flight ??= this.#read(askTime).finally(() => {
      this.#flight = null;
    });
    return this.#flight;
  }

  async #read(askTime: () => Promise<number>): Promise<KeptReading> {
    const { offsetMs, roundTripMs } = await readClock(askTime, { local: this.#local });
    const before = this.#reading;
    const sizeMs = Math.abs(offsetMs);
    this.#reading = {
      offsetMs,
      roundTripMs,
      driftMs: before === null ? null : offsetMs - before.offsetMs,
      corrected: sizeMs >= LARGE_OFFSET_MS && sizeMs <= FARTHEST_CORRECTION_MS,
    };
    this.#readAt = mark(this.#local);
    return this.#reading;
  }
}

/** Whether the clock explains a refused login. */
export type ClockFinding =
  | { readonly kind: 'unread' }
  | { readonly kind: 'agrees' | 'corrected' | 'too-far'; readonly offsetMs: number };

interface ClockedLogin<T> {
  readonly clock: ExchangeClock;
  /** Reads `clock`; null where it cannot be read. What it throws is thrown instead of the refusal. */
  readonly read: () => Promise<KeptReading | null>;
  /** Logs in with `clock.timestampMs()`. */
  readonly attempt: () => Promise<T>;
  /** Called before the second attempt. */
  readonly onCorrected?: ((reading: KeptReading) => void) | undefined;
  /** Adds to a refusal what was found; without it, the refusal is thrown as it is. */
  readonly explain?: ((refusal: DeribitKeysError, finding: ClockFinding) => Error) | undefined;
}

/**
 * Attempts a signed login. Where the exchange refuses it, the clocks are compared; where the timestamp was wrong by a
 * large but correctable offset, attempts once more by the exchange's clock.
 * @throws what `attempt` and `read` throw
 */
export async function withClockCorrection<T>({
  clock,
  read,
  attempt,
  onCorrected,
  explain = (refusal) => refusal,
}: ClockedLogin<T>): Promise<T> {
  const { correctionMs, reading: before } = clock;
  try {
    return await attempt();
  } catch (refusal) {
    if (!isRefusedLogin(refusal)) throw refusal;
    // it may have been read while the login was under way
    const reading = clock.reading === before ? await read() : clock.reading;
    if (reading === null) throw explain(refusal, { kind: 'unread' });
    const { offsetMs, roundTripMs, corrected } = reading;
    if (Math.abs((corrected ? offsetMs : 0) - correctionMs) < LARGE_OFFSET_MS + roundTripMs / 2) {
      const kind =
        Math.abs(offsetMs) > FARTHEST_CORRECTION_MS ? 'too-far' : correctionMs === 0 ? 'agrees' : 'corrected';
      throw explain(refusal, { kind, offsetMs });
    }
    onCorrected?.(reading);
    return await attempt().catch((again: unknown) => {
      throw isRefusedLogin(again) ? explain(again, { kind: 'corrected', offsetMs }) : again;
    });
  }
}

/** The offset in words, such as `120000 ms behind the exchange's`. */
export function describeOffset(offsetMs: number): string {
  return `${Math.round(Math.abs(offsetMs))} ms ${offsetMs > 0 ? 'behind' : 'ahead of'} the exchange's`;
}

/** The command that sets this machine's clock from the network. */
export function clockCommand(platform: NodeJS.Platform = process.platform): string {
  if (platform === 'darwin') return 'sudo sntp -sS time.apple.com';
  return platform === 'win32' ? 'w32tm /resync' : 'sudo timedatectl set-ntp true';
}
