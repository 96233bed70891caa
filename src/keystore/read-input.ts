import { constants, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeribitKeysError } from '../errors.js';
import { errnoOf, MAX_FILE_BYTES, readHandle, tooLarge } from './files.js';

/** How long a pipe may have no writer, and how long a writer may be silent: it may be asking for a passphrase. */
const NO_WRITER_MS = 10_000;
const SILENT_WRITER_MS = 300_000;
const PIPE_POLL_MS = 15;
/** An open pipe by its descriptor: it had a writer, so one that has none any more has ended. */
const OPEN_PIPE = /^\/(dev\/(stdin$|fd\/)|proc\/[^/]+\/fd\/)/;

export interface InputOptions {
  readonly maxBytes?: number;
  /** Can refuse what was opened. */
  readonly check?: (stats: Stats) => void;
  /** Ends the wait for a pipe with `ERR_INTERRUPTED`. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads a file that the user names: a regular file, a pipe such as `<(gpg -d key.pem.gpg)`, or a terminal. A pipe without a
 * writer does not hang it.
 * @throws `ERR_KEYSTORE_IO` for too many bytes, a folder, a pipe that nobody writes to; `ERR_INTERRUPTED`; the system's
 *   errors as they are
 */
export async function readInput(path: string, options: InputOptions = {}): Promise<Buffer> {
  const { maxBytes = MAX_FILE_BYTES, check = () => {}, signal } = options;
  const handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    const stats = await handle.stat();
    check(stats);
    const isStream = stats.isFIFO() || stats.isCharacterDevice() || stats.isSocket();
    return isStream
      ? await readStream(handle, path, stats, { maxBytes, signal })
      : await readHandle(handle, path, maxBytes);
  } finally {
    await handle.close();
  }
}

async function readStream(
  handle: FileHandle,
  path: string,
  stats: Stats,
  { maxBytes, signal }: { readonly maxBytes: number; readonly signal: AbortSignal | undefined },
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  let hadWriter = !stats.isFIFO() || OPEN_PIPE.test(path);
  let heardAtMs = performance.now();
  for (;;) {
    const read = await handle.read(Buffer.alloc(maxBytes + 1), 0, maxBytes + 1, null).catch((error: unknown) => {
      if (errnoOf(error) === 'EAGAIN') return null;
      throw error;
    });
    if (read !== null && read.bytesRead > 0) {
      length += read.bytesRead;
      if (length > maxBytes) throw tooLarge(path, maxBytes);
      chunks.push(read.buffer.subarray(0, read.bytesRead));
      heardAtMs = performance.now();
      continue;
    }
    if (read !== null && (hadWriter || length > 0)) return Buffer.concat(chunks);
    hadWriter ||= read === null;
    const limitMs = hadWriter ? SILENT_WRITER_MS : NO_WRITER_MS;
    if (performance.now() - heardAtMs > limitMs) {
      throw new DeribitKeysError(
        'ERR_KEYSTORE_IO',
        `${path} is a pipe: nothing was written to it for ${limitMs / 1000} s`,
      );
    }
    await sleep(PIPE_POLL_MS, undefined, { signal }).catch(() => {
      throw new DeribitKeysError('ERR_INTERRUPTED', `interrupted while reading ${path}`, { maybeSent: false });
    });
  }
}
