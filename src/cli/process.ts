import type { ReadStream, WriteStream } from 'node:tty';
import { run } from './run.js';
import { hasFailed, isAllWritten, print, streamOf } from './standard-output.js';

/** How long a command that was interrupted may take to clean up, unless it asks for more. */
const GRACE_MS = 900;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

const controller = new AbortController();
let graceMs = GRACE_MS;
/** Null until it is used: Node.js opens it then, and few commands do. */
let stdin: typeof process.stdin | null = null;
let takenBy: ((signal: NodeJS.Signals) => void) | null = null;
const takeSignals = (listener: (signal: NodeJS.Signals) => void) => {
  takenBy = listener;
  return () => {
    takenBy = null;
  };
};

const suspend = () => {
  process.kill(0, 'SIGTSTP');
};
const onContinue = (listener: () => void) => {
  process.on('SIGCONT', listener);
  return () => {
    process.off('SIGCONT', listener);
  };
};

/**
 * Ends the process at once, by the signal itself. `process.exit` would wait for work of Node's thread pool, such as the
 * primes of an RSA key or a read of a pipe that nobody writes to.
 */
function endBy(signal: NodeJS.Signals): void {
  restoreTerminals(stdin);
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}

const interrupt = (signal: NodeJS.Signals) => {
  if (takenBy !== null) {
    takenBy(signal);
    return;
  }
  if (controller.signal.aborted) {
    endBy(signal);
    return;
  }
  controller.abort();
  setTimeout(() => endBy(signal), graceMs).unref();
};
async function main(argv: readonly string[]): Promise<number> {
  for (const signal of SIGNALS) process.on(signal, interrupt);
  process.on('SIGQUIT', endBy);
  const { env } = process;
  const { signal } = controller;
  return run(argv, {
    get stdin() {
      stdin ??= process.stdin;
      return stdin;
    },
    get stdout() {
      return streamOf(1);
    },
    get stderr() {
      return streamOf(2);
    },
    print,
    env,
    signal,
    takeSignals,
    openTerminal: openControllingTerminal,
    ...(process.platform === 'win32' ? {} : { suspend, onContinue }),
    setGrace(ms) {
      graceMs = ms;
    },
  });
}

/** Runs the program in this process, and leaves its exit code in `process.exitCode`. */
export async function runProcess(argv: readonly string[]): Promise<void> {
  const exitCode = await main(argv);
  if (!hasFailed()) process.exitCode = exitCode;
  // an interrupted command may have left work behind that its timer has to end
  if (controller.signal.aborted) return;
  for (const signal of SIGNALS) process.off(signal, interrupt);
  // nothing is left to do: without this, V8 would first clear the memory that ends with the process
  if (isAllWritten() && process.getActiveResourcesInfo().length === 0) process.exit();
}

interface Terminal {
  readonly input: ReadStream;
  readonly output: WriteStream;
}

const TERMINAL_PATHS = process.platform === 'win32' ? ['\\\\.\\CONIN$', '\\\\.\\CONOUT$'] : ['/dev/tty', '/dev/tty'];

let terminal: Terminal | null | undefined;

function openTerminal(): Terminal | null {
  // loaded here: few commands ask, and the two modules load sockets
  const { openSync } = process.getBuiltinModule('node:fs');
  const { ReadStream, WriteStream } = process.getBuiltinModule('node:tty');
  const [inputPath = '', outputPath = ''] = TERMINAL_PATHS;
  try {
    const input = new ReadStream(openSync(inputPath, 'r+'));
    const output = new WriteStream(openSync(outputPath, 'r+'));
    // a terminal that is closed meanwhile ends the question: `end` follows
    input.on('error', () => {});
    output.on('error', () => {});
    input.unref();
    output.unref();
    return { input, output };
  } catch {
    return null;
  }
}

/** Returns the terminal that controls this process, whatever stdin and stderr are, or null if it has none. */
function openControllingTerminal(): Terminal | null {
  terminal ??= openTerminal();
  return terminal;
}

/** Switches the echo on again where a question switched it off: for the end of the process. */
function restoreTerminals(stdin: ReadStream | null): void {
  for (const input of [terminal?.input, stdin]) if (input?.isRaw) input.setRawMode(false);
}
