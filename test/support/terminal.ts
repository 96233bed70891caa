import { PassThrough, Writable } from 'node:stream';
import { run } from '../../src/cli/run.js';

export interface TerminalResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** How many questions were asked. */
  readonly asked: number;
}

/**
 * Runs the program on a terminal where somebody answers: `answer` is called with each question (a text on stderr that
 * ends in a blank) and its number from 0, and gives what is typed.
 */
export async function onTerminal(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  answer: (question: string, number: number) => string,
  columns?: number,
): Promise<TerminalResult> {
  const written = { stdout: '', stderr: '' };
  let asked = 0;
  const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => {} });
  const output = (name: 'stdout' | 'stderr') =>
    Object.assign(
      new Writable({
        write(chunk, _encoding, done) {
          const text = String(chunk);
          written[name] += text;
          if (name === 'stderr' && text.endsWith(' ')) {
            const typed = answer(text, asked);
            asked += 1;
            setImmediate(() => stdin.write(`${typed}\r`));
          }
          done();
        },
      }),
      { isTTY: true, columns },
    );
  const exitCode = await run(argv, {
    stdin,
    stdout: output('stdout'),
    stderr: output('stderr'),
    env: { NO_COLOR: '1', ...env },
    signal: new AbortController().signal,
  });
  return { exitCode, ...written, asked };
}
