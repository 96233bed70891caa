import type { Endpoint } from '../../deribit/endpoints.js';
import { listJournals, type RotationJournal } from '../../keystore/journal.js';
import type { Keystore } from '../../keystore/keystore.js';
import type { KeyRecord } from '../../keystore/record.js';
import { formatDuration } from '../../util/duration.js';
import { type EndpointSelection, endpointOfRecord, selectEndpoint } from '../endpoint-selection.js';
import { graceEndMs, isInGrace } from '../rotation/grace.js';
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
  choice: EndpointSelection,
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
    const target = selectEndpoint(choice, record);
    if (endpoint === null)
      return { endpoint, finding: notes.skipped(check, `none yet; as it is, it would be ${target.environment}`) };
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
  const ageMs = Math.max(0, nowMs - Date.parse(record.registeredAt ?? record.createdAt));
  if (ageMs <= maxAgeMs) return [notes.good('age', `registered ${formatDuration(ageMs)} ago`)];
  const detail = `registered ${formatDuration(ageMs)} ago: older than ${formatDuration(maxAgeMs)}`;
  return [notes.bad('age', detail, `${ownCommand('rotate', record.name)} ${by}`)];
}

/** What the journals say of the rotations that are under way. */
export interface RotationView {
  readonly findings: readonly Finding[];
  /** Names of keys that are the successors in them: no command but `rotate` is for them. */
  readonly successors: ReadonlySet<string>;
}

/** The rotations that are under way: one that was interrupted, or whose grace is over, waits for its command. */
export async function rotations(store: Keystore, by: string): Promise<RotationView> {
  try {
    const journals = await listJournals(store);
    return {
      findings: journals.map((journal) => rotation(journal, store.now().getTime(), by)),
      successors: new Set(journals.map(({ successor }) => successor)),
    };
  } catch (thrown) {
    const error = asFound(thrown);
    return { findings: [notesOn(null).bad('rotation', error.message, fixOf(error))], successors: new Set() };
  }
}

function rotation(journal: RotationJournal, nowMs: number, by: string): Finding {
  const { name, stage, promotedAt } = journal;
  const notes = notesOn(name);
  const goOn = `${ownCommand('rotate', name)} ${by}`;
  if (stage === 'aborting') {
    return notes.bad(
      'rotation',
      'the way back from a rotation was interrupted',
      `${ownCommand('rotate', name, '--abort')} ${by}`,
    );
  }
  if (promotedAt === null) return notes.bad('rotation', `its rotation of ${journal.startedAt} is not ended`, goOn);
  const due = new Date(graceEndMs(journal) ?? 0).toISOString();
  return isInGrace(journal, nowMs)
    ? notes.good('rotation', `the old key stays enabled until ${due}`)
    : notes.bad('rotation', `the grace of the old key was over at ${due}, and it is not removed yet`, goOn);
}
