import { fstatSync, statSync, writeSync } from 'node:fs';
import { EXIT } from './exit-codes.js';
import type { Output } from './program.js';

/** What the printer needs of a stream. */
export interface Sink extends Pick<Output, 'isTTY' | 'columns'> {
  write(text: string): unknown;
}

/** Whether `fd` may be a terminal, determined without Node's streams. */
function mayBeTerminal(fd: number): boolean {
  try {
    const stats = fstatSync(fd);
    // After fstatSync of a pipe, realpathSync of Node 20 no longer resolves links, so that import() of a linked package
    // fails: it takes the last synchronous stat for its own. Hence this stat is always made, and second.
    const nothing = statSync('/dev/null');
    return stats.isCharacterDevice() && stats.rdev !== nothing.rdev;
  } catch {
    return true;
  }
}

let failed = false;

/** Whether something could not be written; `process.exitCode` says so by then. */
export const hasFailed = (): boolean => failed;

function fail(fd: 1 | 2, error: unknown): void {
  const code = error instanceof Error && 'code' in error ? error.code : error;
  // a pipe whose reader went away is no error of ours
  if (code === 'EPIPE') return;
  if (fd === 1 && !failed) print.stderr.write(`error: the output cannot be written (${code})\n`);
  failed = true;
  process.exitCode = EXIT.failed;
}

const opened = new Set<1 | 2>();

/** Whether all that was printed has been written: what went through a stream may be under way. */
export const isAllWritten = (): boolean => opened.size === 0;

/** Node's stream for stdout (1) or stderr (2). */
export function streamOf(fd: 1 | 2): NodeJS.WriteStream {
  const stream = fd === 1 ? process.stdout : process.stderr;
  if (!opened.has(fd)) stream.on('error', (error) => fail(fd, error));
  opened.add(fd);
  return stream;
}

function sinkOf(fd: 1 | 2): Sink {
  let isDirect: boolean | undefined;
  const direct = () => {
    isDirect ??= !mayBeTerminal(fd);
    return isDirect;
  };
  return {
    get isTTY() {
      return direct() ? false : streamOf(fd).isTTY;
    },
    get columns() {
      return direct() ? undefined : streamOf(fd).columns;
    },
    write(text) {
      if (!direct()) return streamOf(fd).write(text);
      let rest = Buffer.from(text);
      try {
        while (rest.length > 0) rest = rest.subarray(writeSync(fd, rest));
      } catch (error) {
        // a pipe that is full and does not wait: the stream does
        if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) return fail(fd, error);
        isDirect = false;
        return streamOf(fd).write(rest);
      }
    },
  };
}

/**
 * stdout and stderr for text. To files, pipes and sockets this writes without Node's streams, which take longer to load
 * than most commands need to run.
 */
export const print = { stdout: sinkOf(1), stderr: sinkOf(2) };
