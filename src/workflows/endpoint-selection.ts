import { type Endpoint, type Environment, resolveEndpoint, sameEndpoint } from '../deribit/endpoints.js';
import { usageError } from '../errors.js';
import type { KeyRecord } from '../keystore/record.js';

/** The endpoint options of the user; all of them are optional. */
export interface EndpointSelection {
  readonly environment?: Environment | undefined;
  readonly url?: string | undefined;
}

/** The endpoint that a record remembers, or null for a key that was never sent anywhere. */
export function endpointOfRecord(record: KeyRecord): Endpoint | null {
  if (record.environment === null) return null;
  return resolveEndpoint(
    record.url === null ? { environment: record.environment } : { environment: record.environment, url: record.url },
  );
}

const said = (choice: EndpointSelection) => choice.environment !== undefined || choice.url !== undefined;
const named = (endpoint: Endpoint) =>
  endpoint.custom ? `${new URL(endpoint.url).host} (${endpoint.environment})` : endpoint.environment;

/**
 * Where a command on `records` goes: where they were registered. The user's options may choose another scheme, not
 * another place.
 * @throws `ERR_USAGE` where the records, or a record and the user's words, lead to different places
 */
export function selectEndpoint(choice: EndpointSelection, ...records: readonly KeyRecord[]): Endpoint {
  const chosen = said(choice) ? resolveEndpoint(choice) : null;
  let target = chosen;
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
function conflicts(choice: EndpointSelection, record: KeyRecord): boolean {
  return choice.url !== undefined && choice.environment !== undefined && choice.environment !== record.environment;
}

/** What a record keeps of the place that it was registered at. */
export function endpointFields(endpoint: Endpoint): Pick<KeyRecord, 'environment' | 'url'> {
  return { environment: endpoint.environment, url: endpoint.custom ? endpoint.url : null };
}
