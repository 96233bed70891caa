import { spawn } from 'node:child_process';
import { type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { decodeSecretText, Secret } from '../crypto/secret.js';
import { DeribitKeysError, isDeribitKeysError, usageError } from '../errors.js';
import { errnoOf } from '../keystore/file-errors.js';
import { describeSharedFile, readInput } from '../keystore/permissions.js';
import { onAbort } from '../util/checks.js';
import type { SecretContext } from './secret-sources.js';

const MAX_SECRET_BYTES = 4096;
/** A password manager may ask for a PIN or a touch. */
const COMMAND_TIMEOUT_MS = 120_000;
const COMMAND_GRACE_MS = 1_000;

type ReaderContext = Pick<SecretContext, 'signal' | 'stderr' | 'note'>;

/**
 * Reads a secret from a file, a pipe or a device such as /dev/stdin, in UTF-8 or UTF-16. A byte order mark and one
 * trailing newline are dropped.
 * @throws `ERR_USAGE` if the file cannot be read, is too large, or is empty
 */
export async function readSecretFile(path: string, what: string, { note, signal }: ReaderContext): Promise<Secret> {
  const refuse = (why: string, cause?: unknown) =>
    new DeribitKeysError('ERR_USAGE', `cannot read the ${what} from ${path}: ${why}`, {
      cause,
      hint: `name a file that holds only the ${what}`,
    });
  const tellIfShared = (stats: Stats) => {
    const shared = describeSharedFile(path, stats);
    if (shared !== null) note(shared);
  };
  const bytes = await readInput(path, { maxBytes: MAX_SECRET_BYTES, check: tellIfShared, signal }).catch((error) => {
    if (isDeribitKeysError(error, 'ERR_INTERRUPTED')) throw error;
    if (isDeribitKeysError(error)) throw refuse(error.message, error);
    throw refuse(errnoOf(error) === 'ENOENT' ? 'no such file' : `the file cannot be read (${errnoOf(error)})`, error);
  });
  const text = decodeSecretText(bytes);
  if (text === null) throw refuse('it is not text in UTF-8 or UTF-16');
  if (text === '') throw refuse('it is empty');
  return new Secret(text);
}

interface FolderRequest {
  readonly key: string;
  readonly what: string;
  readonly io: ReaderContext;
  readonly optional?: boolean;
}

/**
 * Reads the secret of `key` from the file of that name in `folder`, or returns null if that file does not exist.
 * @throws `ERR_USAGE` for a folder that does not exist, unless it is `optional`, or that is something else
 */
export async function readFromFolder(
  folder: string,
  { key, what, io, optional }: FolderRequest,
): Promise<Secret | null> {
  try {
    return await readSecretFile(join(folder, key), what, io);
  } catch (error) {
    const errno = error instanceof DeribitKeysError ? errnoOf(error.cause) : '';
    const isFolder = statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
    if (errno === 'ENOENT' && (isFolder || optional)) return null;
    if (isFolder || !['ENOENT', 'ENOTDIR'].includes(errno)) throw error;
    const why = errno === 'ENOENT' ? 'does not exist' : 'is not a folder';
    throw new DeribitKeysError('ERR_USAGE', `the folder of passphrases ${folder} ${why}`, {
      cause: error,
      hint: 'name a folder that holds the passphrase of each key in a file of its name',
    });
  }
}

/**
 * Splits a command into words. Quotes (' or ") keep blanks together; a backslash stands for itself unless a quote, a
 * blank or another backslash follows it. Nothing is expanded.
 * @throws `ERR_USAGE` if a quote is not closed
 */
export function splitCommand(command: string): string[] {
  const words: string[] = [];
  let word: string | null = null;
  let quote: string | null = null;
  for (let at = 0; at < command.length; at += 1) {
    const character = command.charAt(at);
    const next = command.charAt(at + 1);
    if (character === '\\' && quote !== "'" && next !== '' && /["'\\\s]/.test(next)) {
      word = (word ?? '') + next;
      at += 1;
    } else if (quote !== null) {
      if (character === quote) quote = null;
      else word += character;
    } else if (character === '"' || character === "'") {
      quote = character;
      word ??= '';
    } else if (/\s/.test(character)) {
      if (word !== null) words.push(word);
      word = null;
    } else {
      word = (word ?? '') + character;
    }
  }
  if (quote !== null) throw usageError(`a quote (${quote}) in --passphrase-command is not closed`);
  return word === null ? words : [...words, word];
}

/** Runs a program and returns its output, at most one byte more than a secret may have. */
function outputOf(
  [program = '', ...argv]: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  { signal, stderr: openStderr }: ReaderContext,
): Promise<{ readonly output: Buffer; readonly failure: string | null }> {
  const stderr = openStderr?.();
  return new Promise((resolve, reject) => {
    const child = spawn(program, argv, {
      env,
      // stdin may be the key that is imported; a program that asks for a PIN opens the terminal for it
      stdio: ['ignore', 'pipe', stderr === undefined ? 'ignore' : stderr === process.stderr ? 'inherit' : 'pipe'],
    });
    const chunks: Buffer[] = [];
    let length = 0;
    let timedOut = false;
    child.stdout?.on('data', (chunk: Buffer) => {
      if (length <= MAX_SECRET_BYTES) chunks.push(chunk);
      length += chunk.length;
    });
    if (stderr !== undefined) child.stderr?.pipe(stderr, { end: false });
    const stop = () => {
      child.kill('SIGTERM');
      setTimeout(() => child.kill('SIGKILL'), COMMAND_GRACE_MS).unref();
    };
    const timer = setTimeout(() => {
      timedOut = true;
      stop();
    }, COMMAND_TIMEOUT_MS);
    const forget = onAbort(signal, stop);
    const settle = () => {
      clearTimeout(timer);
      forget();
    };
    child.on('error', (error) => {
      settle();
      reject(error);
    });
    child.on('close', (code, killedBy) => {
      settle();
      const end = code === 0 ? null : killedBy === null ? `it exited with ${code}` : `it was killed by ${killedBy}`;
      const failure = timedOut ? `it did not end within ${COMMAND_TIMEOUT_MS / 1000} seconds` : end;
      resolve({ output: Buffer.concat(chunks), failure });
    });
  });
}

/**
 * Reads the passphrase of `key` from the output of a command, which is run without a shell, with the key's name as its
 * last argument and without our own secrets in its environment.
 * @throws `ERR_USAGE` if it cannot be run, `ERR_PASSPHRASE_REQUIRED` if it fails, `ERR_INTERRUPTED`
 */
export async function readFromCommand(
  command: string,
  key: string,
  { env, ...io }: ReaderContext & { readonly env: Readonly<Record<string, string | undefined>> },
): Promise<Secret> {
  const words = splitCommand(command);
  const [program = ''] = words;
  const refuse = (code: 'ERR_USAGE' | 'ERR_PASSPHRASE_REQUIRED', why: string, cause?: unknown) =>
    new DeribitKeysError(code, `--passphrase-command did not print the passphrase of "${key}": ${why}`, {
      cause,
      hint: `run it by hand: ${command} ${key}`,
    });
  let result: Awaited<ReturnType<typeof outputOf>>;
  try {
    result = await outputOf([...words, key], env, io);
  } catch (error) {
    const why = errnoOf(error) === 'ENOENT' ? 'no such program' : `it cannot be run (${errnoOf(error)})`;
    throw refuse('ERR_USAGE', `${program}: ${why}`, error);
  }
  if (io.signal.aborted) throw new DeribitKeysError('ERR_INTERRUPTED', 'interrupted in --passphrase-command');
  const { output, failure } = result;
  if (failure !== null) throw refuse('ERR_PASSPHRASE_REQUIRED', failure);
  if (output.length > MAX_SECRET_BYTES) throw refuse('ERR_USAGE', `it printed more than ${MAX_SECRET_BYTES} bytes`);
  const text = decodeSecretText(output);
  if (text === null) throw refuse('ERR_USAGE', 'its output is not text in UTF-8 or UTF-16');
  if (text === '') throw refuse('ERR_PASSPHRASE_REQUIRED', 'its output is empty');
  return new Secret(text);
}
