import { type DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { clockCommand, describeOffset, readClock } from '../workflows/clock.js';
import type { WorkflowContext } from '../workflows/context.js';
import { type Credentials, type Login, login } from './auth.js';
import { FARTHEST_CORRECTION_MS, LARGE_OFFSET_MS } from './time.js';
import type { Transport } from './transport.js';

/** Deribit's answer to nearly every login that it does not take; it does not say why. */
const INVALID_CREDENTIALS = 13004;

/** Whether the exchange refused a login without saying why. */
export function isUnexplainedRefusal(error: unknown): error is DeribitKeysError {
  return isDeribitKeysError(error, 'ERR_UNAUTHORIZED') && error.rpc?.code === INVALID_CREDENTIALS;
}

/**
 * Logs in by signature; where that is refused and the clock here is far off, once more by the exchange's clock, which
 * the later logins of these context then go by at once. It is not believed where it is more than a day away.
 * @throws what `login` does
 */
export async function signIn(
  context: WorkflowContext,
  transport: Transport,
  credentials: Credentials,
  scope?: string | undefined,
): Promise<Login> {
  const { clock, signal } = context;
  const request = signal === undefined ? {} : { signal };
  const attempt = () =>
    login(transport, credentials, { ...request, scope, timestampMs: Math.round(context.nowMs() - clock.offsetMs) });
  try {
    return await attempt();
  } catch (error) {
    if (!isUnexplainedRefusal(error)) throw error;
    const reading = await readClock(transport, context.nowMs, request).catch((unread: unknown) => {
      if (isDeribitKeysError(unread, 'ERR_INTERRUPTED')) throw unread;
      return null;
    });
    if (reading === null || Math.abs(reading.offsetMs - clock.offsetMs) < LARGE_OFFSET_MS) throw error;
    if (Math.abs(reading.offsetMs) > FARTHEST_CORRECTION_MS) throw error;
    clock.offsetMs = reading.offsetMs;
    context.onNote?.(
      `the clock here is ${describeOffset(reading.offsetMs)}: signed by the exchange's; set it with: ${clockCommand()}`,
    );
    return attempt();
  }
}
