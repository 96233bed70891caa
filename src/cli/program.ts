import { Command } from 'commander';
import { VERSION } from '../version.js';
import type { Context } from './context.js';
import { addGlobalOptions, examples } from './options.js';

/** Makes a command's context from the options that it was called with. */
export type Open = (command: Command) => Context;

/** Commands by name, in the order of the help text: each adds itself to the program. */
export type Commands = Readonly<Record<string, (program: Command, open: Open) => void>>;

/**
 * The commands that `words` may call, or all where none of them is the name of one: what is not asked for need not be
 * set up.
 */
function commandsFor(commands: Commands, words: readonly string[]) {
  const named = Object.keys(commands).filter((name) => words.includes(name));
  const some = named.length > 0 && !words.includes('help');
  return Object.entries(commands).filter(([name]) => !some || named.includes(name));
}

const EVERYWHERE =
  '\nOptions of every command, such as --keys-dir, --env, --url, --json and --timeout: deribit-keys --help';

/** The program with the commands that `words` may call; an action loads the code that it needs. */
export function createProgram(commands: Commands, open: Open, words: readonly string[] = []): Command {
  const program = new Command('deribit-keys')
    .description('Asymmetric API keys for Deribit: make them here, register them, prove them, log in with them.')
    .version(VERSION, '--version', 'print the version')
    .helpCommand(true)
    .showHelpAfterError(false)
    .addHelpText('afterAll', ({ command }) => (command.parent === null ? '' : EVERYWHERE))
    .addHelpText('after', examples('demo', 'generate bot', 'link bot --client-id AbCdEf12', 'auth bot'));
  addGlobalOptions(program);
  for (const [, define] of commandsFor(commands, words)) define(program, open);
  return program;
}
