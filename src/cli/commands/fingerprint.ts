import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import { isKeyName } from '../../keystore/names.js';
import type { Context } from '../context.js';
import { readKeyInput } from '../key-input.js';
import type { Define } from '../program.js';

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

export const define: Define = (command, { look }) => {
  command
    .argument(
      '<name|file|->',
      'name of a key, or a file (- for stdin) with a public key, a private key or a certificate',
    )
    .choice('--format <format>', 'read the file as a bare Ed25519 seed', ['raw-seed'])
    .secret('inputPassphrase')
    .examples(
      'fingerprint bot',
      'fingerprint ./key.pem',
      '$ openssl pkey -in key.pem -pubout | deribit-keys fingerprint -',
    )
    .action(
      look(async (cx, source: string, { format }: FingerprintFlags) => {
        const { fingerprint } = await import('../../crypto/fingerprint.js');
        const key = (await storedPublicKey(cx, source)) ?? (await publicKeyIn(cx, source, format));
        const print = fingerprint(key);
        cx.out.result({ algorithm: key.algorithm, bits: key.bits, fingerprint: print }, () => print);
      }),
    );
};

async function publicKeyIn(cx: Context, source: string, format: FingerprintFlags['format']) {
  const { inspectKey, parsePublicKey } = await import('../../crypto/formats/index.js');
  try {
    return await readKeyInput(cx, {
      source,
      parse: async (bytes, passphrase) => {
        const key = await parsePublicKey(bytes, { format, ...(passphrase === null ? {} : { passphrase }) });
        const found = await inspectKey(bytes, { format });
        if (found.warning !== undefined) cx.out.note(`warning: ${found.warning}`);
        if (found.format === 'raw-public')
          cx.out.note('note: read as a public key; a seed is read with --format raw-seed');
        return key;
      },
    });
  } catch (error) {
    const missing = isDeribitKeysError(error, 'ERR_KEY_UNREADABLE') && error.cause !== undefined;
    if (!missing || !isKeyName(source)) throw error;
    throw new DeribitKeysError('ERR_NO_SUCH_NAME', `"${source}" is neither a key of the keystore nor a readable file`, {
      cause: error,
      hint: 'list the keys with: deribit-keys list',
    });
  }
}
