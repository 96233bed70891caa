/** How well a passphrase resists guessing. */
export interface Strength {
  readonly level: 'weak' | 'fair' | 'good' | 'strong';
  /** A careful estimate: two to this power guesses. */
  readonly bits: number;
}

const LEVELS = [
  [80, 'strong'],
  [60, 'good'],
  [40, 'fair'],
] as const;

/** What guessing programs try first; each counts as one guess in a thousand. */
const COMMON =
  /pass(?:wor[dt]|phrase)?|deribit|bitcoin|crypto|trad(?:e|ing)|wallet|secret|admin|login|welcome|letmein|qwert[yz]|asdf(?:gh)?|yxcv|zxcv|iloveyou|monkey|dragon|master|(?:19|20)\d\d/gi;
const COMMON_BITS = 10;
/** A word of a language, however long: one of about 8000. */
const WORD_BITS = 13;

const CLASSES: readonly (readonly [RegExp, number])[] = [
  [/[a-z]/, 26],
  [/[A-Z]/, 26],
  [/[0-9]/, 10],
  [/[^a-zA-Z0-9]/, 33],
];

/** The bits of one character after another: a repetition or the next one of a sequence adds almost nothing. */
function characterBits(text: string): number {
  const alphabet = CLASSES.reduce((sum, [pattern, size]) => sum + (pattern.test(text) ? size : 0), 0);
  const each = Math.log2(Math.max(alphabet, 2));
  let bits = 0;
  for (let at = 0; at < text.length; at++) {
    const step = text.charCodeAt(at) - text.charCodeAt(at - 1);
    bits += Math.abs(step) <= 1 ? 1 : each;
  }
  return bits;
}

/**
 * Estimates how hard `passphrase` is to guess, without a dictionary: runs of letters count as words, common passwords,
 * years, sequences and repetitions count for little. It errs on the low side for random letters.
 */
export function passphraseStrength(passphrase: string): Strength {
  const common = passphrase.match(COMMON) ?? [];
  const rest = passphrase.replace(COMMON, ' ');
  const words = rest.match(/\p{L}{4,}/gu) ?? [];
  const others = rest.replace(/\p{L}{4,}/gu, '').replace(/\s/g, '');
  const distinct = new Set(words.map((word) => word.toLowerCase()));
  const wordBits = [...distinct].reduce((sum, word) => sum + Math.min(WORD_BITS, characterBits(word)), 0);
  const bits = Math.floor(new Set(common).size * COMMON_BITS + wordBits + characterBits(others));
  return { bits, level: LEVELS.find(([least]) => bits >= least)?.[1] ?? 'weak' };
}

/** 32 characters that cannot be mistaken for one another: 5 bits each. */
const ALPHABET = 'abcdefghijkmnpqrstuvwxyz23456789';
const GROUPS = 5;
const GROUP_LENGTH = 4;

/** A random passphrase of 100 bits, in groups that can be typed from paper: `k7mq-x4tz-9hvr-wd2n-b3ce`. */
export function suggestPassphrase(): string {
  const random = crypto.getRandomValues(new Uint8Array(GROUPS * GROUP_LENGTH));
  const characters = Array.from(random, (byte) => ALPHABET.charAt(byte % ALPHABET.length)).join('');
  const passphrase = characters.replace(/.{4}(?=.)/g, '$&-');
  // one in some hundreds has so few digits that its groups count as words: it would be shown as less than strong
  return passphraseStrength(passphrase).level === 'strong' ? passphrase : suggestPassphrase();
}
