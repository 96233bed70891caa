import type { Readable, Writable } from 'node:stream';
import type { Command } from 'commander';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { onAbort } from '../util/checks.js';
import { VERSION } from '../version.js';
import { type CliCommand, commandClass } from './command.js';
import type { Context } from './context.js';
import { addOptions, GLOBAL_OPTIONS, type OptionSpec } from './options.js';
import type { Sink } from './standard-output.js';

/** Makes the context of a command from the options of its call. */
type Open = (command: Command) => Context;

/** What an action may choose. */
interface ActOptions {
  /** Whether leftovers of commands that died are cleaned up first; default true. */
  readonly tidy?: boolean;
  /** How long it may take to clean up when it is interrupted; default 600 ms. */
  readonly graceMs?: number;
}

const GRACE_MS = 600;
/** The time that the process has for its last output after a command's grace period. */
const LAST_WORDS_MS = 100;

/** Rejects a while after the signal fired: for work that does not end then. */
async function waitForWork(work: Promise<void>, signal: AbortSignal, graceMs: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stop = () => {};
  const interrupted = new Promise<never>((_, reject) => {
    const error = () => reject(new DeribitKeysError('ERR_INTERRUPTED', 'interrupted'));
    const wait = () => {
      timer = setTimeout(error, graceMs);
    };
    if (signal.aborted) wait();
    else stop = onAbort(signal, wait);
  });
  try {
    await Promise.race([work, interrupted]);
  } finally {
    clearTimeout(timer);
    stop();
  }
}

/** Does the work of a command in its context: cleans up first what commands that died have left. */
export async function perform(
  cx: Context,
  work: () => Promise<void>,
  { tidy = true, graceMs = GRACE_MS }: ActOptions = {},
): Promise<void> {
  cx.host.setGrace?.(graceMs + LAST_WORDS_MS);
  const run = async () => {
    if (tidy) await cx.store.tidy();
    await work();
  };
  try {
    await waitForWork(run(), cx.host.signal, graceMs);
  } catch (error) {
    throw await explained(cx, error);
  }
}

/**
 * Makes an action of commander's: it opens the context and runs `work` with the command's arguments and options. A login
 * that the exchange refuses without a reason is explained.
 */
export type Act = <A extends readonly unknown[]>(
  work: (cx: Context, ...args: A) => Promise<void>,
  options?: ActOptions,
) => (...args: [...A, Command]) => Promise<void>;

function actIn(open: Open): Act {
  return <A extends readonly unknown[]>(work: (cx: Context, ...args: A) => Promise<void>, options?: ActOptions) =>
    async (...all: [...A, Command]) => {
      const cx = open(all.at(-1) as Command);
      await perform(cx, () => work(cx, ...(all.slice(0, -1) as unknown as A)), options);
    };
}

/** A refused login with the likely reasons as its hint; any other error as it is. */
async function explained(cx: Context, error: unknown): Promise<unknown> {
  const { attempt } = cx.login;
  if (attempt === null || !isDeribitKeysError(error, 'ERR_UNAUTHORIZED')) return error;
  const { explainRefusal } = await import('../workflows/checks/refusal.js');
  return explainRefusal(cx.workflow, error, attempt);
}

/** What makes the action of a command. */
export interface Actions {
  readonly act: Act;
  /** The same for commands that leave what is in the keystore as it is: what commands that died have left stays, too. */
  readonly look: Act;
}

/** Adds arguments, options and the action of a command. */
export type Define = (command: CliCommand, actions: Actions) => void;

/** A command that is simple enough to run without commander, where its call is plain. */
export interface PlainCommand {
  /** As commander writes them: `<name>`. */
  readonly operands: readonly string[];
  readonly options: readonly OptionSpec[];
  /** What the help says after the options. */
  readonly help: string;
  readonly work: (cx: Context, operands: readonly string[], flags: Readonly<Record<string, unknown>>) => Promise<void>;
  readonly act?: ActOptions;
}

/** The same command for commander. */
export function definePlain({ operands, options, help, work, act: how }: PlainCommand): Define {
  return (command, { act }) => {
    for (const operand of operands) command.argument(operand);
    addOptions(command, options)
      .addHelpText('after', help)
      .action(
        act(async (cx, ...args: readonly unknown[]) => {
          await work(cx, args.slice(0, -1) as string[], args.at(-1) as Readonly<Record<string, unknown>>);
        }, how),
      );
  };
}

/** What a command does, in a few words, and what loads it: its module, or one definition of a module that has several. */
export type CommandEntry = readonly [summary: string, load: () => Promise<Define | { readonly define: Define }>];

/** Commands under one title of the help text. */
export interface CommandGroup {
  readonly title: string;
  readonly commands: Readonly<Record<string, CommandEntry>>;
  /** Those of them that a plain call runs without commander. */
  readonly plain?: Readonly<Record<string, () => Promise<PlainCommand>>>;
  /** More of them, from a table that is loaded only for the help and for names with this prefix. */
  readonly more?: { readonly prefix: string; readonly load: () => Promise<Readonly<Record<string, CommandEntry>>> };
}

/** The commands that `words` may call; all of them for the help, and to suggest one for a name that is unknown. */
async function entriesFor(groups: readonly CommandGroup[], words: readonly string[] | undefined) {
  const isNamed = (name: string) => words === undefined || words.includes(name);
  const needsAll = words === undefined || words.includes('help');
  const isKnown = words?.some((word) => groups.some(({ commands }) => Object.hasOwn(commands, word)));
  const entries = [];
  for (const { title, commands, more } of groups) {
    const named = more !== undefined && words?.some((word) => word.startsWith(more.prefix));
    const all = { ...commands, ...(more !== undefined && (named || needsAll || !isKnown) ? await more.load() : {}) };
    for (const [name, [summary, load]] of Object.entries(all)) {
      entries.push({ title, name, summary, load, called: isNamed(name) });
    }
  }
  const called = entries.filter((entry) => entry.called);
  return needsAll || called.length === 0 ? entries : called;
}

const EXIT_CODES = `
Exit codes:
  0  done                      4    network or timeout
  1  not done, or not ok       5    refused by the exchange
  2  wrong usage               6    second factor needed or refused
  3  key or passphrase         130  interrupted`;

const EVERYWHERE =
  '\nOptions of every command, such as --keys-dir, --env, --url, --json and --timeout: deribit-keys --help';

/**
 * Returns the program. The commands that `words` may call are complete (all of them where `words` is left out); the
 * others have no more than a name and a summary.
 */
export async function createProgram(
  groups: readonly CommandGroup[],
  open: Open,
  words?: readonly string[],
): Promise<Command> {
  const { Command } = await import('commander');
  const program = new (commandClass(Command))('deribit-keys')
    .description('Create, register, verify and use asymmetric API keys for Deribit.')
    .version(VERSION, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'Show help for a command')
    .showHelpAfterError(false)
    .addHelpText('afterAll', ({ command }) => (command.parent === null ? '' : EVERYWHERE))
    .addHelpText('after', EXIT_CODES)
    .examples('demo', 'generate bot', 'link bot --client-id AbCdEf12', 'auth bot');
  addOptions(program, GLOBAL_OPTIONS);
  const act = actIn(open);
  const actions: Actions = { act, look: (work, options) => act(work, { ...options, tidy: false }) };
  for (const { title, name, summary, load, called } of await entriesFor(groups, words)) {
    const command = program.command(name).description(summary).helpGroup(title);
    if (!called) continue;
    const loaded = await load();
    (typeof loaded === 'function' ? loaded : loaded.define)(command, actions);
  }
  return program;
}

/** A stream that may be a terminal. */
export type Output = Writable & { readonly isTTY?: boolean | undefined; readonly columns?: number | undefined };
export type Input = Readable & {
  readonly isTTY?: boolean | undefined;
  setRawMode?: ((raw: boolean) => unknown) | undefined;
  ref?: (() => unknown) | undefined;
  unref?: (() => unknown) | undefined;
};

/** What the program uses of the process that it runs in: a test brings its own. */
export interface Host {
  readonly stdin: Input;
  readonly stdout: Output;
  readonly stderr: Output;
  /** The same two for text, where they are quicker to reach without the streams. */
  readonly print?: { readonly stdout: Sink; readonly stderr: Sink } | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Opens the controlling terminal, or returns null if the process has no terminal; the same one each time. */
  readonly openTerminal?: (() => { readonly input: Input; readonly output: Output } | null) | undefined;
  /** Stops the process and those that it shares a pipe with, as a terminal does on Ctrl-Z, until the user goes on. */
  readonly suspend?: (() => void) | undefined;
  /** Calls `listener` each time that the process goes on after it was stopped, until the returned function is called. */
  readonly onContinue?: ((listener: () => void) => () => void) | undefined;
  /** Fires on SIGINT, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal;
  /** Sends the process's signals to `listener` instead, until the returned function is called. */
  readonly takeSignals?: ((listener: (signal: NodeJS.Signals) => void) => () => void) | undefined;
  /** How long the command may take to clean up after `signal` fires; after that the process is ended. */
  readonly setGrace?: ((ms: number) => void) | undefined;
  /** Loads an optional package instead of an ordinary import. */
  readonly load?: ((name: string) => Promise<unknown>) | undefined;
}
