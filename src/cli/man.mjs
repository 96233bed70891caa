// Writes the man page, after the build: from the program's own help.
import { mkdirSync, writeFileSync } from 'node:fs';
import { createProgram } from '../../dist/cli/program.js';
import { COMMANDS } from '../../dist/cli/run.js';
import { VERSION } from '../../dist/version.js';

const program = await createProgram(COMMANDS, () => {
  throw new TypeError('no command runs here');
});

/** Text for roff: backslashes, hyphens and a dot at the start of a line would steer it. */
const roff = (text) =>
  text
    .replaceAll('…', '...')
    .replaceAll('’', "'")
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/gm, '\\&$1');

const pathOf = (command) => (command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`);
const below = (command) => command.commands.flatMap((child) => (child.commands.length > 0 ? below(child) : [child]));

function entries(list) {
  return list.flatMap(([term, text]) => ['.TP', `.B ${roff(term)}`, roff(text)]);
}

/** The text below the options of a help text: examples and remarks. */
function remarks(command) {
  const lines = [];
  command.configureOutput({ writeOut: (text) => lines.push(text), getOutHelpWidth: () => 100 });
  command.outputHelp();
  const help = lines.join('');
  const start = help.search(/^(Examples:|The file, in YAML)/m);
  return start === -1
    ? []
    : ['.PP', '.nf', roff(help.slice(start).replace(/\nOptions of every command.*\n?/, '')), '.fi'];
}

const optionsOf = (command) =>
  command.options
    .filter(({ hidden }) => !hidden)
    .map(({ flags, description, argChoices }) => [
      flags,
      argChoices === undefined ? description : `${description} (${argChoices.join(', ')})`,
    ]);

const page = [
  `.TH DERIBIT\\-KEYS 1 "" "deribit\\-keys ${roff(VERSION)}" "User Commands"`,
  '.SH NAME',
  `deribit\\-keys \\- ${roff(program.description().replace(/\.$/, '').toLowerCase().replace('deribit', 'Deribit').replace('api', 'API'))}`,
  '.SH SYNOPSIS',
  '.B deribit\\-keys',
  '[options] command [arguments]',
  '.SH OPTIONS OF EVERY COMMAND',
  ...entries(optionsOf(program)),
  '.SH COMMANDS',
  ...below(program).flatMap((command) => [
    `.SS ${roff(pathOf(command))} ${roff(command.usage().replace('[options] ', ''))}`,
    roff(`${command.description()}.`),
    ...entries(
      command.registeredArguments
        .filter(({ description }) => description)
        .map((argument) => [argument.name(), argument.description]),
    ),
    ...entries(optionsOf(command)),
    ...remarks(command),
  ]),
  '.SH EXIT STATUS',
  ...entries([
    ['0', 'done'],
    ['1', 'a check failed, or the work could not be done'],
    ['2', 'wrong usage'],
    ['3', 'key material: unreadable, wrong passphrase, unsupported, missing, no such name'],
    ['4', 'network or time-out'],
    ['5', 'refused by the exchange'],
    ['6', 'second factor needed or refused'],
    ['130', 'interrupted'],
  ]),
  '',
];
mkdirSync('dist/man', { recursive: true });
writeFileSync('dist/man/deribit-keys.1', page.join('\n'));
