import { type Command, CommanderError } from 'commander';
import { DeribitKeysError } from '../errors.js';
import { VERSION } from '../version.js';
import { CheckFailed, ExitWith } from './check-failed.js';
import { createContext } from './context.js';
import { EXIT } from './exit-codes.js';
import type { Host } from './host.js';
import type { GlobalOptions } from './options.js';
import { createPrinter, type Printer } from './output.js';
import { type Commands, createProgram } from './program.js';

function printerFor(host: Host, options: { readonly json?: boolean; readonly verbose?: boolean }): Printer {
  return createPrinter(host.stdout, host.stderr, {
    json: options.json === true,
    verbose: options.verbose === true,
    color: host.stdout.isTTY === true && !host.env.NO_COLOR,
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

/** commander's complaint as an error of ours. */
function usageError(error: CommanderError, program: Command): DeribitKeysError {
  if (error.code === 'commander.help') {
    return new DeribitKeysError('ERR_USAGE', 'no command was given, or none of that name', {
      hint: `see: ${program.name()} --help`,
    });
  }
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  const suggestion = rest.join(' ').match(/Did you mean ([^?]+)\?/)?.[1];
  const hint = suggestion === undefined ? `see: ${program.name()} --help` : `did you mean ${suggestion}?`;
  return new DeribitKeysError('ERR_USAGE', first.replace(/\.$/, ''), { hint });
}

/**
 * Runs a program of these commands in this process.
 * @param argv the words behind the program's name
 * @returns the exit code; it never rejects
 */
export async function execute(commands: Commands, argv: readonly string[], host: Host): Promise<number> {
  const words = ownWords(argv);
  const json = words.includes('--json');
  let printer = printerFor(host, { json, verbose: words.includes('--verbose') });
  if (words.includes('--version')) {
    printer.result({ version: VERSION }, () => VERSION);
    return EXIT.done;
  }
  const program = createProgram(
    commands,
    (command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      printer = printerFor(host, options);
      return createContext(host, printer, program.opts<GlobalOptions>());
    },
    words,
  );
  const quiet = { writeOut: (text: string) => void host.stdout.write(text), writeErr: () => {}, outputError: () => {} };
  for (const command of withSubcommands(program)) command.exitOverride().configureOutput(quiet);
  try {
    if (argv.length === 0) {
      host.stderr.write(program.helpInformation());
      return EXIT.usage;
    }
    await program.parseAsync(argv, { from: 'user' });
    return EXIT.done;
  } catch (error) {
    if (error instanceof CheckFailed) return EXIT.failed;
    if (error instanceof ExitWith) return error.exitCode;
    if (error instanceof CommanderError) {
      if (error.code === 'commander.helpDisplayed' || (error.code === 'commander.help' && error.exitCode === 0)) {
        return EXIT.done;
      }
      return printer.error(usageError(error, program));
    }
    if (host.signal.aborted && !(error instanceof DeribitKeysError)) {
      return printer.error(new DeribitKeysError('ERR_INTERRUPTED', 'interrupted', { cause: error }));
    }
    return printer.error(error);
  }
}
