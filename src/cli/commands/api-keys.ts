import { usageError } from '../../errors.js';
import type { KeyChange } from '../../workflows/account/change-api-key.js';
import type { CliCommand } from '../command.js';
import { collect, type LoginOptions, scopeText } from '../options.js';
import { NARROW } from '../output.js';
import type { Act, Define } from '../program.js';
import { changeOne, disableOthers, showKeys } from './api-keys-actions.js';

interface EditFlags extends LoginOptions {
  readonly scope?: string;
  readonly label?: string;
  /** False for `--no-feature`. */
  readonly feature?: readonly string[] | false;
  readonly ip?: readonly string[] | false;
}

const WHICH = 'name of a key in the keystore, else a client id (or client-id:…) or a key id (or id:…)';

function defineKeysList(group: CliCommand, act: Act): void {
  group
    .command('list')
    .description('List the keys of the account')
    .loginOptions()
    .examples(
      'api-keys list --as admin',
      'api-keys list --as admin --json | jq -r ".[] | select(.name == null).clientId"',
    )
    .addHelpText(
      'after',
      `
Marks: login (this login), stranger (unmanaged: not in the keystore), symmetric (a shared secret), over-powered
(account:read_write, wallet:read_write or custody:read_write), no-whitelist (any address may use it), disabled.
Write a client id that begins with "-" as client-id:-….
${NARROW}`,
    )
    .action(act(showKeys));
}

function defineKeysEdit(group: CliCommand, act: Act): void {
  const listOf = (value: readonly string[] | false | undefined) => (value === false ? [] : value);
  group
    .command('edit')
    .eitherOr('feature')
    .eitherOr('ip')
    .description('Change a key; what is left out stays as it is')
    .argument('<which>', WHICH)
    .option('--scope <scope>', 'what the key may do', scopeText)
    .option('--label <label>', 'name on Deribit: up to 16 letters, digits and underscores')
    .option('--feature <feature>', 'a feature of the key; may be repeated', collect)
    .option('--no-feature', 'no features')
    .option('--ip <address>', 'address or subnet that may use the key; may be repeated', collect)
    .option('--no-ip', 'no whitelist: any address may use the key')
    .loginOptions()
    .examples('api-keys edit bot --ip 203.0.113.7 --ip 198.51.100.0/24 --as admin', 'api-keys edit 7 --no-ip --yes')
    .action(
      act(async (cx, which: string, flags: EditFlags) => {
        const { scope, label, feature, ip } = flags;
        const change = { do: 'edit', scope, label, features: listOf(feature), ipWhitelist: listOf(ip) } as const;
        await changeOne(cx, { text: which, change, flags });
      }),
    );
}

function defineKeysDisable(group: CliCommand, act: Act): void {
  group
    .command('disable')
    .description('Disable a key, or with --all-but every other key')
    .argument('[which]', WHICH)
    .option('--all-but <which>', 'emergency brake: disable every key but this one; may be repeated', collect)
    .loginOptions()
    .examples('api-keys disable bot --as admin', 'api-keys disable --all-but admin --as admin --yes')
    .action(
      act(async (cx, which: string | undefined, flags: LoginOptions & { allBut?: readonly string[] }) => {
        if ((which === undefined) === (flags.allBut === undefined)) {
          throw usageError(
            'name one key, or use --all-but',
            'deribit-keys api-keys disable <which>, or deribit-keys api-keys disable --all-but <which>',
          );
        }
        if (flags.allBut !== undefined) return disableOthers(cx, flags.allBut, flags);
        await changeOne(cx, { text: which ?? '', change: { do: 'disable' }, flags });
      }),
    );
}

/** A command that makes one change of one key; `value` names its second argument. */
interface OneChange {
  readonly name: string;
  readonly description: string;
  readonly value?: string;
  readonly change: (value: string) => KeyChange;
  readonly example: string;
}

function defineChange(group: CliCommand, act: Act, { name, description, value, change, example }: OneChange): void {
  const command = group.command(name).description(description).argument('<which>', WHICH);
  if (value !== undefined) command.argument(`<${value}>`);
  command
    .loginOptions()
    .examples(example)
    .action(
      act(async (cx) => {
        const [which = '', given = ''] = command.args;
        await changeOne(cx, { text: which, change: change(given), flags: command.opts<LoginOptions>() });
      }),
    );
}

export const define: Define = (command, { act }) => {
  const group = command.examples('api-keys list --as admin', 'api-keys remove AbCdEf12 --as admin');
  defineKeysList(group, act);
  defineKeysEdit(group, act);
  defineChange(group, act, {
    name: 'enable',
    description: 'Enable a key',
    change: () => ({ do: 'enable' }),
    example: 'api-keys enable bot --as admin',
  });
  defineKeysDisable(group, act);
  defineChange(group, act, {
    name: 'remove',
    description: 'Remove a key from the exchange for good; its files stay',
    change: () => ({ do: 'remove' }),
    example: 'api-keys remove 7 --as admin',
  });
  defineChange(group, act, {
    name: 'rename',
    description: 'Change the label of a key on the exchange',
    value: 'label',
    change: (label) => ({ do: 'rename', label }),
    example: 'api-keys rename bot bot_paris --as admin',
  });
  defineChange(group, act, {
    name: 'scope',
    description: 'Change the scope of a key',
    value: 'scope',
    change: (scope) => ({ do: 'scope', scope }),
    example: 'api-keys scope bot "account:read trade:read_write" --as admin',
  });
};
