// Makes the pictures of the terminal that the README shows, from real runs of the built program in a terminal of
// script(1): npm run pictures
import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startSandbox } from '../../dist/sandbox/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const program = join(root, 'dist/bin/deribit-keys.cjs');
const COLUMNS = 100;
const [CHARACTER, LINE, MARGIN] = [8.4, 19, 16];
/** By the codes of ANSI (ECMA-48, 8.3.117) that the program uses. */
const STYLES = {
  1: 'font-weight="bold"',
  2: 'opacity="0.65"',
  31: 'fill="#ff7b72"',
  32: 'fill="#7ee787"',
  33: 'fill="#e3b341"',
};

const ESCAPE = '\u001b';
const STYLE = new RegExp(`^${ESCAPE}\\[(\\d+)m$`);
const PIECES = new RegExp(`(${ESCAPE}\\[\\d+m|\\n)`);

const escaped = (text) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll(' ', '\u00a0');

/** What a terminal shows of `output`: lines of pieces of text, each with its styles; long lines are broken. */
function screen(output) {
  const lines = [[]];
  let styles = [];
  let column = 0;
  for (const piece of output.replaceAll('\r', '').split(PIECES)) {
    const code = STYLE.exec(piece)?.[1];
    if (piece === '\n') {
      lines.push([]);
      column = 0;
    } else if (code !== undefined) {
      styles = code in STYLES ? [...styles, code] : styles.filter((each) => (code === '39') !== each >= '3');
    } else {
      let rest = [...piece];
      while (rest.length > 0) {
        if (column === COLUMNS) {
          lines.push([]);
          column = 0;
        }
        const part = rest.slice(0, COLUMNS - column);
        lines.at(-1).push({ text: part.join(''), column, styles });
        rest = rest.slice(part.length);
        column += part.length;
      }
    }
  }
  while (lines.at(-1)?.length === 0) lines.pop();
  return lines;
}

function picture(title, output) {
  const lines = screen(output);
  const width = Math.ceil(COLUMNS * CHARACTER + 2 * MARGIN);
  const height = lines.length * LINE + 2 * MARGIN;
  const texts = lines.flatMap((pieces, row) =>
    pieces.map(({ text, column, styles }) => {
      const x = (MARGIN + column * CHARACTER).toFixed(1);
      const length = ([...text].length * CHARACTER).toFixed(1);
      const look = styles.map((code) => ` ${STYLES[code]}`).join('');
      return `<text x="${x}" y="${MARGIN + (row + 0.75) * LINE}" textLength="${length}"${look}>${escaped(text)}</text>`;
    }),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(title)}">
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" fill="#e6edf3">
${texts.join('\n')}
</g>
</svg>
`;
}

const folder = mkdtempSync(join(tmpdir(), 'bot-'));
const sandbox = await startSandbox();
/** Runs the program in a terminal; `words` hold nothing that a shell would change. */
async function run(words) {
  const command = `stty cols ${COLUMNS} rows 60; exec ${process.execPath} ${program} ${words}`;
  const { PATH, TERM = 'xterm' } = process.env;
  const env = { PATH, TERM, HOME: folder, TMPDIR: folder, DERIBIT_KEYS_URL: sandbox.wsUrl };
  const terminal = promisify(execFile)('script', ['-qec', command, '/dev/null'], { cwd: folder, env });
  // doctor ends with 1 where it finds something
  const { stdout } = await terminal.catch((error) => error);
  return `$ deribit-keys ${words}\n${stdout.replaceAll(folder, '/home/bot')}`;
}

try {
  const save = (name, title, output) =>
    writeFileSync(join(root, '.github/assets', `${name}.svg`), picture(title, output));
  save('demo', 'The demo in a terminal', await run('demo'));
  await run('generate maker');
  // the mistake that the second picture is about
  chmodSync(join(folder, 'keys/maker.pem'), 0o644);
  save('doctor', 'doctor names a key file that others can read', await run('doctor'));
} finally {
  await sandbox.close();
  rmSync(folder, { recursive: true, force: true });
}
