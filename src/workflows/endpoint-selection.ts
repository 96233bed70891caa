import { type Endpoint, type EndpointChoice, resolveEndpoint, sameEndpoint } from '../deribit/endpoints.js';
import { usageError } from '../errors.js';
import type { KeyRecord } from '../keystore/record.js';

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
