import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { privateKeyFromEd25519Seed } from '../../../src/crypto/build-keys.js';
import { parsePrivateKey, serialisePrivateKey } from '../../../src/crypto/formats/index.js';
import { errorOf } from '../../support/outcomes.js';
import { rsaKey } from '../support.js';
import { expectRefusal } from './support.js';

// Its base64 has both + and / in it.
const key = await privateKeyFromEd25519Seed(new Uint8Array(32).map((_, i) => (i * 37 + 251) & 0xff));
const rsa = await rsaKey();
const pem = await serialisePrivateKey(key, { format: 'pkcs8' });
const rsaPem = await serialisePrivateKey(rsa, { format: 'pkcs8' });
const base64 = btoa(pem);
const entities = (text: string) => text.replaceAll('+', '&#43;').replaceAll('=', '&#x3D;').replaceAll('\n', '&#10;');

/** What variables, templates, mail, web forms and editors do to a text without losing anything of it. */
const CHANGES: readonly (readonly [string, (text: string) => string])[] = [
  ['backslashes at the ends of lines, as dotenv files have them', (text) => text.replaceAll('\n', '\\\n')],
  ['%0A for line breaks', (text) => text.replaceAll('\n', '%0A')],
  ['the encoding of a URL', (text) => encodeURIComponent(text)],
  ['the encoding of a web form', (text) => new URLSearchParams({ k: text }).toString().slice(2)],
  ['+ for the spaces of BEGIN and END', (text) => text.replace(/(BEGIN|END) ([A-Z]+) /g, '$1+$2+')],
  ['a zero-width space in it', (text) => `\u200B${text.slice(0, 90)}\u200B${text.slice(90)}`],
  ['a byte order mark in the middle', (text) => `\n\uFEFF${text}`],
  ['spaces that do not break', (text) => text.replaceAll(' ', '\u00A0')],
  ['single quotes kept', (text) => `'${text}'`],
  ['double quotes kept around \\n', (text) => `"${text.replaceAll('\n', '\\n')}"`],
  ['typographic quotes', (text) => `\u201C${text}\u201D`],
  ['escaped slashes of JSON', (text) => JSON.stringify(text).replaceAll('/', '\\/')],
  ['Unicode escapes of JSON', (text) => JSON.stringify(text).replaceAll('+', '\\u002b').replaceAll('=', '\\u003d')],
  ['character references of HTML', entities],
  ['quoted-printable', (text) => text.replaceAll('=', '=3D').replace(/.{50}/g, '$&=\r\n')],
  ['+ as spaces', (text) => text.replaceAll('+', ' ')],
  ['every line break removed', (text) => text.replaceAll('\n', '')],
  ['`n for line breaks, as PowerShell writes them', (text) => text.replaceAll('\n', '`n')],
  ['paragraphs of HTML', (text) => `<p>${text.trimEnd().replaceAll('\n', '</p><p class="x">')}</p>`],
  ['its element in an XML document', (text) => `<?xml version="1.0"?>\n<key>${text}</key>`],
  ['a code block of Markdown', (text) => `\`\`\`text\n${text}\`\`\``],
  ['an underscore in BEGIN and END', (text) => text.replaceAll('PRIVATE KEY', 'PRIVATE_KEY')],
  ['n for line breaks, since a backslash was lost', (text) => text.trimEnd().replaceAll('\n', 'n')],
  ['/n for line breaks', (text) => text.replaceAll('\n', '/n')],
  ['NUL for line breaks', (text) => text.replaceAll('\n', '\0')],
  ['the encoding of a URL twice', (text) => encodeURIComponent(encodeURIComponent(text))],
  ['line breaks of HTML', (text) => text.replaceAll('\n', '<br>')],
  ['line breaks of HTML before line breaks', (text) => text.replaceAll('\n', '<br />\n')],
  ['small letters in BEGIN and END', (text) => text.replace(/-----.*-----/g, (line) => line.toLowerCase())],
  ['the numbers of lines', (text) => text.replace(/^(?=.)/gm, '    1\t')],
  ['the marks of a diff', (text) => text.replace(/^(?=.)/gm, '+')],
  ['the marks of cat -A', (text) => text.replaceAll('\n', '^M$\n')],
  ['the marks of a comment', (text) => text.replace(/^(?=.)/gm, '# ')],
  ['strings of a program', (text) => text.trimEnd().replace(/^.*$/gm, '  "$&\\n" +')],
  ['the marks of a quoted mail', (text) => text.replace(/^/gm, '> ')],
  [
    'a space after the hyphens',
    (text) => text.replaceAll('-----BEGIN', '----- BEGIN').replaceAll('-----END', '----- END'),
  ],
  ['four hyphens', (text) => text.replaceAll('-----', '----')],
  ['six hyphens', (text) => text.replaceAll('-----', '------')],
  ['dashes for hyphens', (text) => text.replaceAll('-----', '\u2014\u2013')],
  ['full-width hyphens', (text) => text.replaceAll('-', '\uFF0D')],
  ['indentation', (text) => text.replace(/^/gm, '    ')],
  ['its name in an env file', (text) => `export DERIBIT_PRIVATE_KEY="${text.replaceAll('\n', '\\n')}"`],
  ['its name in YAML', (text) => `key: |\n${text.replace(/^/gm, '  ')}`],
  ['base64', (text) => btoa(text)],
  ['base64 twice', (text) => btoa(btoa(text))],
  ['base64 in an env file', (text) => `DERIBIT_PRIVATE_KEY=${btoa(text)}`],
  ['base64 in YAML, as Kubernetes has it', (text) => `tls.key: ${btoa(text)}`],
  ['base64 in quotes', (text) => `"${btoa(text)}"`],
  ['base64 that is escaped for a URL', (text) => encodeURIComponent(btoa(`\xFB\xEF\n${text}`))],
];

describe('a key is read whatever a variable, a form or an editor did to its text:', () => {
  test.each(CHANGES)('%s', async (_, change) => {
    expect((await parsePrivateKey(change(pem))).publicKey.equals(key.publicKey)).toBe(true);
    expect((await parsePrivateKey(change(rsaPem))).publicKey.equals(rsa.publicKey)).toBe(true);
  });

  test('two keys in base64 in an env file are refused, as two PEM blocks are', async () => {
    const input = `A=${btoa(pem)}\nB=${btoa(rsaPem)}\n`;
    await expectRefusal(parsePrivateKey(input), 'ERR_KEY_UNSUPPORTED', /^2 private keys in one input/);
  });

  test('UTF-16 without a byte order mark', async () => {
    expect((await parsePrivateKey(Buffer.from(pem, 'utf16le'))).publicKey.equals(key.publicKey)).toBe(true);
    expect((await parsePrivateKey(Buffer.from(pem, 'utf16le').swap16())).publicKey.equals(key.publicKey)).toBe(true);
  });
});

describe('where a part of the key is lost, the message says what happened and the hint how to write it:', () => {
  const lines = pem.split('\n');
  const cases: readonly (readonly [string, string, RegExp, RegExp])[] = [
    ['only the first line', lines[0] ?? '', /only its first line arrived/, /one line.*\\n.*base64 </],
    [
      'only the beginning of the first line',
      '-----BEGIN',
      /only the start of the key's BEGIN line/,
      /quotes around the variable/,
    ],
    [
      'the END line is missing',
      lines.slice(0, -2).join('\n'),
      /has no END line: it is cut short/,
      /copy all of it, from BEGIN to END/,
    ],
    [
      'the END line has another label',
      pem.replace('END PRIVATE', 'END RSA PRIVATE'),
      /no END line of the same label/,
      /copy both lines/,
    ],
    [
      'the body is encoded twice',
      pem.replace(/^M.*$/m, (line) => btoa(line)),
      /holds text, not DER: it was encoded in base64 twice/,
      /base64 --decode/,
    ],
    ['the BEGIN line is missing', lines.slice(1).join('\n'), /the BEGIN line of the key is missing/, /five hyphens/],
    ['the BEGIN line has no hyphens', pem.replaceAll('-', ''), /the BEGIN line of the key is damaged/, /five hyphens/],
    [
      '+ became a space and the lines are of no usual length',
      pem.replace(/^M.*$/m, (line) => `${line.slice(0, 20)}\n${line.slice(20).replaceAll('+', ' ')}`),
      /spaces stand where \+ was/,
      /%2B/,
    ],
    ['the BEGIN line has lost a space', pem.replace('BEGIN ', 'BEGIN'), /the BEGIN line of the key is damaged/, /five/],
    ['dots for a part of it', pem.replace(/^M.{20}/m, 'MC...'), /left out when it was displayed/, /where it is kept/],
    ['a letter is lost', pem.replace(/^M/m, ''), /does not hold valid base64/, /copy the block again/],
    ['the name of a file', '/run/secrets/deribit.pem', /the name of a file, not a key/, /content of the file/],
    ['the name of a file on Windows', 'C:\\keys\\bot.pem', /the name of a file, not a key/, /content of the file/],
    ['the name of a file without its folder', 'bot.pem', /the name of a file, not a key/, /content of the file/],
    ['a variable that was not expanded', `$${'{DERIBIT_PRIVATE_KEY}'}`, /placeholder/, /variable is set/],
    ['a command that was not run', '$(cat key.pem)', /placeholder/, /variable is set/],
    ['a template that was not filled in', '{{ private_key }}', /placeholder|JSON/, /./],
    ['stars', '***', /masked/, /where it is kept/],
  ];
  test.each(cases)('%s', async (_, text, message, hint) => {
    const error = await errorOf(parsePrivateKey(text));
    expect(error.code).toBe('ERR_KEY_UNREADABLE');
    expect(error.message).toMatch(message);
    expect(error.hint).toMatch(hint);
    expect(`${error.message}${error.hint}`).not.toContain(lines[1]?.slice(0, 10));
  });

  test('a key without its END line is never read, wherever it is cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: pem.trimEnd().length - 6 }), async (length) => {
        await expectRefusal(parsePrivateKey(pem.slice(0, length)), 'ERR_KEY_UNREADABLE', /./);
      }),
    );
    expect(base64.length).toBeGreaterThan(100);
  });
});
