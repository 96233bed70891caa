import type { Command } from 'commander';
import { DeribitKeysError } from '../../errors.js';
import type { KeyChange } from '../../workflows/account/change-api-key.js';
import { addLoginOptions, collect, eitherOr, examples, type LoginOptions } from '../options.js';
import { NARROW } from '../output.js';
import type { Act } from '../program.js';
import { changeOne, disableOthers, showKeys } from './api-keys-actions.js';

interface EditFlags extends LoginOptions {
  readonly scope?: string;
  readonly label?: string;
  /** False for `--no-feature`. */
  readonly feature?: readonly string[] | false;
  readonly ip?: readonly string[] | false;
}

interface DisableFlags extends LoginOptions {
  readonly allBut?: readonly string[];
}

const WHICH = 'a name of the keystore (it wins), a client id (or client-id:…) or a key id (or id:…)';

function defineKeysList(group: Command, act: Act): void {
  addLoginOptions(group.command('list').description('the keys of the account, and what is remarkable about them'))
    .addHelpText(
      'after',
      `${examples('api-keys list --as admin', 'api-keys list --as admin --json | jq -r ".[] | select(.name == null).clientId"')}

Marks: login (it is logged in), stranger (not in the keystore), symmetric (a shared secret), over-powered
(account:read_write, wallet:read_write or custody:read_write), no-whitelist (any address may use it), disabled.
A client id that begins with "-" is written client-id:-….
${NARROW}`,
    )
    .action(
      act(async (cx, flags: LoginOptions) => {
        await showKeys(cx, flags);
      }),
    );
}

function defineKeysEdit(group: Command, act: Act): void {
  const listOf = (value: readonly string[] | false | undefined) => (value === false ? [] : value);
  addLoginOptions(
    eitherOr(group.command('edit'), 'feature', 'ip')
      .description('change what is said of a key; what is left out stays')
      .argument('<which>', WHICH)
      .option('--scope <scope>', 'what the key may do')
      .option('--label <label>', 'its name on Deribit: up to 16 letters, digits and underscores')
      .option('--feature <feature>', 'all its features, one each time', collect)
      .option('--no-feature', 'no features')
      .option('--ip <address>', 'its whole whitelist: an address or subnet each time', collect)
      .option('--no-ip', 'no whitelist: any address'),
  )
    .addHelpText(
      'after',
      examples('api-keys edit bot --ip 203.0.113.7 --ip 198.51.100.0/24 --as admin', 'api-keys edit 7 --no-ip --yes'),
    )
    .action(
      act(async (cx, which: string, flags: EditFlags) => {
        const { scope, label } = flags;
        const change = {
          do: 'edit',
          scope,
          label,
          features: listOf(flags.feature),
          ipWhitelist: listOf(flags.ip),
        } as const;
        await changeOne(cx, which, change, flags);
      }),
    );
}

function defineKeysDisable(group: Command, act: Act): void {
  addLoginOptions(
    group
      .command('disable')
      .description('keep a key from logging in; with --all-but, all keys but those')
      .argument('[which]', WHICH)
      .option('--all-but <which>', 'the emergency brake: disable every other key; may be repeated', collect),
  )
    .addHelpText(
      'after',
      examples('api-keys disable bot --as admin', 'api-keys disable --all-but admin --as admin --yes'),
    )
    .action(
      act(async (cx, which: string | undefined, flags: DisableFlags) => {
        if ((which === undefined) === (flags.allBut === undefined)) {
          throw new DeribitKeysError('ERR_USAGE', 'name one key, or say --all-but', {
            hint: 'deribit-keys api-keys disable <which>, or deribit-keys api-keys disable --all-but <which>',
          });
        }
        if (flags.allBut !== undefined) return disableOthers(cx, flags.allBut, flags);
        await changeOne(cx, which ?? '', { do: 'disable' }, flags);
      }),
    );
}

function defineSimple(
  group: Command,
  act: Act,
  name: 'enable' | 'remove',
  description: string,
  ...lines: readonly string[]
): void {
  addLoginOptions(group.command(name).description(description).argument('<which>', WHICH))
    .addHelpText('after', examples(...lines))
    .action(
      act(async (cx, which: string, flags: LoginOptions) => {
        await changeOne(cx, which, { do: name }, flags);
      }),
    );
}

function defineWithValue(
  group: Command,
  act: Act,
  name: string,
  description: string,
  value: string,
  change: (value: string) => KeyChange,
  example: string,
): void {
  addLoginOptions(group.command(name).description(description).argument('<which>', WHICH).argument(`<${value}>`))
    .addHelpText('after', examples(example))
    .action(
      act(async (cx, which: string, given: string, flags: LoginOptions) => {
        await changeOne(cx, which, change(given), flags);
      }),
    );
}

export function defineApiKeys(command: Command, act: Act): void {
  const group = command.addHelpText(
    'after',
    examples('api-keys list --as admin', 'api-keys remove AbCdEf12 --as admin'),
  );
  defineKeysList(group, act);
  defineKeysEdit(group, act);
  defineSimple(group, act, 'enable', 'let a key log in again', 'api-keys enable bot --as admin');
  defineKeysDisable(group, act);
  defineSimple(group, act, 'remove', 'remove a key for good; its files here stay', 'api-keys remove 7 --as admin');
  defineWithValue(
    group,
    act,
    'rename',
    'give a key another label on the exchange',
    'label',
    (label) => ({ do: 'rename', label }),
    'api-keys rename bot bot_paris --as admin',
  );
  defineWithValue(
    group,
    act,
    'scope',
    'give a key another scope',
    'scope',
    (scope) => ({ do: 'scope', scope }),
    'api-keys scope bot "account:read trade:read_write" --as admin',
  );
}
