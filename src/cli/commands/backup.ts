import type { Secret } from '../../crypto/secret.js';
import { usageError } from '../../errors.js';
import type { Context } from '../context.js';
import type { Define } from '../program.js';
import { requireNewPassphrase, type SecretRequest, withPassphrase } from '../secrets.js';

const requestFor = ({ host, secrets }: Context, what: string): SecretRequest => ({
  host,
  secrets,
  what,
  names: ['backupPassphrase', 'passphrase'],
});

export const defineBackup: Define = (command, { act }) => {
  command
    .argument('<file|->', 'new file: an existing one is not overwritten; - for stdout')
    .secret('backupPassphrase')
    .examples(
      'backup keys-2026-11.age',
      'backup keys.age --backup-passphrase-file secret.txt',
      "$ deribit-keys backup - | ssh host 'cat > keys.age'",
    )
    .action(
      act(async (cx, file: string) => {
        const { requireKeysToBackUp, sealBackup, writeBackup } = await import('../../keystore/backup.js');
        const { requireNewFile } = await import('../../keystore/files.js');
        const toStdout = file === '-';
        if (toStdout && !cx.out.json && cx.host.stdout.isTTY === true) {
          throw usageError(
            'the bytes of a backup are not written to a terminal',
            'name a file, or pipe it to a program',
          );
        }
        if (!toStdout) await requireNewFile(file);
        await requireKeysToBackUp(cx.store);
        const passphrase = await requireNewPassphrase(requestFor(cx, 'the backup'));
        cx.out.note('encrypting …');
        if (toStdout) {
          const { bytes, keys } = await sealBackup(cx.store, { passphrase, signal: cx.host.signal });
          await cx.store.audit({ action: 'backup' });
          if (cx.out.json)
            cx.out.result({ file: null, keys, content: Buffer.from(bytes).toString('base64') }, () => '');
          else cx.host.stdout.write(bytes);
          return;
        }
        const keys = await writeBackup(cx.store, { path: file, passphrase, signal: cx.host.signal });
        cx.out.result({ file, keys }, () => `${file}: ${keys} ${keys === 1 ? 'key' : 'keys'}`);
      }),
    );
};

export const defineRestore: Define = (command, { act }) => {
  command
    .argument('<file>')
    .argument(
      '[name...]',
      'only these keys (default: every key, retired pairs, and the audit log if the keystore has none)',
    )
    .secret('backupPassphrase')
    .examples('restore keys-2026-11.age', 'restore keys-2026-11.age bot', 'restore keys.age --keys-dir ./restored')
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
};
