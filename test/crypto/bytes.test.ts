import fc from 'fast-check';
import { expect, test } from 'vitest';
import { base64urlToBytes, bytesToBase64url, utf8Bytes } from '../../src/crypto/bytes.js';
import { engine as native } from '../../src/crypto/engine/native.js';
import { anyText } from '../support/properties.js';

test('bytesToBase64url writes what Node.js writes, and base64urlToBytes reads it back', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const text = bytesToBase64url(bytes);
      expect(text).toBe(Buffer.from(bytes).toString('base64url'));
      expect(native.base64url(bytes)).toBe(text);
      expect(base64urlToBytes(text)).toEqual(bytes);
    }),
  );
});

test('utf8Bytes writes what Node.js writes', () => {
  const ascii = fc.string({ unit: 'grapheme-ascii' });
  fc.assert(
    fc.property(fc.oneof(ascii, anyText(), fc.tuple(ascii, fc.constant('ü')).map(String)), (text) => {
      expect(utf8Bytes(text)).toEqual(new Uint8Array(Buffer.from(text)));
    }),
  );
});
