import { DeribitKeysError } from '../errors.js';
import { defined } from '../util/defined.js';
import { EXIT, exitCodeOf } from './exit-codes.js';
import type { Sink } from './standard-output.js';

/*
 * Everything that the program prints goes through here.
 *
 *   result   stdout   what was asked for: text for people, or with --json one JSON document
 *   note     stderr   progress and remarks; silent with --json and --quiet
 *   detail   stderr   the same, only with --verbose
 *   error    stderr   `error: …` and `hint: …`; with --json one document {"error": …}
 *
 * Colour only on a terminal, and not under NO_COLOR or TERM=dumb. This module never gets the value of a secret, except for
 * a token or a key that was asked for by name.
 */

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow';
const CODES: Readonly<Record<Style, readonly [number, number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
};

/** Where a printer writes. */
interface PrinterHost {
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The options of the command line that say what is printed. */
interface PrinterOptions {
  readonly json?: boolean | undefined;
  readonly verbose?: boolean | undefined;
  readonly quiet?: boolean | undefined;
  /** Completes the commands in a hint or a note, so that they work as they stand. */
  readonly advice?: (text: string) => string;
}

export interface Printer {
  readonly json: boolean;
  /** The width that a table should keep to. */
  readonly columns: number | undefined;
  /** The result: `value` as JSON, or the lines that `text` returns. */
  result(value: unknown, text: () => string | readonly string[]): void;
  /** A line on stdout, in the human form only. */
  line(text: string): void;
  note(text: string): void;
  detail(text: string): void;
  error(error: unknown): number;
  /** A text with its commands completed, as in hints and notes. */
  advice(text: string): string;
  style(text: string, ...styles: readonly Style[]): string;
}

/** Control and format characters (the bidirectional ones among them), line and paragraph separators. */
const STEERING = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;
/** Matches most texts, which have no such character; it compiles faster than the other expression. */
const PRINTABLE = /^[ -~\n]*$/;
const hex = (code: number, digits: number) => code.toString(16).padStart(digits, '0');

function shown(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (character === '\n') return '\\n';
  if (character === '\t') return '\\t';
  return code <= 0xff ? `\\x${hex(code, 2)}` : code <= 0xffff ? `\\u${hex(code, 4)}` : `\\u{${hex(code, 1)}}`;
}

/** Characters that could steer a terminal are shown, not sent: texts may come from the exchange or from a file. */
function harmless(text: string): string {
  if (PRINTABLE.test(text)) return text;
  return text.replace(STEERING, (c) => (c === '\n' || c === '\t' ? c : shown(c)));
}

/** The sequences that {@link Printer.style} makes, as the odd pieces of a split. */
const STYLED = new RegExp(`(\\u001b\\[(?:${Object.values(CODES).flat().join('|')})m)`, 'u');

/** The same for a text that has styles of ours in it. */
function harmlessButStyled(text: string): string {
  return text
    .split(STYLED)
    .map((piece, index) => (index % 2 === 1 ? piece : harmless(piece)))
    .join('');
}

/** The same for a text that has one place in a line: it cannot begin another line or column. */
export function inLine(text: string): string {
  return text.replace(STEERING, shown);
}

/** One line of JSON, in which these characters are escaped, each UTF-16 unit as `\uXXXX`: they occur only in strings. */
export function jsonLine(value: unknown): string {
  const text = JSON.stringify(value);
  if (PRINTABLE.test(text)) return `${text}\n`;
  const escaped = text.replace(STEERING, (c) => c.replace(/[\s\S]/g, (unit) => `\\u${hex(unit.charCodeAt(0), 4)}`));
  return `${escaped}\n`;
}

/** A DeribitKeysError as it is; anything else is a bug of this program and reported as one. */
function asOurError(error: unknown): DeribitKeysError {
  if (error instanceof DeribitKeysError) return error;
  const what = error instanceof Error ? error.name : typeof error;
  return new DeribitKeysError('ERR_INTERNAL', `something went wrong inside deribit-keys (${what})`, {
    cause: error,
    hint: 'run it again with --verbose and report what it prints',
  });
}

function errorDocument(error: DeribitKeysError): unknown {
  const { code, message, hint, rpc } = error;
  return { error: { code, message, ...defined({ hint, rpc }) } };
}

function causes(error: DeribitKeysError): string[] {
  const lines: string[] = [];
  let cause: unknown = error.cause;
  for (let depth = 0; depth < 8 && cause instanceof Error; depth += 1) {
    const text = cause instanceof DeribitKeysError ? `${cause.code}: ${cause.message}` : (cause.stack ?? cause.message);
    lines.push(`cause: ${text}`);
    cause = cause.cause;
  }
  return lines;
}

export function createPrinter(
  { stdout, stderr, env }: PrinterHost,
  { json = false, verbose = false, quiet = false, advice = (text) => text }: PrinterOptions,
): Printer {
  const isTerminal = stdout.isTTY === true;
  const color = isTerminal && !env.NO_COLOR && env.TERM !== 'dumb';
  const style = (text: string, ...styles: readonly Style[]) =>
    color ? styles.reduce((inner, name) => `\u001b[${CODES[name][0]}m${inner}\u001b[${CODES[name][1]}m`, text) : text;
  const safe = color ? harmlessButStyled : harmless;
  const say = (text: string) => {
    if (!json && !quiet) stderr.write(`${harmless(advice(text))}\n`);
  };
  return {
    json,
    // a terminal whose size was never set says 0
    columns: isTerminal ? stdout.columns || undefined : undefined,
    style,
    advice,
    result(value, text) {
      if (json) {
        stdout.write(jsonLine(value));
        return;
      }
      const lines = text();
      const whole = typeof lines === 'string' ? lines : lines.join('\n');
      if (whole !== '') stdout.write(safe(whole.endsWith('\n') ? whole : `${whole}\n`));
    },
    line(text) {
      if (!json) stdout.write(safe(`${text}\n`));
    },
    note: say,
    detail(text) {
      if (verbose) say(text);
    },
    error(thrown) {
      const told = asOurError(thrown);
      const error = told.hint === undefined ? told : told.with({ hint: advice(told.hint) });
      if (json) {
        stderr.write(jsonLine(errorDocument(error)));
        return exitCodeOf(error.code);
      }
      const rpc =
        error.rpc === undefined || error.message.includes(String(error.rpc.code))
          ? ''
          : ` (Deribit ${error.rpc.code} ${inLine(error.rpc.message)})`;
      stderr.write(`${harmless(`error: ${error.message}${rpc}`)}\n`);
      for (const hint of error.hint?.split('\n') ?? []) stderr.write(`${harmless(`hint: ${hint}`)}\n`);
      if (verbose) for (const line of causes(told)) stderr.write(`${harmless(line).replaceAll('\n', '\n  ')}\n`);
      return exitCodeOf(error.code) ?? EXIT.failed;
    },
  };
}

/** What the help of a command with a table says of it. */
export const NARROW =
  'A narrow terminal gets long cells on several lines, or fewer columns; a pipe and --json get all of it.';

/** A column is not made narrower than its longest word, within these limits. */
const LEAST_WIDTH = 12;
const MOST_LEAST_WIDTH = 24;
const GAP = 2;

/** Breaks a text into lines of `width`: between words, and within those that are longer. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const joined = line === '' ? word : `${line} ${word}`;
    if (joined.length <= width) {
      line = joined;
      continue;
    }
    if (line !== '') lines.push(line);
    line = '';
    // by code points: half of a pair is no character
    for (const character of word) {
      if (line !== '' && line.length + character.length > width) {
        lines.push(line);
        line = '';
      }
      line += character;
    }
  }
  return [...lines, line];
}

/** The columns' widths, of which those of `yielding` give way, one after another; null where that is not enough. */
function widthsFor(
  cells: readonly (readonly string[])[],
  yielding: readonly number[],
  room: number,
): readonly number[] | null {
  const all = (column: number) => cells.map((row) => row[column] ?? '');
  const longest = (texts: readonly string[]) => Math.max(...texts.map(({ length }) => length));
  const widths = (cells[0] ?? []).map((_, column) => longest(all(column)));
  let excess = widths.reduce((sum, width) => sum + width + GAP, -GAP) - room;
  for (const column of yielding) {
    if (excess <= 0) break;
    const natural = widths[column] ?? 0;
    const word = longest(all(column).flatMap((text) => text.split(' ')));
    const least = Math.min(natural, Math.max(LEAST_WIDTH, Math.min(word, MOST_LEAST_WIDTH)));
    widths[column] = Math.max(least, natural - excess);
    excess -= natural - (widths[column] ?? 0);
  }
  return excess <= 0 ? widths : null;
}

/** Each row as a block of `HEADER  cell` lines, an empty line between two. */
function blocks(printer: Printer, [header = [], ...rows]: readonly (readonly string[])[], room: number): string[] {
  const labels = Math.max(...header.map(({ length }) => length)) + GAP;
  const isWide = room >= labels + LEAST_WIDTH;
  const field = (label: string, cell: string) => {
    if (!isWide) return [...wrapped(label, room).map((line) => printer.style(line, 'bold')), ...wrapped(cell, room)];
    const [first = '', ...more] = wrapped(cell, room - labels);
    return [
      `${printer.style(label, 'bold')}${' '.repeat(labels - label.length)}${first}`,
      ...more.map((line) => ' '.repeat(labels) + line),
    ];
  };
  return rows.flatMap((row, index) => [
    ...(index === 0 ? [] : ['']),
    ...header.flatMap((label, column) => field(label, row[column] ?? '')),
  ]);
}

interface Table {
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** Headers of the columns that are made narrower, in this order. */
  readonly yielding?: readonly string[];
  /** Headers of the columns that can be left out, in this order. */
  readonly spare?: readonly string[];
}

/**
 * A table: columns as wide as their widest cell, two spaces between, the first row in bold. Where a terminal is too narrow
 * for it, long cells go on several lines; where that is not enough, columns that can be spared are left out, and a last
 * line says so; where even that is not enough, each row is a block of lines.
 */
export function table(printer: Printer, { header, rows, yielding = [], spare = [] }: Table): string[] {
  const cells = [header, ...rows].map((row) => row.map(inLine));
  const room = printer.columns ?? Number.POSITIVE_INFINITY;
  for (let count = 0; count <= spare.length; count += 1) {
    const left = spare.slice(0, count);
    const kept = cells.map((row) => row.filter((_, column) => !left.includes(header[column] ?? '')));
    const narrowed = yielding.map((name) => kept[0]?.indexOf(name) ?? -1).filter((column) => column !== -1);
    const widths = widthsFor(kept, narrowed, room);
    if (widths === null) continue;
    const note = count === 0 ? [] : wrapped(`not shown, for lack of width: ${left.join(', ')}`, room);
    return [...tableLines(printer, kept, widths), ...note.map((line) => printer.style(line, 'dim'))];
  }
  return blocks(printer, cells, room);
}

function tableLines(
  printer: Printer,
  cells: readonly (readonly string[])[],
  widths: readonly number[],
): readonly string[] {
  return cells.flatMap((row, index) => {
    const columns = row.map((cell, column) => wrapped(cell, widths[column] ?? 0));
    const height = Math.max(...columns.map(({ length }) => length));
    const lines = Array.from({ length: height }, (_, line) =>
      columns
        .map((column, at) => (column[line] ?? '').padEnd(widths[at] ?? 0))
        .join(' '.repeat(GAP))
        .trimEnd(),
    );
    return index === 0 ? lines.map((line) => printer.style(line, 'bold')) : lines;
  });
}

/** Lines of `label  value`, the labels in one column; entries with null are left out. */
export function fields(entries: readonly (readonly [string, string | number | null])[]): string[] {
  const told = entries.filter((entry): entry is readonly [string, string | number] => entry[1] !== null);
  const width = Math.max(...told.map(([label]) => label.length));
  return told.map(([label, value]) => `${label.padEnd(width)}  ${inLine(String(value))}`);
}
