import type { Signer } from '../crypto/signer.js';
import type { Credentials } from '../deribit/auth.js';
import type { ExchangeClock } from '../deribit/clock.js';
import { type Endpoint, type EndpointChoice, resolveEndpoint, sameEndpoint } from '../deribit/endpoints.js';
import type { SecondFactor } from '../deribit/second-factor.js';
import type { Transport } from '../deribit/transport.js';
import { usageError } from '../errors.js';
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

/** The endpoint that a record remembers, or null for a key that was never sent anywhere. */
export function endpointOfRecord({ environment, url }: KeyRecord): Endpoint | null {
  return environment === null ? null : resolveEndpoint({ environment, url: url ?? undefined });
}

/** Whether a key is registered, or is to be, at this endpoint. */
export function isAt(record: KeyRecord, endpoint: Endpoint): boolean {
  const remembered = endpointOfRecord(record);
  return remembered !== null && sameEndpoint(remembered, endpoint);
}

const named = (endpoint: Endpoint) =>
  endpoint.custom ? `${new URL(endpoint.url).host} (${endpoint.environment})` : endpoint.environment;

/**
 * Where a command on `records` goes: where they were registered. The user's options may choose another scheme, not
 * another place.
 * @throws `ERR_USAGE` where the records, or a record and the user's words, lead to different places
 */
export function selectEndpoint(choice: EndpointChoice, ...records: readonly KeyRecord[]): Endpoint {
  const isChosen = choice.environment !== undefined || choice.url !== undefined;
  let target = isChosen ? resolveEndpoint(choice) : null;
  let owner: KeyRecord | null = null;
  for (const record of records) {
    const remembered = endpointOfRecord(record);
    if (remembered === null) continue;
    if (target !== null && (!sameEndpoint(target, remembered) || conflicts(choice, record))) {
      const other = owner === null ? `not for ${named(target)}` : `and "${owner.name}" on ${named(target)}`;
      throw usageError(
        `the key "${record.name}" is registered on ${named(remembered)}, ${other}`,
        owner === null
          ? 'leave out --env and --url (DERIBIT_ENV, DERIBIT_KEYS_URL): a registered key knows where it belongs'
          : 'use keys of one endpoint',
      );
    }
    owner ??= record;
    target ??= remembered;
  }
  return target ?? resolveEndpoint(choice);
}

/** An environment that was named beside a URL of the same place may still contradict the record's. */
function conflicts(choice: EndpointChoice, record: KeyRecord): boolean {
  return choice.url !== undefined && choice.environment !== undefined && choice.environment !== record.environment;
}

/** What a record keeps of the place that it was registered at. */
export function endpointFields(endpoint: Endpoint): Pick<KeyRecord, 'environment' | 'url'> {
  return { environment: endpoint.environment, url: endpoint.custom ? endpoint.url : null };
}
