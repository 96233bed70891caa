import { type DeribitKeysError, usageError } from '../errors.js';
import { closestWord } from '../util/text.js';

/** What a word of a scope may allow, from nothing upwards. */
export type AccessLevel = 'none' | 'read' | 'read_write';

/**
 * A scope, taken apart. `resources` are the words that grant something (`trade:read_write`); `others` are those that
 * describe the session (`connection`, `session:NAME`, `mainaccount`, `expires:SECONDS`, `ip:ADDRESS`).
 */
export interface Scope {
  readonly resources: ReadonlyMap<string, AccessLevel>;
  readonly others: readonly string[];
}

/** What a granted scope lacks, and what it has beyond what was asked for; words, sorted. */
export interface ScopeDifference {
  readonly missing: readonly string[];
  readonly extra: readonly string[];
}

const RESOURCES = ['account', 'trade', 'wallet', 'block_trade', 'block_rfq', 'custody'] as const;
const LEVELS: readonly AccessLevel[] = ['none', 'read', 'read_write'];
const OTHER_WORD = /^(connection|mainaccount|session:[^\s:]+|expires:[1-9]\d*|ip:[0-9A-Fa-f.:/*]+)$/;
const RESOURCE_WORD = /^([a-z_]+):(none|read|read_write)$/;

/** The words that stand for themselves, for completion and suggestions. */
export const PLAIN_SCOPE_WORDS: readonly string[] = [
  ...RESOURCES.flatMap((resource) => LEVELS.map((level) => `${resource}:${level}`)),
  'connection',
  'mainaccount',
];

/** The words that a user may choose from, for messages and help texts. */
export const SCOPE_WORDS: readonly string[] = [
  ...RESOURCES.map((resource) => `${resource}:${LEVELS.join('|')}`),
  'connection',
  'session:NAME',
  'mainaccount',
  'expires:SECONDS',
  'ip:ADDRESS',
];

/**
 * Takes apart a scope: words separated by white space, in any order.
 *
 * From the `exchange`, everything is accepted: of two levels the higher counts, unknown resources are kept, other unknown
 * words are kept among `others`.
 * @throws `ERR_USAGE` from a `user` (the default) for an empty scope, an unknown word, and a resource that is named twice
 *   with different levels
 */
export function parseScope(text: string, source: 'user' | 'exchange' = 'user'): Scope {
  const resources = new Map<string, AccessLevel>();
  const others = new Set<string>();
  const strict = source === 'user';
  for (const word of text.split(/\s+/).filter((part) => part !== '')) {
    const [, resource = '', level] = RESOURCE_WORD.exec(word) ?? [];
    if (!isLevel(level)) {
      if (strict && !OTHER_WORD.test(word)) throw unknownWord(word);
      others.add(word);
      continue;
    }
    if (strict && !RESOURCES.some((known) => known === resource)) throw unknownWord(word);
    const before = resources.get(resource);
    if (strict && before !== undefined && before !== level) {
      throw usageError(`the scope names ${resource} twice, with different levels`, 'keep one of the two');
    }
    if (before === undefined || rank(level) > rank(before)) resources.set(resource, level);
  }
  if (strict && resources.size + others.size === 0) {
    throw usageError('the scope is empty', `its words are: ${SCOPE_WORDS.join(', ')}`);
  }
  return { resources, others: [...others] };
}

/** The scope as one line, its words sorted and separated by single spaces. */
export function formatScope(scope: Scope): string {
  return [...[...scope.resources].map(([resource, level]) => `${resource}:${level}`), ...scope.others].sort().join(' ');
}

/** Returns the scope with its words sorted and without repetitions, whatever words the exchange uses. */
export function normaliseScope(text: string): string {
  return formatScope(parseScope(text, 'exchange'));
}

/**
 * Compares what was asked for with what was granted. Order does not matter, an absent word is `none`, and words about the
 * session do not count. A lower level than asked for is `missing`, a higher one `extra`. A word that this version does
 * not know may grant anything: unless it ends in `:none`, both sides must have it as it is.
 */
export function compareScopes(asked: string | Scope, granted: string | Scope): ScopeDifference {
  const [wanted, given] = [scopeOf(asked), scopeOf(granted)];
  const unknown = (these: Scope, those: Scope) => unknownWords(these).filter((word) => !those.others.includes(word));
  return {
    missing: [...beyond(wanted.resources, given.resources), ...unknown(wanted, given)].sort(),
    extra: [...beyond(given.resources, wanted.resources), ...unknown(given, wanted)].sort(),
  };
}

function unknownWords({ others }: Scope): readonly string[] {
  return others.filter((word) => !OTHER_WORD.test(word) && !/:none$/i.test(word));
}

/** Whether `asked` names resources, and `granted` allows nothing on any of them. */
export function grantsNothingOf(asked: string | Scope, granted: string | Scope): boolean {
  const wanted = [...scopeOf(asked).resources].filter(([, level]) => level !== 'none');
  const given = scopeOf(granted).resources;
  return wanted.length > 0 && wanted.every(([resource]) => (given.get(resource) ?? 'none') === 'none');
}

/** Whether both grant the same. */
export function scopesEqual(a: string | Scope, b: string | Scope): boolean {
  const { missing, extra } = compareScopes(a, b);
  return missing.length === 0 && extra.length === 0;
}

/** Whether a word of `scope` that is known here grants more than `limit` does. */
export function scopeExceeds(scope: string | Scope, limit: string | Scope): boolean {
  return beyond(scopeOf(scope).resources, scopeOf(limit).resources).length > 0;
}

type Resources = ReadonlyMap<string, AccessLevel>;

function beyond(these: Resources, those: Resources): readonly string[] {
  return [...these]
    .filter(([resource, level]) => rank(level) > rank(those.get(resource) ?? 'none'))
    .map(([resource, level]) => `${resource}:${level}`);
}

function scopeOf(scope: string | Scope): Scope {
  return typeof scope === 'string' ? parseScope(scope, 'exchange') : scope;
}

function rank(level: AccessLevel): number {
  return LEVELS.indexOf(level);
}

function isLevel(text: string | undefined): text is AccessLevel {
  return LEVELS.some((level) => level === text);
}

function unknownWord(word: string): DeribitKeysError {
  const shown = /^[\w:.-]{1,40}$/.test(word)
    ? `the unknown word ${word}`
    : `an unknown word of ${word.length} characters`;
  const near = closestWord(word, PLAIN_SCOPE_WORDS);
  return usageError(
    `the scope holds ${shown}`,
    `${near === null ? '' : `did you mean ${near}?\n`}its words are: ${SCOPE_WORDS.join(', ')}`,
  );
}
