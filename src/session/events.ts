import type { KeptReading } from '../deribit/clock.js';
import type { DeribitKeysError } from '../errors.js';

/** Why a session signed a login: it opened, came back after a cut, its refresh was refused, its token had expired or was refused. */
export type LoginReason = 'open' | 'reconnect' | 'refresh-refused' | 'expired' | 'unauthorized';

/** What a session tells of itself; none of it is a secret. */
export interface SessionEvents {
  /** A signed login was granted. */
  readonly login: {
    readonly reason: LoginReason;
    /** As granted. */
    readonly scope: string;
    /** Words that were asked for and not granted: the exchange narrows a scope instead of refusing it. */
    readonly missing: readonly string[];
    readonly expiresInS: number;
    readonly tookMs: number;
  };
  /** A token was renewed by its refresh token. */
  readonly refresh: { readonly scope: string; readonly expiresInS: number };
  /** A connection was lost, or an attempt to connect failed; the next one comes in `retryInMs`. */
  readonly disconnect: {
    readonly error: DeribitKeysError | null;
    readonly attempt: number;
    readonly retryInMs: number;
  };
  /** Back: logged in, subscriptions restored. `attempts` were needed, `awayMs` it took. */
  readonly reconnect: { readonly attempts: number; readonly awayMs: number };
  /** The exchange's clock was compared with the local one. */
  readonly clock: KeptReading;
  /** The exchange would not give these channels again after a reconnect; their listeners are gone. */
  readonly unsubscribed: { readonly channels: readonly string[]; readonly error: DeribitKeysError };
  /** The last event: `error` is null where the session was closed by its owner. */
  readonly closed: { readonly error: DeribitKeysError | null };
}
