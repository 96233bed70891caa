import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeSecretText, describeSpoiltText } from '../../src/crypto/secret.js';
import { hex, utf8 } from './support.js';

const utf16le = (text: string) => new Uint8Array(Buffer.from(text, 'utf16le'));
const utf16be = (text: string) => new Uint8Array(Buffer.from(text, 'utf16le').swap16());
const joined = (...parts: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(parts));

describe('decodeSecretText', () => {
  test.each([
    ['UTF-8 from a shell', utf8('hunter2hunter2\n')],
    ['UTF-8 without a newline', utf8('hunter2hunter2')],
    [
      'UTF-8 with a byte order mark, as Out-File -Encoding utf8 writes it',
      joined(hex('efbbbf'), utf8('hunter2hunter2\r\n')),
    ],
    ['UTF-16, as > of Windows PowerShell writes it', joined(hex('fffe'), utf16le('hunter2hunter2\r\n'))],
    ['UTF-16 of the other byte order', joined(hex('feff'), utf16be('hunter2hunter2\n'))],
    ['UTF-16 without a byte order mark', utf16le('hunter2hunter2\r\n')],
    ['UTF-16 of the other byte order, without a byte order mark', utf16be('hunter2hunter2')],
  ])('reads %s as the same secret', (_, bytes) => {
    expect(decodeSecretText(bytes)).toBe('hunter2hunter2');
  });

  test('keeps white space and further newlines, which may belong to a passphrase', () => {
    expect(decodeSecretText(utf8(' a b \n\n'))).toBe(' a b \n');
    expect(decodeSecretText(utf8('\r\n'))).toBe('');
    expect(decodeSecretText(new Uint8Array())).toBe('');
  });

  test.each([
    ['a Windows code page', hex('70e4737377f67264')],
    ['binary data', hex('00ff00ff10')],
    ['half a character of UTF-16', hex('fffe610062')],
  ])('returns null for %s', (_, bytes) => {
    expect(decodeSecretText(bytes)).toBeNull();
  });

  test('reads back any text in each encoding', () => {
    const text = fc.string({ unit: 'grapheme', minLength: 1 }).filter((value) => !/\0|\n$|^\uFEFF/.test(value));
    fc.assert(
      fc.property(text, (value) => {
        expect(decodeSecretText(joined(hex('efbbbf'), utf8(`${value}\r\n`)))).toBe(value);
        expect(decodeSecretText(joined(hex('fffe'), utf16le(value)))).toBe(value);
        expect(decodeSecretText(joined(hex('feff'), utf16be(`${value}\n`)))).toBe(value);
      }),
    );
  });
});

describe('describeSpoiltText', () => {
  test.each([
    ['secret\n', /white space or a newline/],
    [' secret', /white space/],
    ['"secret"', /in quotes/],
    ["'secret'", /in quotes/],
    ['\u201Csecret\u201D', /in quotes/],
    ['"secret', /quote at one end/],
    ['secret\\n', /written out/],
    ['one\ntwo', /several lines/],
    ['\uFEFFsecret', /white space|invisible/],
    ['sec\u200Bret', /invisible/],
    ['DERIBIT_CLIENT_SECRET=secret', /NAME=value/],
    ['export X=secret', /NAME=value/],
    ['client_id=secret', /NAME=value/],
    ['{"client_secret":"secret"}', /is JSON/],
    ['client_secret: secret', /NAME: value/],
    ['op://vault/deribit/secret', /is an address/],
    ['arn:aws:secretsmanager:eu-west-1:1:secret:x', /is an address/],
    ['secret,', /ends with ,/],
    ['$' + '{SECRET}', /placeholder/],
    ['$SECRET', /placeholder/],
    ['{{ secret }}', /placeholder/],
    ['<client secret>', /placeholder/],
    ['***', /masked/],
    ['secret%0A', /percent-encoded/],
    ['sec ret', /white space in it/],
    ['secr\u00E9t', /not ASCII/],
    ['', /empty/],
  ])('says what happened to %j', (text, expected) => {
    expect(describeSpoiltText(text)).toMatch(expected);
  });

  test.each(['AbCd1234', 'q0Kx-_7Yd2Zk', '8f:2a:11', 'abc=', 'abc=='])('finds nothing odd in %j', (text) => {
    expect(describeSpoiltText(text)).toBeNull();
  });

  test('never repeats the text', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z]{8}["' \n]{1,2}[A-Z]{8}$/), (text) => {
        expect(describeSpoiltText(text) ?? '').not.toContain(text.slice(0, 8));
      }),
    );
  });
});
