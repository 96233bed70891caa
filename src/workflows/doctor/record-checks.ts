import type { Endpoint } from '../../deribit/endpoints.js';
import type { KeyRecord } from '../../keystore/record.js';
import { formatDuration } from '../duration.js';
import { endpointOfRecord, resolveTarget, type TargetChoice } from '../target.js';
import { asFound, type Finding, fixOf, notesOn, ownCommand } from './finding.js';

/** How far the key has come, by its record. `by` are the login options for a command that mends. */
export function registration(record: KeyRecord, by: string): Finding {
  const notes = notesOn(record.name);
  const check = 'registration';
  const register = `${ownCommand('register', record.name, '--scope', record.scope ?? 'trade:read')} ${by}`;
  switch (record.state) {
    case 'local':
      return notes.skipped(check, 'never registered: there is nothing to look for on an exchange', register);
    case 'pending':
      return notes.bad(check, 'its registration was interrupted and waits to be ended', register);
    case 'retired':
      return notes.good(check, 'retired: it is kept, and not used any more');
    case 'registered':
      return notes.good(check, `registered as ${record.clientId}`);
  }
}

/** Where the key belongs, null where that cannot be told; and whether the user's words lead there as well. */
export function placeOfRecord(
  choice: TargetChoice,
  record: KeyRecord,
): { readonly endpoint: Endpoint | null; readonly finding: Finding } {
  const notes = notesOn(record.name);
  const check = 'environment';
  let endpoint: Endpoint | null = null;
  try {
    endpoint = endpointOfRecord(record);
    if (endpoint !== null && endpoint.environment !== record.environment) {
      const { environment, url } = endpoint;
      const detail = `the record says ${record.environment}, its URL leads to ${environment} (${url})`;
      const link = ownCommand('link', `${record.name}-2`, '--client-id', record.clientId ?? '', '--env', environment);
      return { endpoint, finding: notes.bad(check, detail, `import the key under another name, then: ${link}`) };
    }
    const target = resolveTarget(choice, record);
    if (endpoint === null) return { endpoint: target, finding: notes.skipped(check, 'it belongs to none yet') };
    return { endpoint, finding: notes.good(check, `${endpoint.environment} (${new URL(endpoint.url).host})`) };
  } catch (thrown) {
    const error = asFound(thrown);
    return { endpoint, finding: notes.bad(check, error.message, fixOf(error)) };
  }
}

/** Whether a registered key is older than it may be; nothing for any other. */
export function age(record: KeyRecord, nowMs: number, maxAgeMs: number, by: string): Finding[] {
  if (record.state !== 'registered') return [];
  const notes = notesOn(record.name);
  const ageMs = Math.max(0, nowMs - Date.parse(record.createdAt));
  if (ageMs <= maxAgeMs) return [notes.good('age', `made ${formatDuration(ageMs)} ago`)];
  const detail = `made ${formatDuration(ageMs)} ago: older than ${formatDuration(maxAgeMs)}`;
  return [notes.bad('age', detail, `${ownCommand('rotate', record.name)} ${by}`)];
}
