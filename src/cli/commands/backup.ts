import type { Command } from 'commander';
import type { Secret } from '../../crypto/secret.js';
import type { Context } from '../context.js';
import { examples, secretOption } from '../options.js';
import type { Act } from '../program.js';
import { requireNewPassphrase, type SecretRequest, withPassphrase } from '../secrets.js';

const requestFor = ({ host, secrets }: Context, what: string): SecretRequest => ({
  host,
  secrets,
  what,
  names: ['backupPassphrase', 'passphrase'],
});

export function defineBackup(command: Command, act: Act): void {
  command
    .argument('<file>', 'new file: an existing one is not overwritten')
    .addOption(secretOption(command, 'backupPassphrase'))
    .addHelpText('after', examples('backup keys-2026-11.age', 'backup keys.age --backup-passphrase-file secret.txt'))
    .action(
      act(async (cx, file: string) => {
        const { requireKeysToBackUp, writeBackup } = await import('../../keystore/backup.js');
        const { requireNewFile } = await import('../../keystore/files.js');
        await requireNewFile(file);
        await requireKeysToBackUp(cx.store);
        const passphrase = await requireNewPassphrase(requestFor(cx, 'the backup'));
        cx.out.note('encrypting …');
        const keys = await writeBackup(cx.store, { path: file, passphrase, signal: cx.host.signal });
        cx.out.result({ file, keys }, () => `${file}: ${keys} ${keys === 1 ? 'key' : 'keys'}`);
      }),
    );
}

export function defineRestore(command: Command, act: Act): void {
  command
    .argument('<file>')
    .argument(
      '[name...]',
      'only these keys (default: every key, retired pairs, and the audit log if the keystore has none)',
    )
    .addOption(secretOption(command, 'backupPassphrase'))
    .addHelpText(
      'after',
      examples('restore keys-2026-11.age', 'restore keys-2026-11.age bot', 'restore keys.age --keys-dir ./restored'),
    )
    .action(
      act(async (cx, file: string, names: readonly string[]) => {
        const { requireBackup, restoreBackup } = await import('../../keystore/restore.js');
        requireBackup(file);
        const restore = (passphrase: Secret) => {
          cx.out.note('decrypting …');
          return restoreBackup(cx.store, { path: file, passphrase, names, signal: cx.host.signal });
        };
        const restored = await withPassphrase(requestFor(cx, `the backup ${file}`), restore);
        cx.out.result({ file, names: restored }, () => restored);
      }),
    );
}
