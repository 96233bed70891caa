import { FARTHEST_CORRECTION_MS, getTime, LARGE_OFFSET_MS } from '../deribit/time.js';
import type { Transport } from '../deribit/transport.js';
import { elapsedMs, type Mark, mark, type Time } from './time.js';

/** One comparison of the exchange's clock with ours (`public/get_time`). */
export interface ClockReading {
  /** Exchange's time less ours: positive where our clock is slow. Right to half of `roundTripMs`. */
  readonly offsetMs: number;
  readonly roundTripMs: number;
  /** How far `offsetMs` has moved since the reading before; null for the first. */
  readonly driftMs: number | null;
  /** Whether timestamps are corrected by it from now on: where it is large, and not absurd (a day). */
  readonly corrected: boolean;
}

/** A reading is good for so long. */
const FRESH_MS = 60_000;

/** What is known of the exchange's clock; one for all sessions of a process on the same exchange. */
export class ExchangeClock {
  readonly #time: Time;
  #reading: ClockReading | null = null;
  #readAt: Mark | null = null;
  #flight: Promise<ClockReading> | null = null;

  constructor(time: Time) {
    this.#time = time;
  }

  get reading(): ClockReading | null {
    return this.#reading;
  }

  /** Whether it was read lately, or is being read. */
  get isFresh(): boolean {
    return this.#flight !== null || (this.#readAt !== null && elapsedMs(this.#time, this.#readAt) < FRESH_MS);
  }

  /** What is added to our clock for a signed timestamp: nothing while the two agree well enough. */
  get correctionMs(): number {
    return this.#reading?.corrected ? this.#reading.offsetMs : 0;
  }

  /** A timestamp to sign: whole milliseconds since the epoch, by the exchange's clock. */
  timestampMs(): number {
    return Math.max(0, Math.round(this.#time.nowMs() + this.correctionMs));
  }

  /** Asks the exchange; one question at a time. Throws as the transport does. */
  read(transport: Transport): Promise<ClockReading> {
    this.#flight ??= this.#ask(transport).finally(() => {
      this.#flight = null;
    });
    return this.#flight;
  }

  async #ask(transport: Transport): Promise<ClockReading> {
    const sent = this.#time.monotonicMs();
    const theirsMs = await getTime(transport);
    const received = mark(this.#time);
    const roundTripMs = Math.max(0, received.monotonicMs - sent);
    const offsetMs = Math.round(theirsMs - (received.wallMs - roundTripMs / 2));
    const before = this.#reading;
    this.#reading = {
      offsetMs,
      roundTripMs,
      driftMs: before === null ? null : offsetMs - before.offsetMs,
      corrected: Math.abs(offsetMs) >= LARGE_OFFSET_MS && Math.abs(offsetMs) <= FARTHEST_CORRECTION_MS,
    };
    this.#readAt = received;
    return this.#reading;
  }
}
