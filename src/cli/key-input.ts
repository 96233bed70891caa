import type { Stats } from 'node:fs';
import { MAX_KEY_INPUT } from '../crypto/key-errors.js';
import type { Secret } from '../crypto/secret.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { errnoOf } from '../keystore/file-errors.js';
import { describeSharedFile, readInput } from '../keystore/permissions.js';
import type { Context } from './context.js';
import { withPassphrase } from './secrets.js';

const NAME_FILE = 'name a key file, or - for stdin';

/** Reads the standard input; what `tooLarge` returns is thrown for more than `maxBytes`. */
export async function readStdin(cx: Context, maxBytes: number, tooLarge: () => DeribitKeysError): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of cx.host.stdin) {
    const bytes = Buffer.from(chunk as Uint8Array);
    length += bytes.length;
    if (length > maxBytes) throw tooLarge();
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}

function tooLarge(): DeribitKeysError {
  const message = `the standard input has more than ${MAX_KEY_INPUT} bytes: it is not a key file`;
  return new DeribitKeysError('ERR_KEY_UNREADABLE', message, { hint: 'give the key and nothing else' });
}

/** What a file or stdin holds, and the sentence about a file that other users can read. */
async function readSource(cx: Context, source: string) {
  if (source === '-') return { bytes: await readStdin(cx, MAX_KEY_INPUT, tooLarge), shared: null };
  const { signal } = cx.host;
  let shared: string | null = null;
  const check = (stats: Stats) => {
    if (stats.isDirectory()) {
      throw new DeribitKeysError('ERR_KEY_UNREADABLE', `${source} is a folder, not a key file`, { hint: NAME_FILE });
    }
    shared = describeSharedFile(source, stats);
  };
  try {
    const bytes = await readInput(source, { maxBytes: MAX_KEY_INPUT, check, signal });
    return { bytes, shared };
  } catch (cause) {
    const hint = NAME_FILE;
    if (isDeribitKeysError(cause, 'ERR_KEYSTORE_IO')) throw cause.with({ code: 'ERR_KEY_UNREADABLE', hint });
    if (isDeribitKeysError(cause)) throw cause;
    const what = errnoOf(cause) === 'ENOENT' ? `there is no file ${source}` : `the file ${source} cannot be read`;
    throw new DeribitKeysError('ERR_KEY_UNREADABLE', what, { cause, hint });
  }
}

interface KeyInput<T> {
  readonly source: string;
  readonly parse: (bytes: Uint8Array, passphrase: Secret | null) => Promise<T>;
  /** The name that it will have in the keystore, for a private key: a note says so if others can read its file. */
  readonly key?: string;
}

/**
 * Reads a key from a file or (`-`) from stdin, and asks for its passphrase if it needs one.
 * @throws `ERR_KEY_UNREADABLE`, and what `parse` does
 */
export async function readKeyInput<T>(cx: Context, { source, parse, key }: KeyInput<T>): Promise<T> {
  const { bytes, shared } = await readSource(cx, source);
  const tellIfShared = () => {
    if (key !== undefined && shared !== null) cx.out.note(shared);
  };
  try {
    const parsed = await parse(bytes, null);
    tellIfShared();
    return parsed;
  } catch (error) {
    if (isDeribitKeysError(error, 'ERR_KEY_UNREADABLE') && source !== '-' && !error.message.includes(source)) {
      throw error.with({ message: `${source}: ${error.message}` });
    }
    if (!isDeribitKeysError(error, 'ERR_PASSPHRASE_REQUIRED')) throw error;
  }
  tellIfShared();
  const { host, secrets } = cx;
  const what = source === '-' ? 'the key on stdin' : `the key in ${source}`;
  const names = ['inputPassphrase', 'passphrase'] as const;
  try {
    return await withPassphrase({ host, secrets, what, names, key }, (passphrase) => parse(bytes, passphrase));
  } catch (error) {
    if (!isDeribitKeysError(error, 'ERR_PASSPHRASE_WRONG')) throw error;
    throw error.with({ message: `wrong passphrase for ${what}, or it is damaged` });
  }
}
