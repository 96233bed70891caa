import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

/** Where the words must not stand: pages, and folders of sources whose strings are looked through. */
const PLACES = ['README.md', 'SECURITY.md', 'CHANGELOG.md', '.github', 'examples', 'src'];

/** Words that read like a translation, and what to write instead. */
const WORDS: readonly (readonly [RegExp, string])[] = [
  [/\bshall\b/, 'must, should or will'],
  [/\bmends?\b/, 'fix'],
  [/\bcan(not)? be had\b/, 'is (not) available, or what failed'],
  [/\bis none\b|\bthere is none\b/, 'no …, none found'],
  // the JSON output of plan and api-keys says `stranger`: a text may explain that word
  [/\bstrangers?\b(?!:? \((an )?unmanaged|.*\bunmanaged)/s, 'unmanaged key'],
  [/\btakes? back\b/, 'rolls back'],
  [/\bput away\b/, 'moves to retired/'],
  [/\blooked at\b/, 'inspects, checks'],
  [/\bat its turn\b|\bcomes to an end\b|\bby itself\b/, 'a plain verb'],
  [/\bthe house\b|\brooms\b/, 'layout, folders'],
  [/\bwas begun\b/, 'was started'],
  [/\ball the same\b/, 'nevertheless, anyway'],
  [/\blooks? whether\b/, 'checks whether'],
  [/(?<!there )\bis no (key|reply|answer|text|error code|object)\b/, 'is not a …'],
  [/\b(\w+ )?alone (can|may|is|are)\b|\b(with|on|in) [\w-]+ alone\b/, 'only'],
];

function files(place: string): string[] {
  if (!existsSync(place)) return [];
  if (!statSync(place).isDirectory()) return /\.(ts|md|yml)$/.test(place) ? [place] : [];
  return readdirSync(place).flatMap((name) => (name === 'node_modules' ? [] : files(join(place, name))));
}

/** The strings of a source without what stands in `${…}`; a page as it is. */
function textsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  if (!file.endsWith('.ts')) return text.split('\n');
  const code = text.replace(/^\s*(\/\/|\*|\/\*).*$/gm, '').replace(/\$\{[^{}]*\}/g, '…');
  return [...code.matchAll(/'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`/g)]
    .map(([, one, two, three]) => one ?? two ?? three ?? '')
    .filter((string) => /\s/.test(string.trim()));
}

it.each(PLACES.flatMap(files))('the texts of %s are plain English', (file) => {
  const found = textsOf(file).flatMap((text) =>
    WORDS.filter(([word]) => word.test(text)).map(([word, instead]) => `${word} (write: ${instead}): ${text}`),
  );
  expect(found).toEqual([]);
});
