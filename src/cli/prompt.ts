import { DeribitKeysError, usageError } from '../errors.js';
import type { Host, Input, Output } from './program.js';

const CTRL_C = '\u0003';
const CTRL_D = '\u0004';
const CTRL_BACKSLASH = '\u001c';
const CTRL_Z = '\u001a';
const CTRL_U = '\u0015';
const ENTER = /[\r\n]/;
const RUBOUT = /[\u007f\b]/;
const MAX_ANSWER = 4096;

/** Where somebody is asked: input that can be read without an echo, and output that is seen. */
interface Terminal {
  readonly input: Input;
  readonly output: Output;
}

/** The terminal of stdin and stderr, or the controlling terminal where one of the two is something else; or null. */
function terminalOf(host: Host): Terminal | null {
  const { stdin, stderr } = host;
  const isSeen = stderr.isTTY === true;
  if (stdin.isTTY === true && isSeen) return { input: stdin, output: stderr };
  const controlling = host.openTerminal?.() ?? null;
  return controlling === null ? null : { input: controlling.input, output: isSeen ? stderr : controlling.output };
}

/** Whether somebody can be asked. */
export function canAsk(host: Host): boolean {
  return terminalOf(host) !== null;
}

/** Writes a line to the one who is asked. */
export function say(host: Host, text: string): void {
  terminalOf(host)?.output.write(`${text}\n`);
}

const broken = () => new DeribitKeysError('ERR_INTERRUPTED', 'interrupted at a prompt', { maybeSent: false });

/** Asks on the terminal and reads a line, shown as it is typed or not at all. */
export async function ask(host: Host, question: string, { hidden }: { readonly hidden: boolean }): Promise<string> {
  const { signal } = host;
  const terminal = terminalOf(host);
  // a terminal that went away answers nothing any more
  if (signal.aborted || terminal === null || terminal.input.readableEnded) throw broken();
  const { input, output } = terminal;
  // before the question: who answers at once must not see the answer echoed
  input.setRawMode?.(true);
  input.ref?.();
  output.write(question);
  input.setEncoding('utf8');
  input.resume();
  try {
    return await new Promise<string>((resolve, reject) => {
      let answer = '';
      const end = (finish: () => void) => {
        input.off('data', inputOnData);
        input.off('end', inputOnEnd);
        signal.removeEventListener('abort', signalOnAbort);
        stopListening?.();
        output.write('\n');
        finish();
      };
      // the shell had the terminal in the meantime, with an echo
      const stopListening = host.onContinue?.(() => {
        input.setRawMode?.(false);
        input.setRawMode?.(true);
        output.write(`\n${question}${hidden ? '' : answer}`);
      });
      const inputOnEnd = () => end(() => resolve(answer));
      const signalOnAbort = () => end(() => reject(broken()));
      const inputOnData = (chunk: string | Buffer) => {
        const characters = [...String(chunk)];
        for (const [index, character] of characters.entries()) {
          const ends = character === CTRL_C || character === CTRL_BACKSLASH;
          if (ends || (character === CTRL_D && answer === '')) return end(() => reject(broken()));
          if (character === CTRL_Z && host.suspend !== undefined) {
            input.setRawMode?.(false);
            host.suspend();
            input.setRawMode?.(true);
            continue;
          }
          if (ENTER.test(character)) {
            end(() => resolve(answer));
            // what was typed or pasted ahead answers the next question
            const ahead = characters.slice(index + 1).join('');
            input.pause();
            if (ahead !== '') input.unshift(ahead, 'utf8');
            return;
          }
          if (character === CTRL_U || RUBOUT.test(character)) {
            const kept = character === CTRL_U ? '' : [...answer].slice(0, -1).join('');
            if (!hidden) output.write('\b \b'.repeat([...answer].length - [...kept].length));
            answer = kept;
          } else if (answer.length < MAX_ANSWER && character >= ' ') {
            answer += character;
            if (!hidden) output.write(character);
          }
        }
      };
      input.on('data', inputOnData);
      input.on('end', inputOnEnd);
      signal.addEventListener('abort', signalOnAbort);
    });
  } finally {
    input.setRawMode?.(false);
    input.pause();
    input.unref?.();
  }
}

/**
 * Asks for a yes before something that cannot be undone; `--yes` answers for the user.
 * @throws `ERR_USAGE` if nobody can be asked, `ERR_CANCELLED` for any answer but yes
 */
export async function confirm(host: Host, yes: boolean, question: string): Promise<void> {
  if (yes) return;
  if (!canAsk(host)) {
    throw usageError(
      `this needs confirmation, but there is no terminal to ask on: ${question}`,
      'confirm it with --yes',
    );
  }
  const answer = await ask(host, `${question} [y/N] `, { hidden: false });
  if (/^y(es)?$/i.test(answer.trim())) return;
  throw new DeribitKeysError('ERR_CANCELLED', 'not confirmed: nothing was changed');
}
