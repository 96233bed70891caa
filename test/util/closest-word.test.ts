import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { closestWord } from '../../src/util/text.js';

describe('closestWord', () => {
  it.each([
    ['maker', ['taker', 'maker'], 'maker'],
    ['mkaer', ['taker', 'maker'], 'maker'],
    ['Bot', ['bot', 'boots'], 'bot'],
    ['trade:raed', ['trade:read', 'trade:read_write'], 'trade:read'],
    ['zebra', ['bot', 'maker'], null],
    ['a', [], null],
  ])('of %j in %j is %j', (word, candidates, expected) => {
    expect(closestWord(word, candidates)).toBe(expected);
  });

  it('is the word itself if that is among them, and one of them in any case', () => {
    fc.assert(
      fc.property(fc.string(), fc.array(fc.string()), (word, candidates) => {
        const closest = closestWord(word, candidates);
        if (closest !== null) expect(candidates).toContain(closest);
        expect(closestWord(word, [...candidates, word])?.toLowerCase()).toBe(word.toLowerCase());
      }),
    );
  });
});
