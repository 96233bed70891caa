import { type Command, Option } from 'commander';
import type { Secret } from '../../crypto/secret.js';
import type { Context } from '../context.js';
import { readKeyInput } from '../key-input.js';
import { eitherOr, examples, notEmpty } from '../options.js';
import type { Open } from '../program.js';
import { requireNewPassphrase, secretFrom } from '../secrets.js';
import { showStoredKey } from './generate.js';

interface ImportFlags {
  readonly format?: 'raw-seed';
  readonly encrypt?: boolean;
  readonly inputPassphraseFile?: string;
}

/** Under which passphrase the key is stored; null for none. */
async function storedUnder(
  cx: Context,
  name: string,
  flags: ImportFlags,
  opened: Secret | null,
): Promise<Secret | null> {
  if (flags.encrypt === false) return null;
  const place = { file: cx.options.passphraseFile, variable: 'DERIBIT_KEYS_PASSPHRASE' };
  if (opened !== null) return (await secretFrom(cx.host, 'passphrase', place)) ?? opened;
  return flags.encrypt === true ? requireNewPassphrase(cx.host, `the key "${name}"`, '--passphrase-file', place) : null;
}

export function defineImport(program: Command, open: Open): void {
  eitherOr(program.command('import'), 'encrypt')
    .description('bring in a private key that another program made')
    .argument('<name>', 'what to call it here')
    .argument('<file|->', 'PKCS#8, PKCS#1, OpenSSH or JWK, as PEM or DER, also encrypted')
    .addOption(new Option('--format <format>', 'the file is a bare Ed25519 seed').choices(['raw-seed']))
    .option('--encrypt', 'encrypt it under a passphrase; a key that is encrypted stays so without it')
    .option('--no-encrypt', 'store it unencrypted')
    .option(
      '--input-passphrase-file <file>',
      'the passphrase of the file (env DERIBIT_KEYS_INPUT_PASSPHRASE)',
      notEmpty,
    )
    .addHelpText(
      'after',
      examples(
        'import bot ./id_ed25519',
        'import bot key.pem --encrypt --passphrase-file secret.txt',
        '$ vault read … | deribit-keys import bot -',
      ),
    )
    .action(async (name: string, source: string, flags: ImportFlags, command: Command) => {
      const cx = open(command);
      await cx.store.tidy();
      await cx.store.requireFree(name);
      const { parsePrivateKey } = await import('../../crypto/formats/index.js');
      const { storeKey } = await import('../../keystore/stored-keys.js');
      let opened: Secret | null = null;
      const key = await readKeyInput(cx, source, flags.inputPassphraseFile, (bytes, passphrase) => {
        opened = passphrase;
        const { format } = flags;
        return parsePrivateKey(bytes, { format, ...(passphrase === null ? {} : { passphrase }) });
      });
      const passphrase = await storedUnder(cx, name, flags, opened);
      await showStoredKey(cx, await storeKey(cx.store, name, key, { passphrase, action: 'import' }));
    });
}
