import type { Signer } from '../crypto/signer.js';
import type { Credentials } from '../deribit/auth.js';
import type { ExchangeClock } from '../deribit/clock.js';
import type { Endpoint } from '../deribit/endpoints.js';
import type { SecondFactor } from '../deribit/second-factor.js';
import type { Transport } from '../deribit/transport.js';
import type { Keystore } from '../keystore/keystore.js';
import type { KeyRecord } from '../keystore/record.js';

/** What every workflow takes. Tests replace single parts. */
export interface WorkflowContext {
  readonly store: Keystore;
  /** Opens a connection, or prepares HTTP requests; `signal` replaces the one that ends the program's work. */
  readonly connect: (endpoint: Endpoint, options?: { readonly signal?: AbortSignal | undefined }) => Promise<Transport>;
  /** The signer of a key of the keystore; asks for its passphrase where it is encrypted. */
  readonly signerOf: (record: KeyRecord) => Promise<Signer>;
  readonly secondFactor?: SecondFactor;
  readonly signal?: AbortSignal;
  /** Called with sentences for the user while the work goes on; never with a secret. */
  readonly onNote?: (note: string) => void;
  /** Wall clock in milliseconds since the epoch. */
  readonly nowMs: () => number;
  /** What is known of the exchange's clock; read where a login is refused. */
  readonly clock: ExchangeClock;
  /**
   * How long after it was sent an unanswered `create_api_key` may still be carried out; two minutes where left
   * out. A shorter time risks a second key: it is for tests.
   */
  readonly uncertainMs?: number | undefined;
}

/** A login for work on the account. Its scope must hold `account:read_write`, or `account:read` to only look. */
export interface AccountLogin {
  readonly credentials: Credentials;
  readonly endpoint: Endpoint;
  /** The user id of the subaccount to act on; the login's own account where left out. */
  readonly subaccount?: number | undefined;
  /** The subaccount that the login itself belongs to, where that is known. */
  readonly homeSubaccount?: number | undefined;
}
