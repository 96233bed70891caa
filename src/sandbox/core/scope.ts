import { isIP } from 'node:net';
import { longestExpiresS, unnamedGroupsAreDropped } from './guesses.js';

export const scopeGroups = ['account', 'trade', 'wallet', 'block_trade', 'block_rfq', 'custody'] as const;
export type ScopeGroup = (typeof scopeGroups)[number];

const levelNames: readonly string[] = ['none', 'read', 'read_write'];
/** 0 none, 1 read, 2 read and write. */
export type Level = 0 | 1 | 2;
/** An absent group equals none. */
export type Levels = Readonly<Partial<Record<ScopeGroup, Level>>>;

export const everything = scopeGroups.map((group) => `${group}:read_write`).join(' ');

/** What a client asks for beside access levels. */
export interface ScopeRequest {
  readonly levels: Levels;
  readonly session: string | null;
  readonly expiresS: number | null;
  readonly ip: string | null;
}

/** Levels of a `max_scope`; null where a word is not `group:level` or contradicts another. */
export function parseMaxScope(text: string): Levels | null {
  const levels: Partial<Record<ScopeGroup, Level>> = {};
  const words = splitWords(text);
  for (const word of words) {
    const access = parseAccess(word);
    if (access === null || (levels[access.group] ?? access.level) !== access.level) return null;
    levels[access.group] = access.level;
  }
  return words.length === 0 ? null : levels;
}

/** The words of a login's `scope`. Unknown words are ignored: a scope is narrowed, not rejected. */
export function parseScopeRequest(text: string): ScopeRequest {
  const levels: Partial<Record<ScopeGroup, Level>> = {};
  let session: string | null = null;
  let expiresS: number | null = null;
  let ip: string | null = null;
  for (const word of splitWords(text)) {
    const access = parseAccess(word);
    if (access !== null) levels[access.group] = access.level;
    else if (/^session:[A-Za-z0-9_.-]{1,64}$/.test(word)) session = word.slice('session:'.length);
    else if (/^expires:[1-9]\d{0,9}$/.test(word)) expiresS = Math.min(Number(word.slice(8)), longestExpiresS);
    else if (word.startsWith('ip:') && isIP(word.slice(3)) !== 0) ip = word.slice(3);
  }
  return { levels, session, expiresS, ip };
}

/** The levels granted: those asked for, none above `max`; all of `max` where none was asked for. */
export function narrow(asked: Levels, max: Levels): Levels {
  const all = Object.keys(asked).length === 0;
  return commonLevels(all || !unnamedGroupsAreDropped ? { ...max, ...asked } : asked, max);
}

/** What both allow. */
export function commonLevels(a: Levels, b: Levels): Levels {
  const both: Partial<Record<ScopeGroup, Level>> = {};
  for (const group of scopeGroups) {
    const level = Math.min(a[group] ?? 0, b[group] ?? 0) as Level;
    if (level > 0) both[group] = level;
  }
  return both;
}

/** Whether `levels` allow nothing that `limit` does not. */
export function within(levels: Levels, limit: Levels): boolean {
  return scopeGroups.every((group) => (levels[group] ?? 0) <= (limit[group] ?? 0));
}

/** `group:level` words, sorted, with `extra` words among them. */
export function formatScope(levels: Levels, extra: readonly string[] = []): string {
  const words = scopeGroups.flatMap((group) => {
    const level = levels[group];
    return level === undefined ? [] : [`${group}:${levelNames[level]}`];
  });
  return [...words, ...extra].sort().join(' ');
}

function parseAccess(word: string): { group: ScopeGroup; level: Level } | null {
  const [name, levelName = '', ...rest] = word.split(':');
  const group = scopeGroups.find((known) => known === name);
  const level = levelNames.indexOf(levelName);
  return group === undefined || level < 0 || rest.length > 0 ? null : { group, level: level as Level };
}

function splitWords(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}
