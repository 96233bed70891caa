import { open } from 'node:fs/promises';
import { Secret } from '../crypto/secret.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import type { Host } from './host.js';
import { ask, canAsk } from './prompt.js';

const MAX_SECRET_BYTES = 4096;

/**
 * Reads a secret from a file, a pipe or a device such as /dev/stdin; one trailing newline is dropped.
 * @throws `ERR_USAGE` where the file cannot be read, is too large, or is empty
 */
export async function readSecretFile(path: string, what: string): Promise<Secret> {
  const refuse = (why: string, cause?: unknown) =>
    new DeribitKeysError('ERR_USAGE', `cannot take the ${what} from ${path}: ${why}`, {
      cause,
      hint: `name a file that holds the ${what} and nothing else`,
    });
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    const handle = await open(path, 'r');
    try {
      for (;;) {
        const { bytesRead, buffer } = await handle.read(
          Buffer.alloc(MAX_SECRET_BYTES + 1),
          0,
          MAX_SECRET_BYTES + 1,
          null,
        );
        if (bytesRead === 0) break;
        length += bytesRead;
        if (length > MAX_SECRET_BYTES) throw refuse(`it has more than ${MAX_SECRET_BYTES} bytes`);
        chunks.push(buffer.subarray(0, bytesRead));
      }
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof DeribitKeysError) throw error;
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    throw refuse(missing ? 'there is no such file' : 'it cannot be read', error);
  }
  let text: string;
  try {
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    text = decoder.decode(Buffer.concat(chunks)).replace(/\r?\n$/, '');
  } catch (error) {
    throw refuse('it is not UTF-8 text', error);
  }
  if (text === '') throw refuse('it is empty');
  return new Secret(text);
}

/** Where a secret may come from, in this order: a file that was named, an environment variable. */
export interface SecretPlace {
  readonly file: string | undefined;
  readonly variable: string;
}

/** The first place that holds the secret, or null. An empty variable counts as none. */
export async function secretFrom(host: Host, what: string, ...places: readonly SecretPlace[]): Promise<Secret | null> {
  for (const { file, variable } of places) {
    if (file !== undefined) return readSecretFile(file, what);
    const value = host.env[variable];
    if (value !== undefined && value !== '') return new Secret(value);
  }
  return null;
}

function noPassphrase(why: string, option: string, places: readonly SecretPlace[]): DeribitKeysError {
  return new DeribitKeysError('ERR_PASSPHRASE_REQUIRED', `${why}, and no passphrase was given`, {
    hint: `give it by ${option} <file> or ${places[0]?.variable}, or run this on a terminal`,
  });
}

/** How often a wrong passphrase may be typed, and a new one chosen. */
const ATTEMPTS = 3;

/**
 * What `use` makes of a passphrase that exists: from its places, or asked for on a terminal. One that is typed there and
 * turns out to be wrong (`ERR_PASSPHRASE_WRONG`) is asked for again, three times in all.
 */
export async function withPassphrase<T>(
  use: (passphrase: Secret, typed: boolean) => Promise<T>,
  host: Host,
  what: string,
  option: string,
  ...places: readonly SecretPlace[]
): Promise<T> {
  const given = await secretFrom(host, 'passphrase', ...places);
  if (given !== null) return use(given, false);
  if (!canAsk(host)) throw noPassphrase(`${what} is encrypted`, option, places);
  for (let attempt = 1; ; attempt += 1) {
    const typed = new Secret(await ask(host, `Passphrase of ${what}: `, { hidden: true }));
    try {
      return await use(typed, true);
    } catch (error) {
      if (!isDeribitKeysError(error, 'ERR_PASSPHRASE_WRONG') || attempt === ATTEMPTS) throw error;
      host.stderr.write('wrong passphrase, try again\n');
    }
  }
}

/** A passphrase that exists, not tried out: from its places, or asked for on a terminal. */
export function requirePassphrase(
  host: Host,
  what: string,
  option: string,
  ...places: readonly SecretPlace[]
): Promise<Secret> {
  return withPassphrase(async (passphrase) => passphrase, host, what, option, ...places);
}

/** The PIN of a token: from its places, or asked for on a terminal, once: a token locks itself after a few wrong ones. */
export async function requirePin(host: Host, token: string, file: string | undefined): Promise<Secret> {
  const given = await secretFrom(host, 'PIN', { file, variable: 'DERIBIT_KEYS_PIN' });
  if (given !== null) return given;
  if (!canAsk(host)) {
    throw new DeribitKeysError('ERR_PASSPHRASE_REQUIRED', `the token "${token}" wants a PIN, and none was given`, {
      hint: 'give it by --pin-file <file> or DERIBIT_KEYS_PIN, or run this on a terminal',
    });
  }
  return new Secret(await ask(host, `PIN of the token "${token}": `, { hidden: true }));
}

/** A passphrase that is new: asked for twice on a terminal, never empty. */
export async function requireNewPassphrase(
  host: Host,
  what: string,
  option: string,
  ...places: readonly SecretPlace[]
): Promise<Secret> {
  const given = await secretFrom(host, 'passphrase', ...places);
  if (given !== null) return given;
  if (!canAsk(host)) throw noPassphrase(`${what} is to be encrypted`, option, places);
  for (let round = 0; round < ATTEMPTS; round += 1) {
    const first = await ask(host, `New passphrase of ${what}: `, { hidden: true });
    if (first === '') {
      host.stderr.write('a passphrase cannot be empty\n');
      continue;
    }
    if (first === (await ask(host, 'The same again: ', { hidden: true }))) return new Secret(first);
    host.stderr.write('the two are not the same\n');
  }
  throw new DeribitKeysError('ERR_CANCELLED', 'no passphrase was chosen: nothing was changed');
}
