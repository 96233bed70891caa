import { rawEd25519Seed } from '../../crypto/asn1/key-der.js';
import type { PrivateKey } from '../../crypto/keys.js';
import type { Secret } from '../../crypto/secret.js';
import { DeribitKeysError } from '../../errors.js';
import { requireNewKeyName } from '../../keystore/names.js';
import type { Context } from '../context.js';
import { readKeyInput } from '../key-input.js';
import type { Define } from '../program.js';
import { confirm } from '../prompt.js';
import { newKeyPassphrase } from '../secrets.js';
import { showStoredKey } from '../show-record.js';

interface ImportFlags {
  readonly format?: 'raw-seed';
  readonly encrypt?: boolean;
}

/**
 * A seed that could be a public key needs the user's confirmation that it is not: whoever knows a public key that was stored as a
 * seed has the private key. One seed in 16 is asked about. That of a key in the keystore is refused.
 */
async function requireSecretSeed(cx: Context, key: PrivateKey): Promise<void> {
  const { fingerprint } = await import('../../crypto/fingerprint.js');
  const { parsePublicKey } = await import('../../crypto/formats/index.js');
  const candidate = await parsePublicKey(rawEd25519Seed(key.exposePkcs8())).catch(() => null);
  if (candidate === null) return;
  const { records } = await cx.store.list();
  const owner = records.find((record) => record.fingerprint === fingerprint(candidate));
  if (owner !== undefined) {
    throw new DeribitKeysError('ERR_KEY_INVALID', `this is the public key of "${owner.name}", not a seed`, {
      hint: 'give the file that holds the private key',
    });
  }
  const question = 'these 32 bytes can be a public key, which others may know: are they the secret seed?';
  await confirm(cx.host, cx.options.yes === true, question);
}

export const define: Define = (command, { act }) => {
  command
    .eitherOr('encrypt')
    .argument('<name>', 'name of the new key')
    .argument('<file|->', 'PKCS#8, PKCS#1, OpenSSH, PuTTY or JWK, as PEM or DER, also encrypted')
    .choice('--format <format>', 'read the file as a bare Ed25519 seed', ['raw-seed'])
    .option(
      '--encrypt',
      'encrypt it; DERIBIT_KEYS_PASSPHRASE or --passphrase-file, else a prompt (default if one is given, or if the file is encrypted)',
    )
    .option('--no-encrypt', 'store it unencrypted')
    .secret('inputPassphrase')
    .examples(
      'import bot ./id_ed25519',
      'import bot key.pem --encrypt --passphrase-file secret.txt',
      '$ vault read … | deribit-keys import bot -',
    )
    .action(
      act(async (cx, name: string, source: string, flags: ImportFlags) => {
        await cx.store.requireFree(requireNewKeyName(name));
        const { inspectKey, parsePrivateKey } = await import('../../crypto/formats/index.js');
        const { storeKey } = await import('../../keystore/stored-keys.js');
        let opened: Secret | null = null;
        let warning: string | undefined;
        const { format, encrypt } = flags;
        const parse = async (bytes: Uint8Array, passphrase: Secret | null) => {
          opened = passphrase;
          if (format !== undefined) warning = (await inspectKey(bytes, { format })).warning;
          return parsePrivateKey(bytes, { format, ...(passphrase === null ? {} : { passphrase }) });
        };
        const key = await readKeyInput(cx, { source, parse, key: name });
        if (warning !== undefined) await requireSecretSeed(cx, key);
        const passphrase = await newKeyPassphrase(cx, { name, encrypt, opened });
        const record = await storeKey(cx.store, { name, key, passphrase, action: 'import' });
        await showStoredKey(cx, record, warning);
        const { records } = await cx.store.list();
        const twins = records.filter((other) => other.fingerprint === record.fingerprint && other.name !== name);
        if (twins.length > 0)
          cx.out.note(`note: the same key is stored as ${twins.map((twin) => twin.name).join(', ')}`);
      }),
    );
};
