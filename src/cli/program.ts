import { Command } from 'commander';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { onAbort } from '../util/on-abort.js';
import { VERSION } from '../version.js';
import type { Context } from './context.js';
import { addGlobalOptions, examples } from './options.js';

/** Makes the context of a command from the options of its call. */
export type Open = (command: Command) => Context;

/** What an action may choose. */
export interface ActOptions {
  /** Whether leftovers of commands that died are cleaned up first; default true. */
  readonly tidy?: boolean;
  /** How long it may take to clean up when it is interrupted; default 600 ms. */
  readonly graceMs?: number;
}

const GRACE_MS = 600;
/** What the process has to print its last words, after the grace of a command. */
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

/**
 * Makes an action of commander's: it opens the context, cleans up what commands that died have left, and runs `work` with
 * the command's arguments and options. A login that the exchange refuses without a reason is explained.
 */
export type Act = <A extends readonly unknown[]>(
  work: (cx: Context, ...args: A) => Promise<void>,
  options?: ActOptions,
) => (...args: [...A, Command]) => Promise<void>;

function actIn(open: Open): Act {
  return <A extends readonly unknown[]>(
    work: (cx: Context, ...args: A) => Promise<void>,
    { tidy = true, graceMs = GRACE_MS }: ActOptions = {},
  ) =>
    async (...all: [...A, Command]) => {
      const cx = open(all.at(-1) as Command);
      cx.host.setGrace?.(graceMs + LAST_WORDS_MS);
      const run = async () => {
        if (tidy) await cx.store.tidy();
        await work(cx, ...(all.slice(0, -1) as unknown as A));
      };
      try {
        await waitForWork(run(), cx.host.signal, graceMs);
      } catch (error) {
        throw await explained(cx, error);
      }
    };
}

/** A refused login with the likely reasons as its hint; any other error as it is. */
async function explained(cx: Context, error: unknown): Promise<unknown> {
  const { attempt } = cx.login;
  if (attempt === null || !isDeribitKeysError(error, 'ERR_UNAUTHORIZED')) return error;
  const { explainRefusal } = await import('../workflows/checks/refusal.js');
  return explainRefusal(cx.workflow, error, attempt);
}

/** Commands by name, in the order of the help text: each adds itself to the program. */
export type Commands = Readonly<Record<string, (program: Command, act: Act) => void>>;

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
    .version(VERSION, '-V, --version', 'print the version')
    .helpCommand(true)
    .showHelpAfterError(false)
    .addHelpText('afterAll', ({ command }) => (command.parent === null ? '' : EVERYWHERE))
    .addHelpText('after', examples('demo', 'generate bot', 'link bot --client-id AbCdEf12', 'auth bot'));
  addGlobalOptions(program);
  const act = actIn(open);
  for (const [, define] of commandsFor(commands, words)) define(program, act);
  return program;
}
