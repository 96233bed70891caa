import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIST } from '../../src/cli/commands/list.js';
import { SIGN } from '../../src/cli/commands/sign.js';
import type { Context } from '../../src/cli/context.js';
import { GLOBAL_OPTIONS, type PlainCall, readPlainCall } from '../../src/cli/options.js';
import { createProgram, definePlain, type PlainCommand } from '../../src/cli/program.js';
import { propertyRuns } from '../support/properties.js';

const COMMANDS = { sign: SIGN, list: LIST } as const;
type Name = keyof typeof COMMANDS;

const plainly = (name: Name, argv: readonly string[]) =>
  readPlainCall(argv, name, { operands: COMMANDS[name].operands.length, options: COMMANDS[name].options });

/** What commander makes of the same words; null where it complains, shows help or calls nothing. */
async function withCommander(name: Name, argv: readonly string[]): Promise<PlainCall | null> {
  let call: PlainCall | null = null;
  let globals = {};
  const heard: PlainCommand = {
    ...COMMANDS[name],
    work: async (_, operands, flags) => {
      call = { operands, globals, flags: { ...flags } };
    },
  };
  const program = await createProgram(
    [
      {
        title: 'Keys:',
        commands: { [name]: ['summary', async () => definePlain(heard)], other: ['', async () => () => {}] },
      },
    ],
    () => {
      globals = { ...program.opts() };
      return { host: { signal: new AbortController().signal }, store: { tidy: async () => {} } } as unknown as Context;
    },
    argv,
  );
  const silent = { writeOut: () => {}, writeErr: () => {}, outputError: () => {} };
  for (const command of [program, ...program.commands]) command.configureOutput(silent).exitOverride();
  await program.parseAsync(argv, { from: 'user' }).catch(() => {
    call = null;
  });
  return call;
}

const longOf = (flags: string) => flags.split(' ')[0] ?? '';
const LONG = [...GLOBAL_OPTIONS, ...SIGN.options, ...LIST.options].map(({ flags }) => longOf(flags));
const word = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('sign', 'list', 'bot', 'test', 'local', '5', 'help') },
  { weight: 4, arbitrary: fc.constantFrom(...LONG) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom(...LONG), fc.constantFrom('', 'x', '7', 'prod', '-', 'a=b'))
      .map((pair) => pair.join('=')),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom('', '-', '--', '-V', '-h', '--help', '--no-json', '--jso', '-j', '--unknown', '-1'),
  },
);
/** Words that are well formed more often than not: an option with a value has one behind it. */
const given = fc.oneof(
  ...[...GLOBAL_OPTIONS, ...SIGN.options, ...LIST.options].map(({ flags, choices }) =>
    flags.includes(' ')
      ? fc.constantFrom('1', 'x', ...(choices ?? [])).map((value) => [longOf(flags), value])
      : fc.constant([longOf(flags)]),
  ),
);
type Call = readonly [Name, readonly string[]];
const wellFormed = fc
  .record({
    before: fc.array(given, { maxLength: 2 }),
    between: fc.array(given, { maxLength: 2 }),
    after: fc.array(given, { maxLength: 3 }),
  })
  .chain(({ before, between, after }) =>
    fc
      .constantFrom<readonly [Name, readonly string[]]>(['sign', ['bot']], ['list', []])
      .map(([name, operand]): Call => [name, [...before.flat(), name, ...between.flat(), ...operand, ...after.flat()]]),
  );

describe('A plain call, read without commander,', () => {
  it.each<[Name, readonly string[], PlainCall]>([
    ['sign', ['sign', 'bot'], { operands: ['bot'], globals: {}, flags: {} }],
    [
      'sign',
      ['--keys-dir', 'k', 'sign', '--nonce=', 'bot', '--timestamp', '0', '--json'],
      { operands: ['bot'], globals: { keysDir: 'k', json: true }, flags: { nonce: '', timestamp: 0 } },
    ],
    [
      'list',
      ['list', '--state', 'local', '--env=prod'],
      { operands: [], globals: { env: 'prod' }, flags: { state: 'local' } },
    ],
  ])('is understood: %s %j', async (name, argv, call) => {
    expect(plainly(name, argv)).toEqual(call);
    expect(await withCommander(name, argv)).toEqual(call);
  });

  it.each<[Name, string]>([
    ['sign', 'sign'],
    ['sign', 'sign bot other'],
    ['sign', 'list bot'],
    ['sign', 'sign bot --help'],
    ['sign', 'sign bot -h'],
    ['sign', 'sign bot --unknown'],
    ['sign', 'sign bot --client-id'],
    ['sign', 'sign bot --client-id='],
    ['sign', 'sign bot --client-id --json'],
    ['sign', 'sign bot --timestamp soon'],
    ['sign', 'sign bot --nonce a --nonce b'],
    ['sign', 'sign bot --json=yes'],
    ['sign', 'sign bot --env live'],
    ['sign', 'sign bot --verbose --quiet'],
    ['sign', 'sign bot --passphrase-file a --passphrase-dir b'],
    ['sign', 'sign bot --passphrase-command a --passphrase-dir b'],
    ['sign', 'sign -- bot'],
    ['sign', '--client-id x sign bot'],
    ['list', 'list bot'],
    ['list', 'list --state gone'],
  ])('is left to commander: %s of "%s"', (name, line) => {
    expect(plainly(name, line.split(' '))).toBeNull();
  });

  it('is read as commander reads it, whatever the words', async () => {
    let understood = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.tuple(fc.constantFrom<Name>('sign', 'list'), fc.array(word, { maxLength: 7 })), wellFormed),
        async ([name, argv]) => {
          const call = plainly(name, argv);
          if (call === null) return;
          understood += 1;
          expect(call).toEqual(await withCommander(name, argv));
        },
      ),
      { numRuns: propertyRuns(1000) },
    );
    expect(understood).toBeGreaterThan(100);
  });
});
