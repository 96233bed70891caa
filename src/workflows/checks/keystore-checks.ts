import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { DeribitKeysError } from '../../errors.js';
import { errnoOf, fileError } from '../../keystore/files.js';
import { fileNames, type Keystore } from '../../keystore/keystore.js';
import { foldName, isKeyName } from '../../keystore/names.js';
import { hasFileModes } from '../../keystore/permissions.js';
import type { KeyRecord } from '../../keystore/record.js';
import { isLeftover, ownerOfLeftover } from '../../keystore/transaction.js';
import { asFound, type Finding, fixOf, notesOn, ownCommand, shellWord } from './finding.js';

const note = notesOn(null);
const RECORD = '.json';
const WRITABLE_BY_OTHERS = 0o022;
const OPEN_TO_OTHERS = 0o077;
const STICKY = 0o1000;

const isCommit = (entry: string) => /^\..*\.commit$/.test(entry);
const isLock = (entry: string) => /^\..*\.lock$/.test(entry);

/** What a look at the whole keystore found. */
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
    if (errnoOf(error) === 'ENOENT') {
      return {
        records: [],
        findings: [note.skipped('keystore', `there is no folder ${folder} yet`, ownCommand('generate', 'bot'))],
      };
    }
    const { message } = fileError(error, 'read the keystore', folder);
    return { records: [], findings: [note.bad('keystore', message, 'name the right folder by --keys-dir')] };
  }
  const records: KeyRecord[] = [];
  const damaged: Finding[] = [];
  for (const name of entries
    .filter((entry) => entry.endsWith(RECORD))
    .map(baseOf)
    .sort()) {
    if (!isKeyName(name)) continue;
    try {
      records.push(await store.read(name));
    } catch (error) {
      damaged.push(damagedRecord(folder, name, entries, asFound(error)));
    }
  }
  return {
    records,
    findings: [
      note.good('keystore', `${folder}: ${records.length} ${records.length === 1 ? 'key' : 'keys'}`),
      await checkFolder(folder),
      checkLeftovers(folder, entries),
      checkStrays(folder, entries),
      ...damaged,
    ],
  };
}

async function checkFolder(folder: string): Promise<Finding> {
  const check = 'folder-permissions';
  if (!hasFileModes()) return note.skipped(check, 'this platform has no file modes');
  const { mode, uid } = await stat(folder);
  const shown = (mode & 0o7777).toString(8).padStart(4, '0');
  const fix = `chmod 700 ${shellWord(folder)}`;
  const me = process.geteuid?.();
  if (uid !== me && uid !== 0) {
    return note.bad(check, `the folder belongs to another user (uid ${uid})`, `chown -R ${me} ${shellWord(folder)}`);
  }
  if ((mode & WRITABLE_BY_OTHERS) !== 0 && (mode & STICKY) === 0) {
    return note.bad(check, `others can replace files in ${folder} (mode ${shown})`, fix);
  }
  if ((mode & OPEN_TO_OTHERS) !== 0) return note.remark(check, `others can look into it (mode ${shown})`, fix);
  return note.good(check, `its owner's alone (mode ${shown})`);
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
        `a change that was begun cannot be ended: ${which}`,
        `look at the files in ${inFolder(unfinished)}; when nothing in it is needed: rm -r ${inFolder(unfinished)}`,
      );
}

/** Key files that no record speaks for: no command uses or shows them. */
function checkStrays(folder: string, entries: readonly string[]): Finding {
  const check = 'stray-files';
  const owned = new Set(entries.filter((entry) => entry.endsWith(RECORD)).map((entry) => foldName(baseOf(entry))));
  const strays = entries.filter((entry) => /\.pem$/i.test(entry) && !owned.has(foldName(baseOf(entry))));
  if (strays.length === 0) return note.good(check, 'each key file has its record');
  const fixes = strays.map((stray) => {
    const name = isKeyName(baseOf(stray)) ? baseOf(stray) : 'new-name';
    const isPublic = /\.pub\.pem$/i.test(stray);
    return isPublic ? `rm ${shellWord(join(folder, stray))}` : bringInAgain(folder, name, stray, [stray]);
  });
  return note.bad(check, `no record speaks for: ${strays.join(', ')}`, fixes.join(' && '));
}

const baseOf = (entry: string) => entry.replace(/((\.pub)?\.pem|\.json)$/i, '');

/** Moves files into a folder beside and imports the private key from there. */
function bringInAgain(folder: string, name: string, privateFile: string, files: readonly string[]): string {
  const aside = join(folder, 'aside');
  const moved = files.map((file) => shellWord(join(folder, file))).join(' ');
  const bring = ownCommand('import', name, join(aside, privateFile));
  return `mkdir -p ${shellWord(aside)} && mv ${moved} ${shellWord(aside)} && ${bring}`;
}

/** A record that cannot be read. */
function damagedRecord(folder: string, name: string, entries: readonly string[], error: DeribitKeysError): Finding {
  const notes = notesOn(name);
  if (error.code !== 'ERR_RECORD_DAMAGED') return notes.bad('record', error.message, fixOf(error));
  const files = Object.values(fileNames(name)).filter((file) => entries.includes(file));
  const { privateKey, record } = fileNames(name);
  const fix = files.includes(privateKey)
    ? bringInAgain(folder, name, privateKey, files)
    : `mv ${shellWord(join(folder, record))} ${shellWord(join(folder, `${record}.damaged`))}`;
  return notes.bad('record', error.message, fix);
}
