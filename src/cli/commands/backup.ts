import { access, constants } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Secret } from '../../crypto/secret.js';
import { DeribitKeysError } from '../../errors.js';
import type { Context } from '../context.js';
import { examples } from '../options.js';
import type { Open } from '../program.js';
import { requireNewPassphrase, type SecretPlace, withPassphrase } from '../secrets.js';

const PASSPHRASE_OPTION = [
  '--backup-passphrase-file <file>',
  'the passphrase of the backup (env DERIBIT_KEYS_BACKUP_PASSPHRASE; default --passphrase-file)',
] as const;

function places(cx: Context, file: string | undefined): readonly SecretPlace[] {
  return [
    { file, variable: 'DERIBIT_KEYS_BACKUP_PASSPHRASE' },
    { file: cx.options.passphraseFile, variable: 'DERIBIT_KEYS_PASSPHRASE' },
  ];
}

interface BackupFlags {
  readonly backupPassphraseFile?: string;
}

export function defineBackup(program: Command, open: Open): void {
  program
    .command('backup')
    .description('the whole keystore, keys and records, as one encrypted file (age -d <file> | tar x opens it)')
    .argument('<file>', 'made anew: an existing file is not overwritten')
    .option(...PASSPHRASE_OPTION)
    .addHelpText('after', examples('backup keys-2026-11.age', 'backup keys.age --backup-passphrase-file secret.txt'))
    .action(async (file: string, flags: BackupFlags, command: Command) => {
      const cx = open(command);
      await cx.store.tidy();
      const { writeBackup } = await import('../../keystore/backup.js');
      const passphrase: Secret = await requireNewPassphrase(
        cx.host,
        'the backup',
        '--backup-passphrase-file',
        ...places(cx, flags.backupPassphraseFile),
      );
      cx.out.note('encrypting …');
      const keys = await writeBackup(cx.store, file, passphrase);
      cx.out.result({ file, keys }, () => `${file}: ${keys} ${keys === 1 ? 'key' : 'keys'}`);
    });
}

/** Nobody should be asked for the passphrase of a file that is not there. @throws `ERR_KEY_UNREADABLE` */
async function requireFile(file: string): Promise<void> {
  try {
    await access(file, constants.R_OK);
  } catch (cause) {
    throw new DeribitKeysError('ERR_KEY_UNREADABLE', `there is no backup ${file} that can be read`, {
      cause,
      hint: 'give the path of a file that deribit-keys backup made',
    });
  }
}

export function defineRestore(program: Command, open: Open): void {
  program
    .command('restore')
    .description('bring back the keys of a backup, all or none, never over an existing name')
    .argument('<file>')
    .option(...PASSPHRASE_OPTION)
    .addHelpText('after', examples('restore keys-2026-11.age', 'restore keys.age --keys-dir ./restored'))
    .action(async (file: string, flags: BackupFlags, command: Command) => {
      const cx = open(command);
      await cx.store.tidy();
      const { restoreBackup } = await import('../../keystore/backup.js');
      await requireFile(file);
      const restore = (passphrase: Secret) => {
        cx.out.note('decrypting …');
        return restoreBackup(cx.store, file, passphrase);
      };
      const names = await withPassphrase(
        restore,
        cx.host,
        `the backup ${file}`,
        '--backup-passphrase-file',
        ...places(cx, flags.backupPassphraseFile),
      );
      cx.out.result({ file, names }, () => names);
    });
}
