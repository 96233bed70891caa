import { readdirSync } from 'node:fs';
import type { Command, Option } from 'commander';
import { PLAIN_SCOPE_WORDS } from '../deribit/scope.js';
import { isKeyName } from '../keystore/names.js';
import { type CommandGroup, createProgram } from './program.js';

/** Commands whose name is that of a new key. */
const MAKES_NEW = /^(generate|import|add-.*)$/;
const OPTIONS_WITH_KEYS = new Set(['--as', '--all-but']);
const ARGUMENTS_WITH_KEYS = new Set(['name', 'which', 'name|file|-']);

interface WordPosition {
  readonly command: Command;
  /** How many arguments of the command stand before the word. */
  readonly position: number;
  /** The option whose value the word is. */
  readonly option: Option | undefined;
  readonly keysDir: string | undefined;
  readonly isForeign: boolean;
}

/** The position of the word after `before`. */
function positionOf(program: Command, before: readonly string[]): WordPosition {
  let command = program;
  let position = 0;
  let option: Option | undefined;
  let keysDir: string | undefined;
  for (const word of before) {
    if (word === '--') return { command, position, option: undefined, keysDir, isForeign: true };
    if (option !== undefined) {
      if (option.long === '--keys-dir') keysDir = word;
      option = undefined;
    } else if (word.startsWith('-')) {
      const found = [...command.options, ...program.options].find(({ long, short }) => long === word || short === word);
      if (found?.required) option = found;
    } else {
      const below = command.commands.find((other) => other.name() === word);
      if (below === undefined) position += 1;
      else [command, position] = [below, 0];
    }
  }
  return { command, position, option, keysDir, isForeign: false };
}

function keysIn(folder: string): string[] {
  try {
    const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
    return names.map((name) => name.slice(0, -'.json'.length)).filter(isKeyName);
  } catch {
    return [];
  }
}

/** What the words of an option or an argument may be; null if that is anything. */
function valuesOf({ command, position, option }: WordPosition, keys: () => string[]): readonly string[] | null {
  if (option !== undefined) {
    if (option.argChoices !== undefined) return option.argChoices;
    if (option.long === '--scope') return PLAIN_SCOPE_WORDS;
    return OPTIONS_WITH_KEYS.has(option.long ?? '') ? keys() : null;
  }
  const { registeredArguments } = command;
  const last = registeredArguments.at(-1);
  const argument = registeredArguments[position] ?? (last?.variadic ? last : undefined);
  if (argument === undefined) return null;
  if (argument.argChoices !== undefined) return argument.argChoices;
  if (argument.name() === 'scope') return PLAIN_SCOPE_WORDS;
  return ARGUMENTS_WITH_KEYS.has(argument.name()) && !MAKES_NEW.test(command.name()) ? keys() : null;
}

/**
 * Returns what the last of `words` may become, a line each: the word, a tab, and what it does. None of them where a file
 * may be named.
 */
export async function suggestions(
  groups: readonly CommandGroup[],
  words: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<string[]> {
  const before = words.slice(0, -1);
  const word = words.at(-1) ?? '';
  const open = () => {
    throw new TypeError('no command runs here');
  };
  const program = await createProgram(groups, open, before);
  const at = positionOf(program, before);
  if (at.isForeign) return [];
  const { command, position, option } = at;
  const starting = (lines: readonly (readonly [string, string])[]) =>
    lines.filter(([text]) => text.startsWith(word)).map(([text, help]) => `${text}\t${help}`);
  if (option === undefined && word.startsWith('-')) {
    const options = [...command.options, ...(command === program ? [] : program.options)].filter(
      ({ hidden }) => !hidden,
    );
    return starting([
      ...options.map(({ long, description }) => [long ?? '', description] as const),
      ['--help', 'show help'],
    ]);
  }
  if (option === undefined && position === 0 && command.commands.length > 0) {
    return starting(command.commands.map((below) => [below.name(), below.description()]));
  }
  const keys = () => keysIn(at.keysDir ?? (env.DERIBIT_KEYS_DIR || 'keys'));
  return starting((valuesOf(at, keys) ?? []).map((value) => [value, '']));
}
