import { type DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import { shellWord } from '../../util/text.js';

/**
 * Every check of `verify` and `doctor`, in the order in which a failure explains the others: the first one that failed is
 * the culprit.
 */
const CHECKS = {
  error: 'what an error code means',
  keystore: "the keystore's folder can be read",
  'folder-permissions': 'others cannot replace files in it',
  leftovers: 'interrupted commands left nothing behind',
  record: 'the record of the key can be read',
  file: 'its private key file exists',
  permissions: 'only its owner can read it',
  format: 'it is a private key',
  passphrase: 'the passphrase opens it',
  strength: 'it is of a kind and size that Deribit accepts',
  'record-matches': 'it is the key of the record',
  'private-key': 'all of the above, in one word (verify)',
  signer: 'the agent, token or service that holds the key signs with it',
  environment: 'the record, the options and the exchange mean the same environment',
  reachable: 'the exchange answers',
  clock: "the local clock agrees with the exchange's",
  registration: 'its registration was completed',
  account: 'the login for the account works',
  'client-id': 'the exchange knows its client id',
  enabled: 'the key is enabled there',
  'exchange-key': 'the exchange has the same public key',
  exchange: 'the account has the key, and it is the same (verify)',
  whitelist: 'the whitelist is the one on record',
  login: 'a signed login works',
  'access-log': "what the account's access log says about refused logins",
  scope: 'a login grants the scope on record',
  'max-scope': 'the exchange allows the scope on record',
  twins: 'no other key of the account has the same public key',
  rotation: 'no rotation is unfinished',
  'public-key': 'the file with the public key is intact',
  duplicates: 'no other name stands for the same key',
  'stray-files': 'every key file belongs to a record',
  'key-limit': 'the account has room for another key',
  age: 'the key is not too old',
} as const;

/** The name of a check, as `doctor` and `verify` report it. */
export type CheckName = keyof typeof CHECKS;

const IMPORTANCE = new Map(Object.keys(CHECKS).map((check, index) => [check, index]));

/** The finding that explains the others: of those that failed, the first by the order of {@link CHECKS}. */
export function culpritOf(findings: readonly Finding[]): Finding | null {
  const rank = ({ check }: Finding) => IMPORTANCE.get(check) ?? 0;
  return findings
    .filter(({ ok }) => ok === false)
    .reduce<Finding | null>((first, one) => (first === null || rank(one) < rank(first) ? one : first), null);
}

/** What one check found. */
export interface Finding {
  readonly check: CheckName;
  /** The key that it is about; null for the keystore, the account or the exchange. */
  readonly name: string | null;
  /** Null where the check could not be made: that is neither good nor bad. */
  readonly ok: boolean | null;
  readonly detail: string;
  /** The command that fixes it, or what to do where no command can; with `ok: true`, a suggestion. */
  readonly fix: string | null;
}

/** Makes the findings about one key, or about none. */
export function notesOn(name: string | null) {
  return {
    good: (check: CheckName, detail: string): Finding => ({ check, name, ok: true, detail, fix: null }),
    /** Nothing is wrong, but it could be better. */
    remark: (check: CheckName, detail: string, fix: string): Finding => ({ check, name, ok: true, detail, fix }),
    bad: (check: CheckName, detail: string, fix: string): Finding => ({ check, name, ok: false, detail, fix }),
    skipped: (check: CheckName, detail: string, fix: string | null = null): Finding => ({
      check,
      name,
      ok: null,
      detail,
      fix,
    }),
  };
}

export type Notes = ReturnType<typeof notesOn>;

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
