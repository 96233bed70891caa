import { type Command, CommanderError } from 'commander';
import { DeribitKeysError } from '../errors.js';
import { VERSION } from '../version.js';
import { createContext } from './context.js';
import { CheckFailed, EXIT, ExitWith } from './exit-codes.js';
import type { Host } from './host.js';
import type { GlobalOptions } from './options.js';
import { createPrinter, type Printer } from './output.js';
import { type CommandGroup, createProgram } from './program.js';

/** What the completion scripts call, with the words of the line; the last one is to be completed. */
export const COMPLETE = '__complete';

function printerFor(
  host: Host,
  options: { readonly json?: boolean; readonly verbose?: boolean; readonly quiet?: boolean },
): Printer {
  return createPrinter(host.stdout, host.stderr, {
    json: options.json === true,
    verbose: options.verbose === true,
    quiet: options.quiet === true,
    color: host.stdout.isTTY === true && !host.env.NO_COLOR,
    // a terminal whose size was never set says 0
    columns: host.stdout.isTTY === true ? host.stdout.columns || undefined : undefined,
  });
}

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

/** commander's complaint about the call of `command` as an error of ours. */
function usageError(error: CommanderError, command: Command): DeribitKeysError {
  const hint = `see: ${calledAs(command)} --help`;
  if (error.code === 'commander.help') {
    return new DeribitKeysError('ERR_USAGE', 'no command, or an unknown one', { hint });
  }
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  const suggestion = rest.join(' ').match(/Did you mean ([^?]+)\?/)?.[1];
  return new DeribitKeysError('ERR_USAGE', first.replace(/\.$/, ''), {
    hint: suggestion === undefined ? hint : `did you mean ${suggestion}?`,
  });
}

/**
 * Runs a program of these commands in this process.
 * @param argv the words behind the program's name
 * @returns the exit code; it never rejects
 */
export async function execute(groups: readonly CommandGroup[], argv: readonly string[], host: Host): Promise<number> {
  const words = ownWords(argv);
  const json = words.includes('--json');
  let printer = printerFor(host, { json, verbose: words.includes('--verbose'), quiet: words.includes('--quiet') });
  if (words.includes('--version') || words.includes('-V')) {
    printer.result({ version: VERSION }, () => VERSION);
    return EXIT.done;
  }
  if (argv[0] === COMPLETE) {
    const { suggestions } = await import('./complete.js');
    for (const line of await suggestions(groups, argv.slice(1), host.env)) host.stdout.write(`${line}\n`);
    return EXIT.done;
  }
  const program = await createProgram(
    groups,
    (command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      printer = printerFor(host, options);
      return createContext(host, printer, program.opts<GlobalOptions>(), command.optsWithGlobals());
    },
    words,
  );
  const quiet = { writeOut: (text: string) => void host.stdout.write(text), writeErr: () => {}, outputError: () => {} };
  let complaining = program;
  for (const command of withSubcommands(program)) {
    command.configureOutput(quiet).exitOverride((error) => {
      complaining = command;
      throw error;
    });
  }
  try {
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
    if (error instanceof CommanderError) {
      if (error.code === 'commander.helpDisplayed' || (error.code === 'commander.help' && error.exitCode === 0)) {
        return EXIT.done;
      }
      if (error.code === 'commander.help' && complaining !== program && !json) {
        host.stderr.write(complaining.helpInformation());
        return EXIT.usage;
      }
      return printer.error(usageError(error, complaining));
    }
    if (host.signal.aborted && !(error instanceof DeribitKeysError)) {
      return printer.error(new DeribitKeysError('ERR_INTERRUPTED', 'interrupted', { cause: error }));
    }
    return printer.error(error);
  }
}
