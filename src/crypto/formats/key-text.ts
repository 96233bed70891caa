import type { DeribitKeysError } from '../../errors.js';
import { unreadable } from '../key-errors.js';
import { ONE_LINE } from '../pem.js';
import { encodingOf } from '../secret.js';

/** The text in a key file: UTF-16 where it is that (Windows PowerShell writes it), else UTF-8, whatever else is in it. */
export function decodeKeyText(bytes: Uint8Array): string {
  return new TextDecoder(encodingOf(bytes)).decode(bytes);
}

const INVISIBLE = /[\u00AD\u200B-\u200F\u202A-\u202E\u2060-\u2064\uFEFF]/g;
/** Hyphens, and what text programs make of them; of one kind each, since a base64 text may end in = before them. */
const DASHES = '(?:[-\\u00AD\\u2010-\\u2015\\u2212\\u2500\\uFE58\\uFE63\\uFF0D]{1,40}|_{1,40}|={1,40}|\\*{1,40})';
const MARKER = new RegExp(
  `${DASHES}\\s{0,20}(BEGIN|END)\\s{1,20}([A-Z0-9](?:(?:[A-Z0-9 .#-]|_(?=KEY)){0,61}[A-Z0-9])?)\\s{0,20}${DASHES}`,
  'gi',
);
const ENTITIES: ReadonlyMap<string, string> = new Map([
  ['plus', '+'],
  ['equals', '='],
  ['sol', '/'],
  ['quot', '"'],
  ['NewLine', '\n'],
  ['lt', '<'],
  ['gt', '>'],
  ['amp', '&'],
]);

/**
 * The text of a key as it was before an environment variable, a secrets manager, a web form or a text program changed it,
 * for changes that lose nothing: a byte order mark and zero-width characters, quotes around it, backslashes at the ends of
 * lines, escapes of JSON, URLs, HTML and mail, what a diff, a comment or a listing puts around each line, and other dashes,
 * spaces or small letters around BEGIN and END. White space around the text is dropped. Line breaks written as `\n` are left
 * to the PEM reader.
 */
export function restoreKeyText(input: string | Uint8Array): string {
  const decoded = typeof input === 'string' ? input : decodeKeyText(input);
  let text = unquote(
    (decoded.includes('-----END') ? decoded.replaceAll('\0', '\n') : decoded)
      .replace(INVISIBLE, '')
      .replace(/[\u00A0\u2028\u2029\u3000]/g, ' ')
      .trim(),
  );
  text = text.replace(/\\+(?=\r?\n|$)/g, '').replaceAll('\\/', '/');
  text = text.replace(/\\u([0-9a-fA-F]{4})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
  text = text.replace(/&(?:#(\d{1,3})|#[xX]([0-9a-fA-F]{1,2})|([A-Za-z]{2,7}));/g, (whole, decimal, hex, name) =>
    name === undefined
      ? String.fromCharCode(Number.parseInt(decimal ?? hex, decimal === undefined ? 16 : 10))
      : (ENTITIES.get(name) ?? whole),
  );
  if (/^[{[]\s*\\"/.test(text)) text = text.replaceAll('\\"', '"');
  text = decodeForm(text);
  if (/=3D|BEGIN [^-\n]+-----[\sA-Za-z0-9+/]+=\r?\n[A-Za-z0-9+/]{2}/.test(text))
    text = text.replace(/=\r?\n/g, '').replace(/=3D/gi, '=');
  text = text
    .replace(/^>[> ]*/gm, '')
    .replace(/^ *\d+\t/gm, '')
    .replace(/<\/?(?:br|p|div|span|pre|code)(?: [^<>]{0,200})?\/?>\n?/gi, '\n');
  text = text.replace(MARKER, (whole, word: string, label: string) =>
    label.startsWith('SSH2 ') ? whole : `-----${word} ${label.replaceAll('_', ' ')}-----`.toUpperCase(),
  );
  return undecorate(text).replace(
    BLOCK,
    (_, begin: string, body: string, end: string) => begin + restoreBody(body) + end,
  );
}

/** The value in a text `NAME=value` or `name: value`, as env and YAML files have it; null for any other text. */
export function valueInLine(text: string): string | null {
  return /^(?:export\s+|set\s+)?[A-Za-z_][\w.-]*\s*(?:=|:\s)\s*(\S.*)$/s.exec(text)?.[1] ?? null;
}

/** Removes the prefix and suffix of the BEGIN line, except white space, from each line. */
function undecorate(text: string): string {
  const [, left = '', right = ''] = /^([^\n]*)-----BEGIN [A-Z0-9 .#-]+-----([^\n]*)$/m.exec(text) ?? [];
  const [before, after] = [left.trim(), right.trim()];
  if (before + after === '' || after.includes('-----END ')) return text;
  return text
    .split('\n')
    .map((line) => line.trim())
    .map((line) => (line.startsWith(before) ? line.slice(before.length) : line))
    .map((line) => (after !== '' && line.endsWith(after) ? line.slice(0, -after.length) : line))
    .join('\n');
}

const BLOCK = /(-----BEGIN [A-Z0-9 .#-]+-----)(.*?)(-----END [A-Z0-9 .#-]+-----)/gs;
/** Lengths of the lines that tools write. */
const LINES = new Set([64, 70, 76]);

/** The body of a block with line breaks that became `n` or `/n`, or with spaces in the place of + in its lines. */
function restoreBody(body: string): string {
  const mark = /^\/?n/.exec(body)?.[0];
  const broken = mark === undefined ? null : body.slice(mark.length).split(/\s/).join('');
  if (mark !== undefined && broken !== null) {
    for (const length of LINES) {
      const rows = new RegExp(`^(?:[A-Za-z0-9+/]{${length}}${mark})*[A-Za-z0-9+/=]{1,${length}}${mark}$`);
      if (rows.test(broken))
        return broken.replace(new RegExp(`(.{${length}})${mark}`, 'g'), '$1\n').replace(/\/?n$/, '\n');
    }
  }
  const lines = body.replace(/\r?\n/g, '\n').split('\n').slice(1, -1);
  const [first = ''] = lines;
  const filled =
    lines.length > 1 && LINES.has(first.length) && lines.slice(0, -1).every((line) => line.length === first.length);
  const single = lines.length === 1 && /^\S+(?: \S+)+$/.test(first);
  const isSpaced =
    /^[A-Za-z0-9+/= \n]+$/.test(body) && lines.join('').length % 4 === 0 && lines.some((line) => line.includes(' '));
  return isSpaced && (filled || single) ? body.replaceAll(' ', '+') : body;
}

function unquote(text: string): string {
  const fenced = /^```[a-z]*\n(.*)\n```$/s.exec(text)?.[1];
  if (fenced !== undefined) return fenced.trim();
  return /^(["'`]).*\1$/s.test(text) || /^[\u2018\u201C].*[\u2019\u201D]$/s.test(text)
    ? text.slice(1, -1).trim()
    : text;
}

/** Undoes the encoding of URLs and of web forms, where `+` stands for a space and `%2B` for a plus sign. */
function decodeForm(encoded: string): string {
  // what was encoded twice has its percent signs encoded
  const text = /BEGIN%25|%250[AD]/i.test(encoded) ? encoded.replaceAll('%25', '%') : encoded;
  const marked = /BEGIN(?:\+|%20)[A-Z0-9]/.test(text);
  if (!marked && !/%0[AD]/i.test(text) && !/^[A-Za-z0-9_-]*(?:%(?:2B|2F|3D)[A-Za-z0-9_-]*)+$/i.test(text)) return text;
  const form = /BEGIN\+/.test(text);
  const spaced = !form
    ? text
    : /%(?:0[AD]|2[BF]|3D)/i.test(text)
      ? text.replaceAll('+', ' ')
      : text.replace(/(?:BEGIN|END)\+[A-Z0-9+]+/g, (words) => words.replaceAll('+', ' '));
  return spaced.replace(/%([0-7][0-9A-F])/gi, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
}

const WHOLE_TEXT =
  'a PEM key is everything from the line -----BEGIN …----- to the line -----END …-----, five hyphens on each side';

/**
 * Why no key is in a text that was meant to be one, where it shows what happened to the text; else null. The message quotes
 * nothing of the text but words of the PEM format.
 */
export function explainKeyText(text: string): DeribitKeysError | null {
  const begin = /-----BEGIN ([A-Z0-9 .#-]{1,64}?)-----/.exec(text);
  const end = /-----END ([A-Z0-9 .#-]{1,64}?)-----/.exec(text);
  if (begin === null && end !== null) {
    const what = /BEGIN/.test(text) ? 'damaged' : 'missing';
    return unreadable(`the BEGIN line of the key is ${what}`, { hint: WHOLE_TEXT });
  }
  if (begin === null && /^-+\s*BEGIN\b/.test(text)) {
    const hint = `put quotes around the variable ("$KEY"), or ${ONE_LINE}`;
    return /^-+\s*BEGIN[\w\s-]{0,40}$/.test(text)
      ? unreadable("only the start of the key's BEGIN line is there", { hint })
      : unreadable('the BEGIN line of the key is damaged', { hint: WHOLE_TEXT });
  }
  if (/\b(?:BEGIN|END)\b[^\n]{0,40}\b(?:KEY|CERTIFICATE)\b/i.test(text)) {
    return unreadable('the BEGIN line of the key is damaged', { hint: WHOLE_TEXT });
  }
  if (
    /^(?:file:|[A-Za-z]:[\\/]|~?\/|\.{1,2}[\\/])[^\n]{1,400}$|^[\w.\\/-]{1,200}\.(?:pem|key|der|ppk|p8|p12|pfx|txt|json)$/.test(
      text,
    )
  ) {
    return unreadable('this is the name of a file, not a key', {
      hint: 'give the content of the file; in the library, loadSigner({ file }) takes a name',
    });
  }
  if (/^(?:[a-z][a-z0-9+.-]{1,20}:\/\/|arn:[a-z-]{1,20}:)\S{1,2000}$/i.test(text)) {
    return unreadable('this is the address of a key (a URL or an ARN), not the key', {
      hint: 'fetch what it names, and give that; for a key that stays in a cloud service: deribit-keys add-kms --help',
    });
  }
  if (/^\$\{?[A-Za-z_(]|^\$\(|^%\w+%$|^\{\{.*\}\}$|^<[\w -]+>$/s.test(text)) {
    return unreadable('this is a placeholder that was not replaced by the key', {
      hint: 'check that the variable is set where the program runs, and that the shell or template expands it',
    });
  }
  if (/^\*{3,}$|^\[?(?:redacted|masked|secret|hidden)\]?$/i.test(text)) {
    return unreadable('the key was masked by the program that printed it', {
      hint: 'copy the key from where it is kept, not from a log or a screen',
    });
  }
  return null;
}
