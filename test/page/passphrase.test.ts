import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { passphraseStrength, suggestPassphrase } from '../../src/page/create.js';
import { anyText } from '../support/properties.js';

describe('the strength of a passphrase', () => {
  it.each([
    ['', 'weak'],
    ['password', 'weak'],
    ['Password123!', 'weak'],
    ['deribit2026', 'weak'],
    ['aaaaaaaaaaaaaaaaaaaaaaaa', 'weak'],
    ['abcdefghijklmnopqrstuvwxyz', 'weak'],
    ['12345678901234567890', 'weak'],
    ['qwertyqwertyqwerty', 'weak'],
    ['correct horse battery', 'weak'],
    ['correct horse battery staple', 'fair'],
    ['correct horse battery staple orbit', 'good'],
    ['seven correct horse battery staple orbit lantern', 'strong'],
    ['v9#Kq2!xT7', 'good'],
    ['v9#Kq2!xT7&mZ4', 'strong'],
    ['päßwörter zählen überall größer', 'fair'],
  ])('of %j is %s', (passphrase, level) => {
    expect(passphraseStrength(passphrase).level).toBe(level);
  });

  it('does not count a repeated word twice', () => {
    expect(passphraseStrength('orbit orbit orbit').bits).toBe(passphraseStrength('orbit').bits);
  });

  it('is a number of bits for any text', () => {
    fc.assert(
      fc.property(anyText({ maxLength: 200 }), (text) => {
        const { bits } = passphraseStrength(text);
        expect(Number.isSafeInteger(bits) && bits >= 0).toBe(true);
      }),
    );
  });
});

describe('a suggested passphrase', () => {
  it('has 20 random characters in five groups, is strong, and differs each time', () => {
    const all = Array.from({ length: 2_000 }, suggestPassphrase);
    for (const one of all) {
      expect(one).toMatch(/^[a-km-np-z2-9]{4}(-[a-km-np-z2-9]{4}){4}$/);
      expect(passphraseStrength(one).level).toBe('strong');
    }
    expect(new Set(all).size).toBe(all.length);
    expect(new Set(all.join('').replaceAll('-', '')).size).toBe(32);
  });
});
