import { type Command, InvalidArgumentError, Option } from 'commander';
import { camelCase, PER_KEY_OPTIONS, SECRETS, type SecretName } from './secret-sources.js';

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

/** Parses a whole number from `least` to `most`; commander names the option if it is something else. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(
      `It must be a whole number from ${least}${most === Number.MAX_SAFE_INTEGER ? ' up' : ` to ${most}`}.`,
    );
  };
}

/** Refuses an empty text, such as a shell variable that is not set. */
export function notEmpty(text: string): string {
  if (text !== '') return text;
  throw new InvalidArgumentError('It must not be empty.');
}

/** Makes `--name` together with `--no-name` a usage error; call it before the options are added. */
export function eitherOr(command: Command, ...names: readonly string[]): Command {
  for (const name of names) {
    const said = new Set<string>();
    for (const option of [name, `no-${name}`]) {
      command.on(`option:${option}`, () => {
        if (said.add(option).size > 1) command.error(`--${name} and --no-${name} contradict each other`);
      });
    }
  }
  return command;
}

/** Collects the values of an option that may be repeated. */
export function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** The option that names a file with this secret; `help` replaces what the list says of it. */
export function secretOption(name: SecretName, help: string = SECRETS[name].help): Option {
  const { option, variable } = SECRETS[name];
  return new Option(`--${option} <file>`, `${help} (env ${variable})`).argParser(notEmpty);
}

const perKeyOption = ([name, value, help]: (typeof PER_KEY_OPTIONS)[number]) =>
  new Option(`--${name} ${value}`, help).argParser(notEmpty);

export function addGlobalOptions(program: Command): void {
  program
    .option('--keys-dir <dir>', 'folder of the keystore (env DERIBIT_KEYS_DIR; default ./keys)', notEmpty)
    .addOption(
      new Option('--env <environment>', 'environment of Deribit (env DERIBIT_ENV; default test)').choices([
        'test',
        'prod',
      ]),
    )
    .option(
      '--url <url>',
      'full endpoint: a ws:, wss:, http: or https: URL (env DERIBIT_KEYS_URL; overrides --env)',
      notEmpty,
    )
    .option(
      '--ca-file <file>',
      'also trust the certificate authorities in this PEM file (env DERIBIT_KEYS_CA_FILE)',
      notEmpty,
    )
    .option('--json', 'print one JSON document on stdout, and errors as JSON on stderr')
    .option('--yes', 'answer every confirmation with yes')
    .addOption(
      new Option('--timeout <ms>', 'time limit for each answer (default 15000)').argParser(wholeNumber(1, 86_400_000)),
    )
    .addOption(
      new Option('--verbose', 'print more on stderr: each request, and the causes of errors').conflicts('quiet'),
    )
    .option('--quiet', 'print no notes and no progress')
    .addOption(secretOption('passphrase').conflicts(PER_KEY_OPTIONS.map(([name]) => camelCase(name))))
    .addOption(perKeyOption(PER_KEY_OPTIONS[0]).conflicts(camelCase(PER_KEY_OPTIONS[1][0])))
    .addOption(perKeyOption(PER_KEY_OPTIONS[1]))
    .addOption(secretOption('pin'))
    .addOption(secretOption('vaultToken'))
    .addOption(secretOption('vaultSecretId'))
    .option(
      '--allow-mounted',
      'accept a private key mounted by Kubernetes or Docker: owned by root, readable by a group',
    )
    .option('--allow-insecure-permissions', 'skip the check of who else can read a private key');
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

/** The login of commands that act on the account. */
export function addLoginOptions(command: Command): Command {
  return command
    .optionsGroup('Login options:')
    .option('--as <name>', 'log in with this registered key of the keystore', notEmpty)
    .addOption(secretOption('asPassphrase'))
    .option('--client-id <id>', 'log in with this symmetric key and its secret (env DERIBIT_CLIENT_ID)', notEmpty)
    .addOption(secretOption('clientSecret'))
    .option('--tfa-code <code>', 'second factor: a single code (env DERIBIT_TFA_CODE)', notEmpty)
    .addOption(secretOption('tfaSeed'))
    .option('--subaccount <id>', 'act on this subaccount of the main account', wholeNumber(1));
}

/** Where `token`, `exec` and `auth-server` share tokens. */
export interface TokenStoreOptions {
  readonly tokenStore?: string;
  readonly tokenStoreKeyFile?: string;
}

export function addTokenStoreOptions(command: Command): Command {
  return command
    .option(
      '--token-store <url>',
      'share tokens through this redis: or rediss: server (env DERIBIT_KEYS_TOKEN_STORE)',
      notEmpty,
    )
    .option(
      '--token-store-key-file <file>',
      'the 32 bytes that stored tokens are encrypted under (env DERIBIT_KEYS_TOKEN_STORE_KEY_FILE)',
      notEmpty,
    );
}

/** The examples at the end of a help text: arguments of this program, or after `$ ` a complete shell line. */
export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line.startsWith('$ ') ? line : `$ deribit-keys ${line}`}`).join('\n')}`;
}
