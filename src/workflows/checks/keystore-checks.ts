import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Endpoint, EndpointChoice } from '../../deribit/endpoints.js';
import { errnoOf, fileError } from '../../keystore/file-errors.js';
import { listJournals, type RotationJournal } from '../../keystore/journal.js';
import type { DamagedRecord, Keystore } from '../../keystore/keystore.js';
import { fileNames, foldName, isKeyName, recordedNames } from '../../keystore/names.js';
import { hasFileModes, OTHERS, octal, STICKY, WRITABLE_BY_OTHERS } from '../../keystore/permissions.js';
import type { KeyRecord } from '../../keystore/record.js';
import { isLeftover, ownerOfLeftover } from '../../keystore/transaction.js';
import { formatDuration, shellWord } from '../../util/text.js';
import { endpointOfRecord, selectEndpoint } from '../context.js';
import { graceEndMs, isInGrace } from '../rotation/inspect.js';
import { asFound, type Finding, fixOf, notesOn, ownCommand } from './finding.js';

const note = notesOn(null);

const isCommit = (entry: string) => /^\..*\.commit$/.test(entry);
const isLock = (entry: string) => /^\..*\.lock$/.test(entry);

/** What was found in the keystore. */
export interface KeystoreView {
  readonly findings: readonly Finding[];
  readonly records: readonly KeyRecord[];
}

/**
 * Looks at the keystore's folder, at what dead commands left in it, at files that belong to no key, and at every record.
 * What dead commands left is cleared up first, as each command does: only what that could not clear is a finding.
 */
export async function checkKeystore(store: Keystore): Promise<KeystoreView> {
  const { folder } = store;
  await store.tidy();
  let entries: readonly string[];
  try {
    entries = await readdir(folder);
  } catch (error) {
    const { message } = fileError(error, 'read the keystore', folder);
    const finding =
      errnoOf(error) === 'ENOENT'
        ? note.skipped('keystore', `there is no folder ${folder} yet`, ownCommand('generate', 'bot'))
        : note.bad('keystore', message, 'name the right folder by --keys-dir');
    return { records: [], findings: [finding] };
  }
  const { records, damaged } = await store.list();
  return {
    records,
    findings: [
      note.good('keystore', `${folder}: ${records.length} ${records.length === 1 ? 'key' : 'keys'}`),
      await checkFolder(folder),
      checkLeftovers(folder, entries),
      checkStrays(folder, entries),
      ...damaged.map((record) => damagedRecord(folder, entries, record)),
    ],
  };
}

async function checkFolder(folder: string): Promise<Finding> {
  const check = 'folder-permissions';
  if (!hasFileModes()) return note.skipped(check, 'this platform has no file modes');
  const { mode, uid } = await stat(folder);
  const shown = octal(mode);
  const fix = `chmod 700 ${shellWord(folder)}`;
  const me = process.geteuid?.();
  if (uid !== me && uid !== 0) {
    return note.bad(check, `the folder belongs to another user (uid ${uid})`, `chown -R ${me} ${shellWord(folder)}`);
  }
  if ((mode & WRITABLE_BY_OTHERS) !== 0 && (mode & STICKY) === 0) {
    return note.bad(check, `others can replace files in ${folder} (mode ${shown})`, fix);
  }
  if ((mode & OTHERS) !== 0) return note.remark(check, `others can look into it (mode ${shown})`, fix);
  return note.good(check, `only its owner can use it (mode ${shown})`);
}

function checkLeftovers(folder: string, entries: readonly string[]): Finding {
  const check = 'leftovers';
  const inUse = new Set(entries.filter(isLock).map(ownerOfLeftover));
  const left = entries.filter(
    (entry) => (isLeftover(entry) || isCommit(entry)) && !inUse.has(ownerOfLeftover(entry) ?? ''),
  );
  if (left.length === 0) {
    const users = inUse.size === 0 ? '' : ` (another command works on ${[...inUse].join(', ')})`;
    return note.good(check, `nothing was left by interrupted commands${users}`);
  }
  const which = left.join(', ');
  const inFolder = (entry: string) => shellWord(join(folder, entry));
  const unfinished = left.find(isCommit);
  return unfinished === undefined
    ? note.bad(check, `left by an interrupted command: ${which}`, `rm -r ${left.map(inFolder).join(' ')}`)
    : note.bad(
        check,
        `an unfinished change cannot be completed: ${which}`,
        `inspect the files in ${inFolder(unfinished)}; if nothing in it is needed: rm -r ${inFolder(unfinished)}`,
      );
}

/** Key files without a record: no command uses or shows them. */
function checkStrays(folder: string, entries: readonly string[]): Finding {
  const check = 'stray-files';
  const owned = new Set(recordedNames(entries).map(foldName));
  const strays = entries.filter((entry) => /\.pem$/i.test(entry) && !owned.has(foldName(baseOf(entry))));
  if (strays.length === 0) return note.good(check, 'each key file has its record');
  const fixes = strays.map((stray) => {
    const name = isKeyName(baseOf(stray)) ? baseOf(stray) : 'new-name';
    return /\.pub\.pem$/i.test(stray)
      ? `rm ${shellWord(join(folder, stray))}`
      : bringInAgain(folder, [stray], { name, privateFile: stray });
  });
  return note.bad(check, `files without a record: ${strays.join(', ')}`, fixes.join(' && '));
}

const baseOf = (keyFile: string) => keyFile.replace(/(\.pub)?\.pem$/i, '');

/** Moves files into a folder beside and imports the private key from there. */
function bringInAgain(
  folder: string,
  files: readonly string[],
  { name, privateFile }: { readonly name: string; readonly privateFile: string },
): string {
  const aside = join(folder, 'aside');
  const moved = files.map((file) => shellWord(join(folder, file))).join(' ');
  const bring = ownCommand('import', name, join(aside, privateFile));
  return `mkdir -p ${shellWord(aside)} && mv ${moved} ${shellWord(aside)} && ${bring}`;
}

function damagedRecord(folder: string, entries: readonly string[], { name, error: thrown }: DamagedRecord): Finding {
  const error = asFound(thrown);
  const notes = notesOn(name);
  if (error.code !== 'ERR_RECORD_DAMAGED') return notes.bad('record', error.message, fixOf(error));
  const files = Object.values(fileNames(name)).filter((file) => entries.includes(file));
  const { privateKey, record } = fileNames(name);
  const fix = files.includes(privateKey)
    ? bringInAgain(folder, files, { name, privateFile: privateKey })
    : `mv ${shellWord(join(folder, record))} ${shellWord(join(folder, `${record}.damaged`))}`;
  return notes.bad('record', error.message, fix);
}

/** How far the key has come, by its record. `by` are the login options for a command that fixes it. */
export function registration(record: KeyRecord, by: string): Finding {
  const notes = notesOn(record.name);
  const check = 'registration';
  const register = `${ownCommand('register', record.name, '--scope', record.scope ?? 'trade:read')} ${by}`;
  switch (record.state) {
    case 'local':
      return notes.skipped(check, 'never registered, so not on any exchange', register);
    case 'pending':
      return notes.bad(check, 'its registration was interrupted and is not finished', register);
    case 'retired':
      return notes.good(check, 'retired: it is kept, but no longer used');
    case 'registered':
      return notes.good(check, `registered as ${record.clientId}`);
  }
}

/** Where the key belongs (null if unknown), and whether the options of the command lead there, too. */
export function placeOfRecord(
  choice: EndpointChoice,
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

/** A key that was imported under several names is one key: what happens to it under one name happens to all. */
export function duplicates(records: readonly KeyRecord[], selected: readonly KeyRecord[]): Finding[] {
  const isLive = ({ state }: KeyRecord) => state !== 'retired';
  const ofSelected = new Set(selected.filter(isLive).map(({ fingerprint }) => fingerprint));
  return [...ofSelected].flatMap((fingerprint) => {
    const same = records.filter((record) => isLive(record) && record.fingerprint === fingerprint);
    const [kept, ...others] = same.sort(byUse);
    if (kept === undefined) return [];
    return others.map((record) => {
      const detail = `the same key as "${kept.name}"`;
      const notes = notesOn(record.name);
      // a key that the exchange may accept cannot be removed from the keystore
      return record.state === 'local'
        ? notes.remark('duplicates', detail, ownCommand('remove', record.name))
        : notes.good('duplicates', detail);
    });
  });
}

/** The key to keep comes first: registered, then pending; of several, the one that was made first. */
function byUse(a: KeyRecord, b: KeyRecord): number {
  const rank = ({ state }: KeyRecord) => (state === 'registered' ? 0 : state === 'pending' ? 1 : 2);
  return rank(a) - rank(b) || a.createdAt.localeCompare(b.createdAt) || a.name.localeCompare(b.name);
}

/** Whether a registered key is older than it may be; nothing for any other. */
export function age(
  record: KeyRecord,
  { nowMs, maxAgeMs, by }: { readonly nowMs: number; readonly maxAgeMs: number; readonly by: string },
): Finding[] {
  if (record.state !== 'registered') return [];
  const notes = notesOn(record.name);
  const ageMs = Math.max(0, nowMs - Date.parse(record.registeredAt ?? record.createdAt));
  if (ageMs <= maxAgeMs) return [notes.good('age', `registered ${formatDuration(ageMs)} ago`)];
  const detail = `registered ${formatDuration(ageMs)} ago: older than ${formatDuration(maxAgeMs)}`;
  return [notes.bad('age', detail, `${ownCommand('rotate', record.name)} ${by}`)];
}

/**
 * The rotations that are under way: one that was interrupted, or whose grace period is over, waits for its command.
 * @returns `successors`: the names of the keys for which there is no command but `rotate`
 */
export async function rotations(
  store: Keystore,
  by: string,
): Promise<{ readonly findings: readonly Finding[]; readonly successors: ReadonlySet<string> }> {
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
    const abort = `${ownCommand('rotate', name, '--abort')} ${by}`;
    return notes.bad('rotation', 'the abort of a rotation was interrupted', abort);
  }
  if (promotedAt === null) return notes.bad('rotation', `its rotation of ${journal.startedAt} is not finished`, goOn);
  const due = new Date(graceEndMs(journal) ?? 0).toISOString();
  return isInGrace(journal, nowMs)
    ? notes.good('rotation', `the old key stays enabled until ${due}`)
    : notes.bad('rotation', `the grace period of the old key ended at ${due}, and the key is not removed yet`, goOn);
}
