import {
  CLOCK_LIMIT_MS,
  clockCommand,
  describeOffset,
  getTime,
  LARGE_OFFSET_MS,
  readClock,
} from '../../deribit/clock.js';
import type { Endpoint } from '../../deribit/endpoints.js';
import { requestOptions, withTransport } from '../account/account.js';
import type { WorkflowContext } from '../context.js';
import { asFound, type Finding, fixOf, notesOn } from './finding.js';

/** What was found of one place that keys live at. */
export interface EndpointView {
  readonly findings: readonly Finding[];
  readonly usable: boolean;
  /** Exchange minus local, in milliseconds; null where it could not be compared. */
  readonly clockOffsetMs: number | null;
}

/** Can the exchange be reached, is it the one that it should be, and do the clocks agree. */
export async function checkEndpoint(context: WorkflowContext, endpoint: Endpoint): Promise<EndpointView> {
  const notes = notesOn(null);
  const { host } = new URL(endpoint.url);
  try {
    const { offsetMs, roundTripMs } = await withTransport(context, endpoint, (transport) =>
      readClock(() => getTime(transport, requestOptions(context)), { samples: 3 }),
    );
    const offset = `the clock here is ${describeOffset(offsetMs)} (within ${Math.ceil(roundTripMs / 2)} ms)`;
    const size = Math.abs(offsetMs);
    return {
      findings: [
        notes.good('reachable', `${host} (${endpoint.environment}) answers after ${Math.round(roundTripMs)} ms`),
        size >= CLOCK_LIMIT_MS
          ? notes.bad('clock', `${offset}: signed logins are refused as too old or too new`, clockCommand())
          : size >= LARGE_OFFSET_MS
            ? notes.remark('clock', offset, clockCommand())
            : notes.good('clock', offset),
      ],
      usable: true,
      clockOffsetMs: offsetMs,
    };
  } catch (thrown) {
    const error = asFound(thrown);
    const clock = notes.skipped('clock', 'not looked at: the exchange does not answer');
    const findings =
      error.code === 'ERR_WRONG_ENVIRONMENT'
        ? [
            notes.good('reachable', `${host} answers`),
            notes.bad('environment', `${host}: ${error.message}`, 'give the other --env, or the right --url'),
            clock,
          ]
        : [notes.bad('reachable', error.message, fixOf(error)), clock];
    return { findings, usable: false, clockOffsetMs: null };
  }
}
