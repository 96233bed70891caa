#!/usr/bin/env node
import { VERSION } from '../version.js';
import { EXIT } from './exit-codes.js';

/** How long a command that was interrupted may take to put things right. */
const GRACE_MS = 3_000;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

const controller = new AbortController();
let takenBy: ((signal: NodeJS.Signals) => void) | null = null;
const takeSignals = (listener: (signal: NodeJS.Signals) => void) => {
  takenBy = listener;
  return () => {
    takenBy = null;
  };
};
const interrupt = (signal: NodeJS.Signals) => {
  if (takenBy !== null) {
    takenBy(signal);
    return;
  }
  if (controller.signal.aborted) process.exit(EXIT.interrupted);
  controller.abort();
  setTimeout(() => process.exit(EXIT.interrupted), GRACE_MS).unref();
};
for (const signal of SIGNALS) process.on(signal, interrupt);
let outputFailed = false;
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    // the reader of a pipe that went away is no error of ours
    if (error.code === 'EPIPE') return;
    if (stream === process.stdout && !outputFailed) {
      process.stderr.write(`error: the output cannot be written (${error.code})\n`);
    }
    outputFailed = true;
    process.exitCode = EXIT.failed;
  });
}

async function main(argv: readonly string[]): Promise<number> {
  const { run } = await (argv[0] === 'sign' ? import('./run-sign.js') : import('./run.js'));
  const { stdout, stderr, env } = process;
  const { signal } = controller;
  return run(argv, {
    // a getter: Node.js opens it at the first look, which few commands need
    get stdin() {
      return process.stdin;
    },
    stdout,
    stderr,
    env,
    signal,
    takeSignals,
  });
}

const argv = process.argv.slice(2);
if (argv.length === 1 && argv[0] === '--version') {
  // the one answer that needs none of the program
  process.stdout.write(`${VERSION}\n`);
} else {
  void main(argv).then((exitCode) => {
    if (!outputFailed) process.exitCode = exitCode;
    for (const signal of SIGNALS) process.off(signal, interrupt);
  });
}
