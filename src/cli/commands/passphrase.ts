import type { Command } from 'commander';
import { DeribitKeysError } from '../../errors.js';
import { examples, notEmpty } from '../options.js';
import type { Open } from '../program.js';
import { requireNewPassphrase, type SecretPlace } from '../secrets.js';

interface PassphraseFlags {
  readonly remove?: true;
  readonly newPassphraseFile?: string;
}

export function definePassphrase(program: Command, open: Open): void {
  program
    .command('passphrase')
    .description("set, change or remove a key's passphrase")
    .argument('<name>')
    .option('--new-passphrase-file <file>', 'the new passphrase (env DERIBIT_KEYS_NEW_PASSPHRASE)', notEmpty)
    .option('--remove', 'store the key unencrypted')
    .addHelpText(
      'after',
      examples(
        'passphrase bot',
        'passphrase bot --passphrase-file old.txt --new-passphrase-file new.txt',
        'passphrase bot --remove',
      ),
    )
    .action(async (name: string, flags: PassphraseFlags, command: Command) => {
      const cx = open(command);
      await cx.store.tidy();
      if (flags.remove && flags.newPassphraseFile !== undefined) {
        throw new DeribitKeysError('ERR_USAGE', '--remove and --new-passphrase-file contradict each other');
      }
      const { changePassphrase, requirePrivateFile } = await import('../../keystore/stored-keys.js');
      const record = await cx.store.read(name);
      requirePrivateFile(record);
      const current: SecretPlace = { file: cx.options.passphraseFile, variable: 'DERIBIT_KEYS_PASSPHRASE' };
      const places: readonly SecretPlace[] = [
        { file: flags.newPassphraseFile, variable: 'DERIBIT_KEYS_NEW_PASSPHRASE' },
        ...(record.encrypted ? [] : [current]),
      ];
      const opening = record.encrypted ? await cx.passphraseOf(record) : null;
      const next = flags.remove
        ? null
        : await requireNewPassphrase(cx.host, `the key "${name}"`, '--new-passphrase-file', ...places);
      const { encrypted } = await changePassphrase(cx.store, name, next, {
        permissions: cx.permissions,
        passphrase: async () => opening ?? cx.passphraseOf(record),
      });
      cx.out.result({ name, encrypted }, () => `${name}: ${encrypted ? 'encrypted' : 'not encrypted'}`);
    });
}
