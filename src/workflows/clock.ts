import { getTime } from '../deribit/time.js';
import type { RequestOptions, Transport } from '../deribit/transport.js';

/** How the clock here compares with the exchange's. */
export interface ClockReading {
  /** Positive where the clock here is ahead; milliseconds. */
  readonly offsetMs: number;
  /** Of the quickest answer; the offset is sure to half of it. */
  readonly roundTripMs: number;
}

/** Deribit refuses signatures older than 60 s; half of that is left for the way and for the drift to come. */
export const CLOCK_LIMIT_MS = 30_000;

const SAMPLES = 3;

/**
 * Compares the clocks by `public/get_time`: of three samples the quickest counts, its answer taken as given half-way.
 * Throws as the transport does.
 */
export async function readClock(
  transport: Transport,
  nowMs: () => number,
  options: RequestOptions = {},
): Promise<ClockReading> {
  let best: ClockReading | null = null;
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    const startMs = nowMs();
    const theirsMs = await getTime(transport, options);
    const endMs = nowMs();
    const roundTripMs = Math.max(0, endMs - startMs);
    if (best === null || roundTripMs < best.roundTripMs) {
      best = { offsetMs: Math.round((startMs + endMs) / 2 - theirsMs), roundTripMs };
    }
  }
  return best ?? { offsetMs: 0, roundTripMs: 0 };
}

/** The offset in words, such as `120000 ms behind`. */
export function describeOffset(offsetMs: number): string {
  return `${Math.abs(offsetMs)} ms ${offsetMs < 0 ? 'behind' : 'ahead of'} the exchange's`;
}

/** The command that sets this machine's clock by the network. */
export function clockCommand(platform: NodeJS.Platform = process.platform): string {
  if (platform === 'darwin') return 'sudo sntp -sS time.apple.com';
  return platform === 'win32' ? 'w32tm /resync' : 'sudo timedatectl set-ntp true';
}
