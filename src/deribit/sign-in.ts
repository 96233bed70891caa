import { isDeribitKeysError } from '../errors.js';
import { defined } from '../util/defined.js';
import { type Credentials, type Login, login } from './auth.js';
import { clockCommand, describeOffset, type ExchangeClock, getTime, withClockCorrection } from './clock.js';
import type { Transport } from './transport.js';

/** What a login needs beside its credentials. */
export interface SignInContext {
  readonly clock: ExchangeClock;
  readonly signal?: AbortSignal;
  /** Told when the login was signed by the exchange's clock. */
  readonly onNote?: (note: string) => void;
}

/**
 * Logs in by signature; where that is refused and the local clock is far off, once more by the exchange's clock, which
 * later logins of this context use from the start. The exchange's clock is not used where it is more than a day away.
 * @throws as {@link login} does
 */
export async function signIn(
  { clock, signal, onNote }: SignInContext,
  transport: Transport,
  credentials: Credentials,
  scope?: string | undefined,
): Promise<Login> {
  const options = defined({ signal });
  return withClockCorrection({
    clock,
    attempt: () => login(transport, credentials, { ...options, scope, timestampMs: clock.timestampMs() }),
    read: () =>
      clock
        .read(() => getTime(transport, options))
        .catch((unread: unknown) => {
          if (isDeribitKeysError(unread, 'ERR_INTERRUPTED')) throw unread;
          return null;
        }),
    onCorrected: ({ offsetMs }) =>
      onNote?.(
        `the clock here is ${describeOffset(offsetMs)}: signed by the exchange's; set it with: ${clockCommand()}`,
      ),
  });
}
