import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeText } from '../../src/util/decode-text.js';

const utf16be = (text: string) => Buffer.from(text, 'utf16le').swap16();

describe('decodeText', () => {
  it.each<[string, Uint8Array, string]>([
    ['UTF-8', Buffer.from('Hünter2\r\n'), 'Hünter2\r\n'],
    ['UTF-8 with a byte order mark', Buffer.from('\uFEFFhunter2'), 'hunter2'],
    ['UTF-16 of PowerShell 5', Buffer.from('\uFEFFhunter2\r\n', 'utf16le'), 'hunter2\r\n'],
    ['big-endian UTF-16', utf16be('\uFEFFhunter2'), 'hunter2'],
    ['UTF-16 without a byte order mark', Buffer.from('hunter2', 'utf16le'), 'hunter2'],
    ['nothing', new Uint8Array(), ''],
  ])('reads %s', (_what, bytes, text) => {
    expect(decodeText(bytes)).toBe(text);
  });

  it('throws for bytes that are no text', () => {
    expect(() => decodeText(Uint8Array.of(0x61, 0xff, 0x62))).toThrow(TypeError);
    expect(() => decodeText(Uint8Array.of(0xff, 0xfe, 0x00, 0xd8))).toThrow(TypeError);
  });

  it('reads back every text in each encoding', () => {
    const texts = fc.string({ unit: 'grapheme' }).filter((text) => !text.includes('\0') && !text.startsWith('\uFEFF'));
    fc.assert(
      fc.property(texts, (text) => {
        for (const bytes of [
          Buffer.from(text),
          Buffer.from(`\uFEFF${text}`),
          Buffer.from(`\uFEFF${text}`, 'utf16le'),
          utf16be(`\uFEFF${text}`),
        ])
          expect(decodeText(bytes)).toBe(text);
      }),
    );
  });
});
