import type { Signer } from '../crypto/signer.js';
import type { Credentials } from '../deribit/auth.js';
import type { ExchangeClock } from '../deribit/clock.js';
import type { Endpoint } from '../deribit/endpoints.js';
import type { SecondFactor } from '../deribit/second-factor.js';
import type { Transport } from '../deribit/transport.js';
import type { Keystore } from '../keystore/keystore.js';
import type { KeyRecord } from '../keystore/record.js';

/** What every workflow takes: each part can be another in a test. */
export interface WorkflowContext {
  readonly store: Keystore;
  /** Opens a connection, or prepares HTTP requests; `signal` replaces the one that ends the program's work. */
  readonly connect: (endpoint: Endpoint, options?: { readonly signal?: AbortSignal | undefined }) => Promise<Transport>;
  /** The signer of a key of the keystore: asks for its passphrase where it must. */
  readonly signerOf: (record: KeyRecord) => Promise<Signer>;
  readonly secondFactor?: SecondFactor;
  readonly signal?: AbortSignal;
  /** Something worth saying while the work goes on; never a secret. */
  readonly onNote?: (note: string) => void;
  /** Wall clock in milliseconds since the epoch. */
  readonly nowMs: () => number;
  /** What is known of the exchange's clock; read where a login is refused. */
  readonly clock: ExchangeClock;
}

/** A login for work on the account: whose scope must hold `account:read_write`, or `account:read` to look. */
export interface AccountLogin {
  readonly credentials: Credentials;
  readonly endpoint: Endpoint;
  /** The user id of the subaccount to act on; the login's own account where left out. */
  readonly subaccount?: number | undefined;
  /** The subaccount that the login itself belongs to, where that is known. */
  readonly homeSubaccount?: number | undefined;
}
