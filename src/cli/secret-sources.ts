import { Secret } from '../crypto/secret.js';
import { DeribitKeysError } from '../errors.js';
import type { Output } from './program.js';

/*
 * Every secret that the program takes, and every place that it may come from: this file is the only one that knows them.
 *
 *   an option that names a file   --passphrase-file secret.txt      each secret
 *   a command                     --passphrase-command "pass show"  the passphrase of a key: its name is the last argument
 *   a folder                      --passphrase-dir /run/secrets     the passphrase of a key: one file per name
 *   an environment variable       DERIBIT_KEYS_PASSPHRASE           each secret
 *   systemd's credentials         $CREDENTIALS_DIRECTORY/<name>     the passphrase of a key
 *
 * Where none of them holds it, somebody is asked at the terminal (secrets.ts).
 */

/** What each secret is called in a sentence, its variable, and how the help of its option begins. */
export const SECRETS = {
  passphrase: ['passphrase', 'DERIBIT_KEYS_PASSPHRASE', 'read the passphrase of the key'],
  inputPassphrase: ['passphrase', 'DERIBIT_KEYS_INPUT_PASSPHRASE', 'read the passphrase of the input file'],
  newPassphrase: ['passphrase', 'DERIBIT_KEYS_NEW_PASSPHRASE', 'read the new passphrase'],
  asPassphrase: ['passphrase', 'DERIBIT_KEYS_AS_PASSPHRASE', 'read the passphrase of the --as key'],
  backupPassphrase: ['passphrase', 'DERIBIT_KEYS_BACKUP_PASSPHRASE', 'read the passphrase of the backup'],
  pin: ['PIN', 'DERIBIT_KEYS_PIN', 'read the PIN of the token'],
  vaultToken: ['token', 'VAULT_TOKEN', 'read the token for Vault'],
  vaultSecretId: ['secret id', 'VAULT_SECRET_ID', 'read the AppRole secret id for Vault'],
  clientSecret: ['client secret', 'DERIBIT_CLIENT_SECRET', 'read the secret of the --client-id key'],
  tfaSecret: [
    'second-factor seed',
    'DERIBIT_TFA_SECRET',
    'read the second-factor seed, in base32 or as an otpauth: URI,',
  ],
} as const;

export type SecretName = keyof typeof SECRETS;

/** A secret of the list, and the option that names a file with it: for `asPassphrase`, `as-passphrase-file`. */
export function secretKind(name: SecretName) {
  const [what, variable, reading] = SECRETS[name];
  const option = `${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}-file`;
  // only this one belongs to one key: a command, a folder and systemd's credentials can hold one for each
  return { what, variable, option, help: `${reading} from this file`, isPerKey: name === 'passphrase' };
}

/** The environment variables that hold secrets of ours, in upper case. */
const SECRET_VARIABLES: ReadonlySet<string> = new Set([
  ...Object.values(SECRETS).map(([, variable]) => variable),
  'DERIBIT_PRIVATE_KEY',
  'DERIBIT_TFA_CODE',
  // its URL may hold a password
  'DERIBIT_KEYS_TOKEN_STORE',
]);

/** Returns the environment for a program that we run: ours, without our own secrets. */
export function withoutOwnSecrets(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const kept = Object.entries(env).filter(
    // Windows does not tell names apart by case
    (entry): entry is [string, string] => entry[1] !== undefined && !SECRET_VARIABLES.has(entry[0].toUpperCase()),
  );
  return Object.fromEntries(kept);
}

/** The options that hold the passphrases of many keys, beside `--passphrase-file`; only one of the three is given. */
export const PER_KEY_OPTIONS = [
  ['passphrase-command', '<command>', 'run this for the passphrase of a key; the name of the key is its last argument'],
  ['passphrase-dir', '<dir>', 'read the passphrase of each key from the file of the same name in this folder'],
] as const;

/** What the program was called with, as far as it can lead to a secret. */
export interface SecretContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The options of the command and of the program, by commander's names. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly signal: AbortSignal;
  /** Where the stderr of a command is shown; left out where it must not be. */
  readonly stderr?: (() => Output | undefined) | undefined;
  /** Something worth saying about a source. */
  readonly note: (text: string) => void;
}

/** The name that commander stores an option under. */
export const camelCase = (option: string) => option.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());

/**
 * The key that a secret for `key` belongs to; null for a secret that belongs to none. A rotation keeps the old pair as
 * `<name>.<time>` and makes `<name>.next-<hex>`: both have the passphrase of `<name>`.
 */
function ownerOf(name: SecretName, key: string | undefined): string | null {
  if (!secretKind(name).isPerKey || key === undefined) return null;
  return key.replace(/\.(\d{8}T\d{6}Z(-\d+)?|next-[0-9a-f]{8})$/, '');
}

interface Source {
  /** Whether the user named it in this call. */
  readonly explicit: boolean;
  /** Null where it does not hold the secret after all. */
  read(): Promise<Secret | null>;
}

/** The sources of one secret that the call offers, in their order. */
function sourcesOf(name: SecretName, { env, flags, ...io }: SecretContext, key: string | undefined): Source[] {
  const { what, option, variable } = secretKind(name);
  const owner = ownerOf(name, key);
  const flag = (long: string) => {
    const value = flags[camelCase(long)];
    return typeof value === 'string' ? value : undefined;
  };
  const sources: Source[] = [];
  const add = (explicit: boolean, read: (from: typeof import('./secret-readers.js')) => Promise<Secret | null>) =>
    sources.push({ explicit, read: async () => read(await import('./secret-readers.js')) });

  const file = flag(option);
  if (file !== undefined) add(true, ({ readSecretFile }) => readSecretFile(file, what, io));
  if (owner !== null) {
    const command = flag('passphrase-command');
    if (command !== undefined) {
      add(true, ({ readFromCommand }) => readFromCommand(command, owner, { env: withoutOwnSecrets(env), ...io }));
    }
    const folder = flag('passphrase-dir');
    if (folder !== undefined) add(true, ({ readFromFolder }) => readFromFolder(folder, { key: owner, what, io }));
  }
  const value = env[variable];
  if (value) sources.push({ explicit: true, read: async () => new Secret(value) });
  const credentials = env.CREDENTIALS_DIRECTORY;
  if (owner !== null && credentials) {
    add(false, ({ readFromFolder }) => readFromFolder(credentials, { key: owner, what, io, optional: true }));
  }
  return sources;
}

/** Finds secrets in the sources that a call offers. */
export interface SecretFinder {
  /** The first of these secrets that a source holds, or null; `key` is the key that it is for. Each is read once. */
  find(names: readonly SecretName[], key?: string): Promise<Secret | null>;
  /** Whether the call says where the secret is, so that it is meant to be used. */
  isGiven(name: SecretName, key: string): Promise<boolean>;
}

export function secretFinder(context: SecretContext): SecretFinder {
  const read = new Map<string, Promise<Secret | null>>();
  const findOne = async (name: SecretName, key: string | undefined) => {
    for (const source of sourcesOf(name, context, key)) {
      const secret = await source.read();
      if (secret !== null) return secret;
    }
    return null;
  };
  const once = (name: SecretName, key?: string) => {
    const id = `${name} ${ownerOf(name, key)}`;
    const known = read.get(id) ?? findOne(name, key);
    read.set(id, known);
    return known;
  };
  return {
    async find(names, key) {
      for (const name of names) {
        const secret = await once(name, key);
        if (secret !== null) return secret;
      }
      return null;
    },
    async isGiven(name, key) {
      return sourcesOf(name, context, key).some(({ explicit }) => explicit) || (await once(name, key)) !== null;
    },
  };
}

/** @throws always: `why`, and how to give the secret */
export function notGiven(why: string, names: readonly [SecretName, ...SecretName[]]): DeribitKeysError {
  const { what, option, variable, isPerKey } = secretKind(names[0]);
  const others = isPerKey ? ', --passphrase-command <command>, --passphrase-dir <dir>' : '';
  return new DeribitKeysError('ERR_PASSPHRASE_REQUIRED', `${why}, and no ${what} was given`, {
    hint: `use --${option} <file>${others} or ${variable}, or run this on a terminal`,
  });
}
