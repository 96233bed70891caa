import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { base64ToBytes } from '../../src/crypto/bytes.js';
import { decodePem, encodePem } from '../../src/crypto/pem.js';
import { propertyRuns } from '../support/properties.js';
import { failure, utf8 } from './support.js';

const DATA = Uint8Array.from({ length: 100 }, (_, i) => (i * 7) % 256);
const PEM = encodePem('PRIVATE KEY', DATA);

function inLinesOf(length: number): string {
  const body =
    Buffer.from(DATA)
      .toString('base64')
      .match(new RegExp(`.{1,${length}}`, 'g')) ?? [];
  return ['-----BEGIN PRIVATE KEY-----', ...body, '-----END PRIVATE KEY-----'].join('\n');
}

describe('a PEM block is read', () => {
  test.each([
    ['as it was written', PEM],
    ['with CRLF', PEM.replaceAll('\n', '\r\n')],
    ['with only CR', PEM.replaceAll('\n', '\r')],
    ['behind a byte order mark', `\ufeff${PEM}`],
    ['amid other text', `Key of Bob: x\nBag Attributes\n    localKeyID: 01\n${PEM}\nthe end: yes\n`],
    ['with newlines turned to spaces', PEM.trim().replaceAll('\n', ' ')],
    ['with newlines turned to spaces, and one left at the end', `${PEM.trim().replaceAll('\n', ' ')}\n`],
    ['with newlines turned to a literal \\n', PEM.replaceAll('\n', '\\n')],
    ['with newlines turned to a literal \\r\\n', PEM.replaceAll('\n', '\\r\\n')],
    ['with newlines escaped twice', PEM.replaceAll('\n', '\\\\n')],
    ['with newlines gone', PEM.replaceAll('\n', '')],
    ['in quotation marks', `"${PEM.replaceAll('\n', '\\n')}"`],
    ['indented', PEM.replaceAll(/^/gm, '    ')],
    ['in lines of another length', inLinesOf(9)],
  ])('%s', (_, text) => {
    expect(decodePem(text)).toEqual([{ label: 'PRIVATE KEY', headers: new Map(), bytes: DATA }]);
  });

  test('with the headers of RFC 1421, on lines of their own or not', () => {
    const headers = 'Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n';
    const text = PEM.replace('-----\n', `-----\n${headers}`);
    const expected = new Map([
      ['Proc-Type', '4,ENCRYPTED'],
      ['DEK-Info', 'AES-128-CBC,00112233445566778899AABBCCDDEEFF'],
    ]);
    const variants = [
      text,
      text.replaceAll('\n', '\r\n'),
      text.trim().replaceAll('\n', ' '),
      text.replaceAll('\n', '\\n'),
    ];
    for (const variant of [...variants, text.replaceAll(/^/gm, '  ')]) {
      expect(decodePem(variant)).toEqual([{ label: 'PRIVATE KEY', headers: expected, bytes: DATA }]);
    }
  });

  test('with a header that goes on in the next line', () => {
    const [block] = decodePem(PEM.replace('-----\n', '-----\nDEK-Info: AES-128-CBC,\n  0011\n\n'));
    expect(block?.headers).toEqual(new Map([['DEK-Info', 'AES-128-CBC,0011']]));
    expect(block?.bytes).toEqual(DATA);
  });

  test('several of them, in their order', () => {
    const blocks = decodePem(`${encodePem('CERTIFICATE', utf8('one'))}${PEM}`);
    expect(blocks.map(({ label }) => label)).toEqual(['CERTIFICATE', 'PRIVATE KEY']);
  });
});

describe('what is no PEM', () => {
  test.each(['', 'hello', '-----BEGIN -----', '-----END PRIVATE KEY-----', '----BEGIN PRIVATE KEY----'])(
    'such as %j has no blocks',
    (text) => expect(decodePem(text)).toEqual([]),
  );

  test.each([
    ['without its END line', PEM.slice(0, -10), 'no END'],
    ['whose END names another label', PEM.replace('END PRIVATE', 'END PUBLIC'), 'no END'],
    ['with a character outside base64', PEM.replace('\nA', '\n*A'), 'base64'],
    ['with base64 of the URL alphabet', '-----BEGIN X-----\n-_-_\n-----END X-----', 'base64'],
    ['with padding amid the data', '-----BEGIN X-----\nAA==AAAA\n-----END X-----', 'base64'],
    ['with bits set behind the last byte', '-----BEGIN X-----\nAB==\n-----END X-----', 'base64'],
    ['without padding', '-----BEGIN X-----\nAA\n-----END X-----', 'base64'],
    ['that is empty', '-----BEGIN X-----\n-----END X-----', 'empty'],
    ['with a block inside', `-----BEGIN X-----\n${PEM}-----END X-----`, 'base64'],
    ['of more than 64 KB', `${PEM}${' '.repeat(65_536)}`, 'too large'],
  ])('a block %s is refused', async (_, text, part) => {
    const { message } = await failure('ERR_KEY_UNREADABLE', () => decodePem(text));
    expect(message).toContain(part);
  });
});

test('a header takes its complete line, whatever is in it, and however long the white space before it', () => {
  const value = 'x\u2028y\u2029z';
  for (let at = 0; at < 20; at++) {
    const text = PEM.replace('-----\n', `-----\nNote:${' '.repeat(64_000)}${value}\n\n`);
    expect(decodePem(text)).toEqual([{ label: 'PRIVATE KEY', headers: new Map([['Note', value]]), bytes: DATA }]);
  }
});

test('every text is read or refused as unreadable, however it repeats itself', async () => {
  const pieces = [
    '-----BEGIN X-----',
    '-----END X-----',
    '\\',
    '\n',
    'AAAA',
    'A: b',
    ' ',
    '\u2028',
    '-----BEGIN ',
    '=',
  ];
  const soup = fc.array(fc.constantFrom(...pieces), { maxLength: 60 }).map((parts) => parts.join(''));
  const long = fc.constantFrom(...pieces).map((piece) => piece.repeat(Math.floor(65_536 / piece.length)));
  fc.assert(
    fc.property(fc.oneof({ weight: 20, arbitrary: soup }, long, fc.string()), (text) => {
      try {
        decodePem(text);
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_KEY_UNREADABLE' });
      }
    }),
    { numRuns: propertyRuns(400) },
  );
});

test('whatever is written is read again', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 400 }), (data) => {
      const text = encodePem('PUBLIC KEY', data);
      expect(decodePem(text)).toEqual([{ label: 'PUBLIC KEY', headers: new Map(), bytes: data }]);
      expect(text.split('\n').every((line) => line.length <= 64)).toBe(true);
    }),
  );
});

test('base64 is read exactly where the platform would write it so', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'AQgw+/=z9'), maxLength: 9 }), (text) => {
      const expected = Buffer.from(text, 'base64').toString('base64') === text;
      expect(base64ToBytes(text) !== null).toBe(expected);
    }),
    { numRuns: propertyRuns(1000) },
  );
});
