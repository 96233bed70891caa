import { DeribitKeysError } from '../errors.js';
import type { Host } from './host.js';

const CTRL_C = '\u0003';
const CTRL_D = '\u0004';
const CTRL_U = '\u0015';
const ENTER = /[\r\n]/;
const RUBOUT = /[\u007f\b]/;
const MAX_ANSWER = 4096;

/** Whether somebody can be asked: input and messages are a terminal both. */
export function canAsk(host: Host): boolean {
  return host.stdin.isTTY === true && host.stderr.isTTY === true;
}

const broken = () => new DeribitKeysError('ERR_INTERRUPTED', 'interrupted at a question', { maybeSent: false });

/** Asks on the terminal and reads a line, shown as it is typed or not at all. */
export async function ask(host: Host, question: string, { hidden }: { readonly hidden: boolean }): Promise<string> {
  const { stdin, stderr, signal } = host;
  // a terminal that went away answers nothing any more
  if (signal.aborted || stdin.readableEnded) throw broken();
  // before the question: who answers at once must not see the answer echoed
  stdin.setRawMode?.(true);
  stderr.write(question);
  stdin.setEncoding('utf8');
  stdin.resume();
  try {
    return await new Promise<string>((resolve, reject) => {
      let answer = '';
      const end = (finish: () => void) => {
        stdin.off('data', stdinOnData);
        stdin.off('end', stdinOnEnd);
        signal.removeEventListener('abort', signalOnAbort);
        stderr.write('\n');
        finish();
      };
      const stdinOnEnd = () => end(() => resolve(answer));
      const signalOnAbort = () => end(() => reject(broken()));
      const stdinOnData = (chunk: string | Buffer) => {
        const characters = [...String(chunk)];
        for (const [index, character] of characters.entries()) {
          if (character === CTRL_C || (character === CTRL_D && answer === '')) return end(() => reject(broken()));
          if (ENTER.test(character)) {
            end(() => resolve(answer));
            // what was typed or pasted ahead answers the next question
            const ahead = characters.slice(index + 1).join('');
            stdin.pause();
            if (ahead !== '') stdin.unshift(ahead, 'utf8');
            return;
          }
          if (character === CTRL_U || RUBOUT.test(character)) {
            const kept = character === CTRL_U ? '' : [...answer].slice(0, -1).join('');
            if (!hidden) stderr.write('\b \b'.repeat([...answer].length - [...kept].length));
            answer = kept;
          } else if (answer.length < MAX_ANSWER && character >= ' ') {
            answer += character;
            if (!hidden) stderr.write(character);
          }
        }
      };
      stdin.on('data', stdinOnData);
      stdin.on('end', stdinOnEnd);
      signal.addEventListener('abort', signalOnAbort);
    });
  } finally {
    stdin.setRawMode?.(false);
    stdin.pause();
  }
}

/**
 * Asks for a yes before something that cannot be taken back; `--yes` answers for the user.
 * @throws `ERR_USAGE` where nobody can be asked, `ERR_CANCELLED` for any answer but yes
 */
export async function confirm(host: Host, yes: boolean, question: string): Promise<void> {
  if (yes) return;
  if (!canAsk(host)) {
    throw new DeribitKeysError(
      'ERR_USAGE',
      `this needs a confirmation, and there is no terminal to ask on: ${question}`,
      {
        hint: 'say --yes if you mean it',
      },
    );
  }
  const answer = await ask(host, `${question} [y/N] `, { hidden: false });
  if (/^y(es)?$/i.test(answer.trim())) return;
  throw new DeribitKeysError('ERR_CANCELLED', 'not confirmed: nothing was changed');
}
