import { type DeribitKeysError, isDeribitKeysError } from '../../errors.js';

/** What one check found. */
export interface Finding {
  readonly check: string;
  /** The key that it is about; null for the keystore, the account or the exchange. */
  readonly name: string | null;
  /** Null where the check could not be made: that is neither good nor bad. */
  readonly ok: boolean | null;
  readonly detail: string;
  /** The command that mends it, or what to do where no command can; with `ok: true`, a remark that may be followed. */
  readonly fix: string | null;
}

/** Makes the findings about one key, or about none. */
export interface Notes {
  readonly good: (check: string, detail: string) => Finding;
  /** Nothing is wrong, but it could be better. */
  readonly remark: (check: string, detail: string, fix: string) => Finding;
  readonly bad: (check: string, detail: string, fix: string) => Finding;
  readonly skipped: (check: string, detail: string, fix?: string) => Finding;
}

export function notesOn(name: string | null): Notes {
  return {
    good: (check, detail) => ({ check, name, ok: true, detail, fix: null }),
    remark: (check, detail, fix) => ({ check, name, ok: true, detail, fix }),
    bad: (check, detail, fix) => ({ check, name, ok: false, detail, fix }),
    skipped: (check, detail, fix) => ({ check, name, ok: null, detail, fix: fix ?? null }),
  };
}

/** A word for a POSIX shell, quoted where it must be. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** A command line of this program, its words quoted where they must be. */
export function ownCommand(...words: readonly string[]): string {
  return ['deribit-keys', ...words.map(shellWord)].join(' ');
}

/** What an error says to do, without the words around a command. */
export function fixOf(error: DeribitKeysError): string {
  const hint = error.hint ?? 'see the message';
  return hint.startsWith('run: ') ? hint.slice(5).replace(/ \([^'()]*\)$/, '') : hint;
}

/** The error, where it is one that a check may find; thrown again where the user broke off, or where it is a mistake of ours. */
export function asFound(error: unknown): DeribitKeysError {
  if (!isDeribitKeysError(error) || error.code === 'ERR_INTERRUPTED' || error.code === 'ERR_INTERNAL') throw error;
  return error;
}
