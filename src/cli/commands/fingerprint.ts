import { type Command, Option } from 'commander';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import { isKeyName } from '../../keystore/names.js';
import type { Context } from '../context.js';
import { readKeyInput } from '../key-input.js';
import { examples, secretOption } from '../options.js';
import type { Act } from '../program.js';

async function storedPublicKey(cx: Context, source: string) {
  if (!isKeyName(source)) return null;
  try {
    const { readPublicKey } = await import('../../keystore/stored-keys.js');
    return await readPublicKey(cx.store, await cx.store.read(source));
  } catch (error) {
    if (isDeribitKeysError(error, 'ERR_NO_SUCH_NAME')) return null;
    throw error;
  }
}

interface FingerprintFlags {
  readonly format?: 'raw-seed';
}

export function defineFingerprint(command: Command, act: Act): void {
  command
    .argument(
      '<name|file|->',
      'a key of the keystore; or a file (or stdin) with a public key, private key or certificate',
    )
    .addOption(new Option('--format <format>', 'the file is a bare Ed25519 seed').choices(['raw-seed']))
    .addOption(secretOption('inputPassphrase'))
    .addHelpText(
      'after',
      examples(
        'fingerprint bot',
        'fingerprint ./key.pem',
        '$ openssl pkey -in key.pem -pubout | deribit-keys fingerprint -',
      ),
    )
    .action(
      act(
        async (cx, source: string, { format }: FingerprintFlags) => {
          const { fingerprint } = await import('../../crypto/fingerprint.js');
          const key = (await storedPublicKey(cx, source)) ?? (await publicKeyIn(cx, source, format));
          const print = fingerprint(key);
          cx.out.result({ algorithm: key.algorithm, bits: key.bits, fingerprint: print }, () => print);
        },
        { tidy: false },
      ),
    );
}

async function publicKeyIn(cx: Context, source: string, format: FingerprintFlags['format']) {
  const { parsePublicKey } = await import('../../crypto/formats/index.js');
  try {
    return await readKeyInput(cx, source, (bytes, passphrase) =>
      parsePublicKey(bytes, { format, ...(passphrase === null ? {} : { passphrase }) }),
    );
  } catch (error) {
    const missing = isDeribitKeysError(error, 'ERR_KEY_UNREADABLE') && error.cause !== undefined;
    if (!missing || !isKeyName(source)) throw error;
    throw new DeribitKeysError('ERR_NO_SUCH_NAME', `there is neither a key nor a readable file called "${source}"`, {
      cause: error,
      hint: 'see what keys there are with: deribit-keys list',
    });
  }
}
