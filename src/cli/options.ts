import type { Command } from 'commander';
import { mayBeClientSecret } from '../crypto/secret.js';
import { parseScope } from '../deribit/scope.js';
import { shellWord } from '../util/text.js';
import { camelCase, PER_KEY_OPTIONS, type SecretName, secretKind } from './secret-sources.js';

/** Options of every command, accepted before or after its name. */
export interface GlobalOptions {
  readonly keysDir?: string;
  readonly env?: 'test' | 'prod';
  readonly url?: string;
  readonly json?: true;
  readonly yes?: true;
  readonly caFile?: string;
  readonly timeout?: number;
  readonly verbose?: true;
  readonly quiet?: true;
  readonly passphraseFile?: string;
  readonly pinFile?: string;
  readonly vaultTokenFile?: string;
  readonly vaultSecretIdFile?: string;
  readonly allowInsecurePermissions?: true;
  readonly allowMounted?: true;
}

/** An option as data: for commander, and for calls that are read without it. */
export interface OptionSpec {
  /** As commander writes it: `--scope <scope>`. */
  readonly flags: string;
  readonly description: string;
  readonly parse?: (text: string) => unknown;
  readonly choices?: readonly string[];
  /** Names of options that it does not go together with. */
  readonly conflicts?: readonly string[];
}

/** The class of options comes with the command: this module is loaded by calls without commander. */
export function addOptions<C extends Command>(command: C, options: readonly OptionSpec[]): C {
  for (const { flags, description, parse, choices, conflicts } of options) {
    const option = command.createOption(flags, description);
    if (choices !== undefined) option.choices(choices);
    if (parse !== undefined) option.argParser(parse);
    if (conflicts !== undefined) option.conflicts([...conflicts]);
    command.addOption(option);
  }
  return command;
}

/** What commander recognises as a value that an option does not accept: it adds the name of the option. */
const invalidValue = (message: string) =>
  Object.assign(new Error(message), { code: 'commander.invalidArgument', exitCode: 1 });

/** Parses a whole number from `least` to `most`; commander names the option if it is something else. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw invalidValue(
      `It must be a whole number from ${least}${most === Number.MAX_SAFE_INTEGER ? ' up' : ` to ${most}`}.`,
    );
  };
}

/** Refuses an empty text, such as a shell variable that is not set. */
export function notEmpty(text: string): string {
  if (text !== '') return text;
  throw invalidValue('It must not be empty.');
}

/** Refuses what is not the name of a file: an empty text, and `-` where stdout is not meant. */
export function fileName(text: string): string {
  if (text !== '-') return notEmpty(text);
  throw invalidValue('It must be a file: stdout has the result.');
}

/** Refuses a scope with words that Deribit does not have. @throws `ERR_USAGE` */
export function scopeText(text: string): string {
  parseScope(text);
  return text;
}

/** Collects the values of an option that may be repeated. */
export function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** The option that names a file with this secret; `ownHelp` replaces what the list says of it. */
export function secretSpec(name: SecretName, ownHelp?: string): OptionSpec {
  const { option, variable, help } = secretKind(name);
  return { flags: `--${option} <file>`, description: `${ownHelp ?? help} (env ${variable})`, parse: notEmpty };
}

const perKeySpec = ([name, value, help]: (typeof PER_KEY_OPTIONS)[number]): OptionSpec => ({
  flags: `--${name} ${value}`,
  description: help,
  parse: notEmpty,
});

/** The options of every command. */
export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  {
    flags: '--keys-dir <dir>',
    description: 'folder of the keystore (env DERIBIT_KEYS_DIR; default ./keys)',
    parse: notEmpty,
  },
  {
    flags: '--env <environment>',
    description: 'environment of Deribit (env DERIBIT_ENV; default test)',
    choices: ['test', 'prod'],
  },
  {
    flags: '--url <url>',
    description: 'full endpoint: a ws:, wss:, http: or https: URL (env DERIBIT_KEYS_URL; overrides --env)',
    parse: notEmpty,
  },
  {
    flags: '--ca-file <file>',
    description: 'also trust the certificate authorities in this PEM file (env DERIBIT_KEYS_CA_FILE)',
    parse: notEmpty,
  },
  { flags: '--json', description: 'print one JSON document on stdout, and errors as JSON on stderr' },
  { flags: '--yes', description: 'answer every confirmation with yes' },
  {
    flags: '--timeout <ms>',
    description: 'time limit for each answer (default 15000)',
    parse: wholeNumber(1, 86_400_000),
  },
  {
    flags: '--verbose',
    description: 'print more on stderr: each request, and the causes of errors',
    conflicts: ['quiet'],
  },
  { flags: '--quiet', description: 'print no notes and no progress' },
  { ...secretSpec('passphrase'), conflicts: PER_KEY_OPTIONS.map(([name]) => camelCase(name)) },
  { ...perKeySpec(PER_KEY_OPTIONS[0]), conflicts: [camelCase(PER_KEY_OPTIONS[1][0])] },
  perKeySpec(PER_KEY_OPTIONS[1]),
  secretSpec('pin'),
  secretSpec('vaultToken'),
  secretSpec('vaultSecretId'),
  {
    flags: '--allow-mounted',
    description: 'accept a private key mounted by Kubernetes or Docker: owned by root, readable by a group',
  },
  { flags: '--allow-insecure-permissions', description: 'skip the check of who else can read a private key' },
];

/** A call that {@link readPlainCall} understood. */
export interface PlainCall {
  readonly operands: readonly string[];
  readonly globals: GlobalOptions;
  readonly flags: Readonly<Record<string, unknown>>;
}

/**
 * Reads the words of a call that consists of the command `name`, `operands` arguments and known long options, each given
 * once, as commander reads it, but without loading commander.
 * @returns null for any other call: commander reads it, or says what is wrong with it
 */
export function readPlainCall(
  argv: readonly string[],
  name: string,
  { operands: count, options }: { readonly operands: number; readonly options: readonly OptionSpec[] },
): PlainCall | null {
  const globals: Record<string, unknown> = {};
  const flags: Record<string, unknown> = {};
  const operands: string[] = [];
  const used: OptionSpec[] = [];
  const words = argv.values();
  for (const word of words) {
    if (word !== '' && !word.startsWith('-')) {
      operands.push(word);
      continue;
    }
    const at = word.indexOf('=');
    const [long, attached] = at === -1 ? [word] : [word.slice(0, at), word.slice(at + 1)];
    const isIt = ({ flags: spec }: OptionSpec) => spec === long || spec.startsWith(`${long} <`);
    const general = GLOBAL_OPTIONS.find(isIt);
    const option = general ?? (operands.length > 0 ? options.find(isIt) : undefined);
    if (option === undefined || used.includes(option)) return null;
    used.push(option);
    const values = option === general ? globals : flags;
    const key = camelCase(long.slice(2));
    if (!option.flags.includes(' ')) {
      if (attached !== undefined) return null;
      values[key] = true;
      continue;
    }
    const text = attached ?? words.next().value;
    if (text === undefined || (attached === undefined && text.startsWith('-'))) return null;
    if (option.choices?.includes(text) === false) return null;
    try {
      values[key] = option.parse === undefined ? text : option.parse(text);
    } catch {
      return null;
    }
  }
  const [called, ...rest] = operands;
  if (called !== name || rest.length !== count) return null;
  if (used.some(({ conflicts }) => conflicts?.some((other) => other in globals || other in flags))) return null;
  return { operands: rest, globals, flags };
}

/** What `--as` and its kin were given. */
export interface LoginOptions {
  readonly as?: string;
  readonly asPassphraseFile?: string;
  readonly clientId?: string;
  readonly clientSecretFile?: string;
  readonly tfaCode?: string;
  readonly tfaSecretFile?: string;
  readonly subaccount?: number;
}

/** The login options as words for a suggested command; undefined without a login or for one from the environment. */
export function loginWords({ as, clientId, clientSecretFile }: LoginOptions): string | undefined {
  if (as !== undefined) return `--as ${as}`;
  if (clientId === undefined) return undefined;
  const file = clientSecretFile === undefined ? '' : ` --client-secret-file ${shellWord(clientSecretFile)}`;
  return `--client-id ${mayBeClientSecret(clientId) ? '<id>' : shellWord(clientId)}${file}`;
}

/** Where `token`, `exec` and `auth-server` share tokens. */
export interface TokenStoreOptions {
  readonly tokenStore?: string;
  readonly tokenStoreFile?: string;
  readonly tokenStoreKeyFile?: string;
  readonly tokenStoreAway?: 'login' | 'refuse';
}

/** The examples at the end of a help text: arguments of this program, or after `$ ` a complete shell line. */
export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line.startsWith('$ ') ? line : `$ deribit-keys ${line}`}`).join('\n')}`;
}
