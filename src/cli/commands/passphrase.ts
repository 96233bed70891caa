import { usageError } from '../../errors.js';
import type { Define } from '../program.js';
import { requireNewPassphrase } from '../secrets.js';

interface PassphraseFlags {
  readonly remove?: true;
  readonly newPassphraseFile?: string;
}

export const define: Define = (command, { act }) => {
  command
    .argument('<name>')
    .secret('newPassphrase')
    .option('--remove', 'store the key unencrypted')
    .examples(
      'passphrase bot',
      'passphrase bot --passphrase-file old.txt --new-passphrase-file new.txt',
      'passphrase bot --remove',
    )
    .action(
      act(async (cx, name: string, flags: PassphraseFlags) => {
        if (flags.remove && flags.newPassphraseFile !== undefined) {
          throw usageError('--remove and --new-passphrase-file contradict each other');
        }
        const { changePassphrase, requirePrivateFile } = await import('../../keystore/stored-keys.js');
        const record = await cx.store.read(name);
        requirePrivateFile(record);
        const { host, secrets } = cx;
        const { key } = await cx.openKey(record);
        const names = ['newPassphrase', ...(record.encrypted ? [] : ['passphrase' as const])] as const;
        const what = `the key "${name}"`;
        const next = flags.remove ? null : await requireNewPassphrase({ host, secrets, what, names, key: name });
        const { encrypted } = await changePassphrase(cx.store, { name, next, open: async () => key });
        cx.out.result({ name, encrypted }, () => `${name}: ${encrypted ? 'encrypted' : 'not encrypted'}`);
      }),
    );
};
