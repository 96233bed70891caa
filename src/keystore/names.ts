import { DeribitKeysError, usageError } from '../errors.js';

/** The folder, relative to the keystore, that keys go to when they are removed. */
export const RETIRED_FOLDER = 'retired';

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;
const RESERVED = /\.(pub|pem)$/i;

/** Whether `name` can be the name of a key. */
export function isKeyName(name: string): boolean {
  return NAME.test(name) && !RESERVED.test(name);
}

/** Names of devices on Windows, whatever follows a dot: a file of such a name cannot be copied there. */
const DEVICE = /^(con|prn|aux|nul|(com|lpt)[0-9])(\.|$)/i;

/**
 * Returns `name` if it can be the name of a new key.
 * @throws `ERR_USAGE` if it cannot
 */
export function requireNewKeyName(name: string): string {
  if (!DEVICE.test(name)) return requireKeyName(name);
  throw usageError(`"${name}" cannot be the name of a key: Windows has a device of that name`, 'choose another name');
}

/**
 * Returns `name` if it can be the name of a key.
 * @throws `ERR_USAGE` if it cannot
 */
export function requireKeyName(name: string): string {
  if (isKeyName(name)) return name;
  const shown = /^[\x20-\x7e]{1,80}$/.test(name) ? `"${name}"` : `a text of ${name.length} characters`;
  throw usageError(
    `${shown} is not a key name`,
    'use 1 to 64 letters, digits, "_", "-" or "." (not first "." or "-", not ending in .pub or .pem)',
  );
}

/** Two names that a file system without case could confuse have the same folded form. */
export function foldName(name: string): string {
  return name.toLowerCase();
}

const RECORD = '.json';
const SUFFIXES = [RECORD, '.pem', '.pub.pem'] as const;

/** The names of a key's files, relative to the keystore. */
export function fileNames(name: string): { privateKey: string; publicKey: string; record: string } {
  return { privateKey: `${name}.pem`, publicKey: `${name}.pub.pem`, record: `${name}${RECORD}` };
}

/** Where a token of a key is kept while it is valid, relative to the keystore. */
export const tokenFileName = (name: string) => `.${name}.token.json`;

/** The names that have a record, of the files in a keystore. */
export function recordedNames(files: readonly string[]): string[] {
  return files.filter((file) => file.endsWith(RECORD)).map((file) => file.slice(0, -RECORD.length));
}

/**
 * Requires that none of the keystore's `files` belongs to one of `names`, or to a name that differs only by case.
 * @param finished whether an interrupted run was finished just now, which may have made the files
 * @throws `ERR_NAME_TAKEN`
 */
export function requireFreeNames(names: readonly string[], files: readonly string[], finished: boolean): void {
  const byFolded = new Map(files.map((file) => [foldName(file), file]));
  for (const [name, suffix] of names.flatMap((name) => SUFFIXES.map((suffix) => [name, suffix] as const))) {
    const file = byFolded.get(foldName(name) + suffix);
    if (file === undefined) continue;
    if (suffix !== RECORD) throw fileTaken(`a file ${file}`);
    const existing = file.slice(0, -RECORD.length);
    const how = finished ? 'exists now, complete: an interrupted run was finished' : 'exists already';
    throw new DeribitKeysError('ERR_NAME_TAKEN', `the key "${existing}" ${how}`, {
      hint:
        existing === name
          ? `see it with: deribit-keys show ${existing}`
          : `choose a name that differs from "${existing}" by more than case`,
    });
  }
}

/** The error for a new file whose name is taken. */
export function fileTaken(file: string): DeribitKeysError {
  return new DeribitKeysError('ERR_NAME_TAKEN', `${file} exists already: nothing is overwritten`, {
    hint: 'choose another name, or move that file away',
  });
}
