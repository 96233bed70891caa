import { Option } from 'commander';
import { usageError } from '../../errors.js';
import type { SuccessorTarget } from '../../keystore/journal.js';
import {
  type AnySignerKind,
  type KindOption,
  type OptionUse,
  type OptionValues,
  SIGNER_KINDS,
} from '../../signers/kinds.js';
import type { CliCommand } from '../command.js';
import type { Context } from '../context.js';
import { notEmpty } from '../options.js';
import type { CommandEntry, Define } from '../program.js';
import { showStoredKey } from '../show-record.js';

/*
 * The options and commands of the kinds of signers, from the table of kinds: a new kind needs no code here.
 */

type Flags = Readonly<Record<string, unknown>>;

const attributeOf = (flags: string) => new Option(flags).attributeName();

const optionsFor = ({ options }: AnySignerKind, use: OptionUse) =>
  options.filter(({ on }) => on === undefined || on.includes(use));

const isRequired = ({ required = [] }: KindOption, use: OptionUse) => required.includes(use);

const optionFrom = ({ flags, description }: KindOption) => {
  const option = new Option(flags, description);
  return option.required ? option.argParser(notEmpty) : option;
};

/** The `add-…` command of each kind, by name. */
export const ADD_COMMANDS: Readonly<Record<string, CommandEntry>> = Object.fromEntries(
  SIGNER_KINDS.map((kind) => [kind.add.command, [kind.add.description, async () => defineAdd(kind)]]),
);

function defineAdd(kind: AnySignerKind): Define {
  return (command, { act }) => {
    command.argument('<name>', 'name of the new key');
    for (const option of optionsFor(kind, 'add')) {
      command.addOption(optionFrom(option).makeOptionMandatory(isRequired(option, 'add')));
    }
    const lines = kind.add.examples.map((line) => `${kind.add.command} bot ${line}`);
    command.examples(...lines).action(
      act(async (cx, key: string, flags: Flags) => {
        const { addExternalKey } = await import('../../workflows/external-keys.js');
        const values = valuesFor(kind, 'add', flags);
        await showStoredKey(cx, await addExternalKey(cx.store, { name: key, kind, values, access: cx.signerAccess }));
      }),
    );
  };
}

const FLAG_NAMES = SIGNER_KINDS.map(({ make }) => attributeOf(make.flag));

/** Adds `--in-…` of every kind, and the options that go with it. */
export function addKindOptions(command: CliCommand, use: 'generate' | 'rotate'): CliCommand {
  const names = use === 'rotate' ? ['inFile', ...FLAG_NAMES] : FLAG_NAMES;
  const addFlag = (flag: string, description: string) => {
    const others = names.filter((name) => name !== attributeOf(flag));
    command.addOption(new Option(flag, description).conflicts(others));
  };
  if (use === 'rotate') {
    command.optionsGroup('Where the successor is made (default: where the old key lives):');
    addFlag('--in-file', 'in a file of the keystore');
  }
  for (const kind of SIGNER_KINDS) {
    const { flag, description } = kind.make;
    if (use === 'generate') command.optionsGroup(`Keys ${description}:`);
    addFlag(flag, description);
    for (const option of optionsFor(kind, use)) command.addOption(optionFrom(option));
  }
  return command;
}

function valuesFor(kind: AnySignerKind, use: OptionUse, flags: Flags): OptionValues {
  return Object.fromEntries(
    optionsFor(kind, use).map(({ flags: option }) => {
      const value = flags[attributeOf(option)];
      return [attributeOf(option), typeof value === 'string' || value === true ? value : undefined];
    }),
  );
}

const longName = ({ flags }: KindOption) => flags.split(' ')[0] ?? flags;

/** A kind, and the values of its options. */
export interface ChosenKind {
  readonly kind: AnySignerKind;
  readonly values: OptionValues;
}

/**
 * The kind that the flags choose, with the values of its options; null for a file.
 * @throws `ERR_USAGE` for options that do not go together
 */
export function chosenKind(flags: Flags, use: 'generate' | 'rotate'): ChosenKind | null {
  const kind = SIGNER_KINDS.find(({ make }) => flags[attributeOf(make.flag)] === true) ?? null;
  const own = new Set(kind === null ? [] : optionsFor(kind, use).map(longName));
  for (const other of SIGNER_KINDS) {
    const used = optionsFor(other, use).find((option) => flags[attributeOf(option.flags)] !== undefined);
    if (used === undefined || own.has(longName(used))) continue;
    throw usageError(
      `${longName(used)} goes with ${other.make.flag}`,
      `give ${other.make.flag} as well, or leave out ${longName(used)}`,
    );
  }
  if (kind === null) return null;
  const required = optionsFor(kind, use).filter((option) => isRequired(option, use));
  if (required.some((option) => flags[attributeOf(option.flags)] === undefined)) {
    throw usageError(
      `${kind.make.flag} needs ${required.map(longName).join(' and ')}`,
      `such as ${kind.make.examples[0]}`,
    );
  }
  return { kind, values: valuesFor(kind, use, flags) };
}

/** Where the flags of `rotate` have the successor made; undefined for where the old key lives. @throws `ERR_USAGE` */
export function targetFrom(cx: Context, flags: Flags): SuccessorTarget | undefined {
  const chosen = chosenKind(flags, 'rotate');
  if (chosen !== null) return chosen.kind.targetFrom(chosen.values, cx.host.env);
  return flags.inFile === true ? { kind: 'file' } : undefined;
}
