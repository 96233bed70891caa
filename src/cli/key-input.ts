import { open } from 'node:fs/promises';
import type { Secret } from '../crypto/secret.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { readHandle } from '../keystore/files.js';
import type { Context } from './context.js';
import { withPassphrase } from './secrets.js';

/** Keys are small: no more than this is read of a file or of stdin. */
const MAX_INPUT_BYTES = 64 * 1024;

async function readStdin(cx: Context): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of cx.host.stdin) {
    const bytes = Buffer.from(chunk as Uint8Array);
    length += bytes.length;
    if (length > MAX_INPUT_BYTES) throw tooLarge('the standard input');
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}

function tooLarge(what: string): DeribitKeysError {
  return new DeribitKeysError(
    'ERR_KEY_UNREADABLE',
    `${what} has more than ${MAX_INPUT_BYTES} bytes: it is no key file`,
  );
}

async function readInput(cx: Context, source: string): Promise<Uint8Array> {
  if (source === '-') return readStdin(cx);
  try {
    const handle = await open(source, 'r');
    try {
      const stats = await handle.stat();
      if (stats.isFile()) {
        if (stats.size > MAX_INPUT_BYTES) throw tooLarge(source);
        return await readHandle(handle, source, MAX_INPUT_BYTES);
      }
      if (stats.isDirectory())
        throw new DeribitKeysError('ERR_KEY_UNREADABLE', `${source} is a folder, not a key file`);
      return await readPipe(handle, source);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof DeribitKeysError) throw error;
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    throw new DeribitKeysError(
      'ERR_KEY_UNREADABLE',
      missing ? `there is no file ${source}` : `the file ${source} cannot be read`,
      {
        cause: error,
        hint: 'give the path of a key file, or - for the standard input',
      },
    );
  }
}

async function readPipe(handle: Awaited<ReturnType<typeof open>>, source: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(MAX_INPUT_BYTES), 0, MAX_INPUT_BYTES, null);
    if (bytesRead === 0) return Buffer.concat(chunks);
    length += bytesRead;
    if (length > MAX_INPUT_BYTES) throw tooLarge(source);
    chunks.push(buffer.subarray(0, bytesRead));
  }
}

/**
 * Reads a key from a file or (`-`) from stdin, and asks for its passphrase if it needs one.
 * @param key the name that it will have in the keystore
 * @throws `ERR_KEY_UNREADABLE`, and what `parse` does
 */
export async function readKeyInput<T>(
  cx: Context,
  source: string,
  parse: (bytes: Uint8Array, passphrase: Secret | null) => Promise<T>,
  key?: string,
): Promise<T> {
  const bytes = await readInput(cx, source);
  try {
    return await parse(bytes, null);
  } catch (error) {
    if (!isDeribitKeysError(error, 'ERR_PASSPHRASE_REQUIRED')) throw error;
  }
  const { host, secrets } = cx;
  const what = source === '-' ? 'the key on stdin' : `the key in ${source}`;
  const names = ['inputPassphrase', 'passphrase'] as const;
  return withPassphrase({ host, secrets, what, names, key }, (passphrase) => parse(bytes, passphrase));
}
