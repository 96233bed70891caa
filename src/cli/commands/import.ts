import { type Command, Option } from 'commander';
import type { Secret } from '../../crypto/secret.js';
import { readKeyInput } from '../key-input.js';
import { eitherOr, examples, secretOption } from '../options.js';
import type { Act } from '../program.js';
import { newKeyPassphrase } from '../secrets.js';
import { showStoredKey } from '../show-record.js';

interface ImportFlags {
  readonly format?: 'raw-seed';
  readonly encrypt?: boolean;
}

export function defineImport(command: Command, act: Act): void {
  eitherOr(command, 'encrypt')
    .argument('<name>', 'what to call it here')
    .argument('<file|->', 'PKCS#8, PKCS#1, OpenSSH or JWK, as PEM or DER, also encrypted')
    .addOption(new Option('--format <format>', 'the file is a bare Ed25519 seed').choices(['raw-seed']))
    .option('--encrypt', 'encrypt it under a passphrase (default if one is given, or if the file is encrypted)')
    .option('--no-encrypt', 'store it unencrypted')
    .addOption(secretOption('inputPassphrase'))
    .addHelpText(
      'after',
      examples(
        'import bot ./id_ed25519',
        'import bot key.pem --encrypt --passphrase-file secret.txt',
        '$ vault read … | deribit-keys import bot -',
      ),
    )
    .action(
      act(async (cx, name: string, source: string, flags: ImportFlags) => {
        await cx.store.requireFree(name);
        const { parsePrivateKey } = await import('../../crypto/formats/index.js');
        const { storeKey } = await import('../../keystore/stored-keys.js');
        let opened: Secret | null = null;
        const { format, encrypt } = flags;
        const parse = (bytes: Uint8Array, passphrase: Secret | null) => {
          opened = passphrase;
          return parsePrivateKey(bytes, { format, ...(passphrase === null ? {} : { passphrase }) });
        };
        const key = await readKeyInput(cx, source, parse, name);
        const passphrase = await newKeyPassphrase(cx, { name, encrypt, opened });
        await showStoredKey(cx, await storeKey(cx.store, name, key, { passphrase, action: 'import' }));
      }),
    );
}
