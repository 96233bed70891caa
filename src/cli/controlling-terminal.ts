import type { ReadStream, WriteStream } from 'node:tty';

interface Terminal {
  readonly input: ReadStream;
  readonly output: WriteStream;
}

const PATHS = process.platform === 'win32' ? ['\\\\.\\CONIN$', '\\\\.\\CONOUT$'] : ['/dev/tty', '/dev/tty'];

let opened: Terminal | null | undefined;

function open(): Terminal | null {
  // loaded here: few commands ask, and the two modules load sockets
  const { openSync } = process.getBuiltinModule('node:fs');
  const { ReadStream, WriteStream } = process.getBuiltinModule('node:tty');
  const [inputPath = '', outputPath = ''] = PATHS;
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
export function openControllingTerminal(): Terminal | null {
  opened ??= open();
  return opened;
}

/** Switches the echo on again where a question switched it off: for the end of the process. */
export function restoreTerminals(stdin: ReadStream | null): void {
  for (const input of [opened?.input, stdin]) if (input?.isRaw) input.setRawMode(false);
}
