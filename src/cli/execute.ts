import type { Command, CommanderError } from 'commander';
import { DeribitKeysError, usageError } from '../errors.js';
import { defined } from '../util/defined.js';
import { shellWord } from '../util/text.js';
import { VERSION } from '../version.js';
import { createContext } from './context.js';
import { CheckFailed, EXIT, ExitWith } from './exit-codes.js';
import { type GlobalOptions, type LoginOptions, loginWords, type PlainCall, readPlainCall } from './options.js';
import { createPrinter } from './output.js';
import { type CommandGroup, createProgram, type Host, type PlainCommand, perform } from './program.js';

/** What the completion scripts call, with the words of the line; the last one is to be completed. */
export const COMPLETE = '__complete';

/** Commands that act on the account: they repeat the login of the call that advises them. */
const WITH_LOGIN = /^(?:api-keys [a-z]+|register|rotate)$/;

/**
 * Completes the commands of this program in a text, such as a hint, so that they work as they stand: with the keystore,
 * the endpoint and the login that this call was given by options.
 * @param commands the names of commands, which tell a command from other words
 */
export function completeCommands(
  text: string,
  { flags, commands }: { readonly flags: GlobalOptions & LoginOptions; readonly commands: ReadonlySet<string> },
): string {
  const { keysDir, caFile, env, url, allowMounted, allowInsecurePermissions } = flags;
  const login = loginWords(flags);
  const option = (name: string, value: string | undefined) => (value === undefined ? [] : [name, shellWord(value)]);
  const everywhere = [
    ...option('--keys-dir', keysDir),
    ...option('--ca-file', caFile),
    ...(allowMounted === true ? ['--allow-mounted'] : []),
    ...(allowInsecurePermissions === true ? ['--allow-insecure-permissions'] : []),
  ];
  const endpoint = [...option('--env', env), ...option('--url', url)];
  return text.replace(
    /\bderibit-keys ((?:api-keys )?[a-z][a-z-]*)([^;,|()\n]*)/g,
    (call: string, command: string, rest: string) => {
      if (!commands.has(command.split(' ')[0] ?? '')) return call;
      const words = ['deribit-keys', ...everywhere, ...(/ --(?:env|url) /.test(rest) ? [] : endpoint), command];
      const isLogin = WITH_LOGIN.test(command) && !/ --(?:as|client-id|help)\b/.test(rest);
      return `${[...words, ...(login !== undefined && isLogin ? [login] : [])].join(' ')}${rest}`;
    },
  );
}

const printerFor = (host: Host, options: GlobalOptions & LoginOptions, commands: ReadonlySet<string>) =>
  createPrinter(
    { ...(host.print ?? host), env: host.env },
    { ...options, advice: (text) => completeCommands(text, { flags: options, commands }) },
  );

/** The words before `--`: those behind it belong to another program. */
function ownWords(argv: readonly string[]): readonly string[] {
  const end = argv.indexOf('--');
  return end === -1 ? argv : argv.slice(0, end);
}

/** A command and all below it. */
function withSubcommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(withSubcommands)];
}

/** A command and what it belongs to, as it is called: `deribit-keys api-keys list`. */
function calledAs(command: Command): string {
  return command.parent === null ? command.name() : `${calledAs(command.parent)} ${command.name()}`;
}

/** A complaint of commander's; the class is not imported, because plain calls do without commander. */
function isCommanderError(error: unknown): error is CommanderError {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('commander.');
}

/** The command of a plain call and its parsed words; null for a call that commander must parse. */
async function findPlainCall(
  groups: readonly CommandGroup[],
  argv: readonly string[],
): Promise<(PlainCall & Pick<PlainCommand, 'work' | 'act'>) | null> {
  for (const { plain = {} } of groups) {
    for (const [name, load] of Object.entries(plain)) {
      if (!argv.includes(name)) continue;
      const { operands, options, work, act } = await load();
      const call = readPlainCall(argv, name, { operands: operands.length, options });
      if (call !== null) return { ...call, work, ...defined({ act }) };
    }
  }
  return null;
}

/** commander's complaint about the call of `command` as an error of ours. */
function explainUsage(error: CommanderError, command: Command | undefined): DeribitKeysError {
  const hint = `see: ${command === undefined ? 'deribit-keys' : calledAs(command)} --help`;
  if (error.code === 'commander.help') {
    return usageError('no command, or an unknown one', hint);
  }
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  const suggestion = rest.join(' ').match(/Did you mean ([^?]+)\?/)?.[1];
  return usageError(first.replace(/\.$/, ''), suggestion === undefined ? hint : `did you mean ${suggestion}?`);
}

/**
 * Runs a program of these commands in this process.
 * @param argv the words behind the program's name
 * @returns the exit code; it never rejects
 */
export async function execute(groups: readonly CommandGroup[], argv: readonly string[], host: Host): Promise<number> {
  const words = ownWords(argv);
  const json = words.includes('--json');
  const commands = new Set(groups.flatMap((group) => Object.keys(group.commands)));
  const said = (word: string) => (words.includes(word) ? (true as const) : undefined);
  const first = defined({ json: said('--json'), verbose: said('--verbose'), quiet: said('--quiet') });
  let printer = printerFor(host, first, commands);
  if (words.includes('--version') || words.includes('-V')) {
    printer.result({ version: VERSION }, () => VERSION);
    return EXIT.done;
  }
  if (argv[0] === COMPLETE) {
    const { suggestions } = await import('./complete.js');
    for (const line of await suggestions(groups, argv.slice(1), host.env)) host.stdout.write(`${line}\n`);
    return EXIT.done;
  }
  const open = (globals: GlobalOptions, flags: GlobalOptions) => {
    printer = printerFor(host, flags, commands);
    return createContext(host, { out: printer, options: globals, flags: { ...flags } });
  };
  let complaining: Command | undefined;
  try {
    const plain = await findPlainCall(groups, argv);
    if (plain !== null) {
      const { operands, globals, flags, work, act } = plain;
      const cx = open(globals, { ...flags, ...globals });
      await perform(cx, () => work(cx, operands, flags), act);
      return EXIT.done;
    }
    const program: Command = await createProgram(
      groups,
      (command) => open(program.opts<GlobalOptions>(), command.optsWithGlobals<GlobalOptions>()),
      words,
    );
    const quiet = {
      writeOut: (text: string) => void (host.print ?? host).stdout.write(text),
      writeErr: () => {},
      outputError: () => {},
    };
    for (const command of withSubcommands(program)) {
      command.configureOutput(quiet).exitOverride((error) => {
        complaining = command;
        throw error;
      });
    }
    if (argv.length === 0) {
      host.stderr.write(program.helpInformation());
      return EXIT.usage;
    }
    await program.parseAsync(argv, { from: 'user' });
    return EXIT.done;
  } catch (error) {
    if (error instanceof CheckFailed) return EXIT.failed;
    if (error instanceof ExitWith) {
      if (error.told !== undefined) printer.error(error.told);
      return error.exitCode;
    }
    if (isCommanderError(error)) {
      if (error.code === 'commander.helpDisplayed' || (error.code === 'commander.help' && error.exitCode === 0)) {
        return EXIT.done;
      }
      if (error.code === 'commander.help' && complaining?.parent && !json) {
        host.stderr.write(complaining.helpInformation());
        return EXIT.usage;
      }
      return printer.error(explainUsage(error, complaining));
    }
    if (host.signal.aborted && !(error instanceof DeribitKeysError)) {
      return printer.error(new DeribitKeysError('ERR_INTERRUPTED', 'interrupted', { cause: error }));
    }
    return printer.error(error);
  }
}
