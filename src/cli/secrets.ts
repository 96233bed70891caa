import { describeSpoiltText, Secret } from '../crypto/secret.js';
import { DeribitKeysError, isDeribitKeysError, usageError } from '../errors.js';
import type { Host } from './program.js';
import { ask, canAsk, say } from './prompt.js';
import { notGiven, type SecretFinder, type SecretName, secretKind } from './secret-sources.js';

/** How often a wrong passphrase may be typed, and a new one chosen. */
const ATTEMPTS = 3;

/** What a secret is needed for. */
export interface SecretRequest {
  readonly host: Host;
  readonly secrets: SecretFinder;
  /** What it opens, in a sentence: `the key "bot"`. */
  readonly what: string;
  /** The secrets that will do, the most particular one first. */
  readonly names: readonly [SecretName, ...SecretName[]];
  /** The key that it is for. */
  readonly key?: string | undefined;
}

/**
 * Returns what `use` makes of an existing passphrase: from its sources, or typed on a terminal. A typed one that is
 * wrong (`ERR_PASSPHRASE_WRONG`) may be typed again, three times in all.
 * @throws `ERR_PASSPHRASE_REQUIRED` if there is neither, and what `use` does
 */
export async function withPassphrase<T>(request: SecretRequest, use: (passphrase: Secret) => Promise<T>): Promise<T> {
  const { host, secrets, what, names, key } = request;
  const given = await secrets.find(names, key);
  if (given !== null) {
    return use(given).catch((error: unknown) => {
      // a passphrase may have all of this in it: it is worth saying only of a wrong one
      const spoilt = describeSpoiltText(given.reveal());
      if (spoilt === null || !isDeribitKeysError(error, 'ERR_PASSPHRASE_WRONG')) throw error;
      throw error.with({ hint: `the passphrase that was given ${spoilt}` });
    });
  }
  if (!canAsk(host)) throw notGiven(`${what} is encrypted`, names);
  for (let attempt = 1; ; attempt += 1) {
    const typed = new Secret(await ask(host, `Passphrase of ${what}: `, { hidden: true }));
    try {
      return await use(typed);
    } catch (error) {
      if (!isDeribitKeysError(error, 'ERR_PASSPHRASE_WRONG') || attempt === ATTEMPTS) throw error;
      say(host, 'wrong passphrase, try again');
    }
  }
}

/** Returns the PIN of a token, asked for only once: a token locks itself after a few wrong ones. */
export async function requirePin(host: Host, secrets: SecretFinder, token: string): Promise<Secret> {
  const given = await secrets.find(['pin']);
  if (given !== null) return given;
  if (!canAsk(host)) throw notGiven(`the token "${token}" needs a PIN`, ['pin']);
  return new Secret(await ask(host, `PIN of the token "${token}": `, { hidden: true }));
}

/** Returns a secret of Vault. @throws `ERR_SIGNER` if it was not given: nobody is asked for one */
export async function requireVaultSecret(
  secrets: SecretFinder,
  name: 'vaultToken' | 'vaultSecretId',
  address: string,
): Promise<Secret> {
  const given = await secrets.find([name]);
  if (given !== null) return given;
  const { what, option, variable } = secretKind(name);
  throw new DeribitKeysError('ERR_SIGNER', `Vault at ${address} needs a ${what}, and none was given`, {
    hint: `use --${option} <file> or ${variable}`,
  });
}

/** Returns a new passphrase, which is never empty; on a terminal it is typed twice. */
export async function requireNewPassphrase({ host, secrets, what, names, key }: SecretRequest): Promise<Secret> {
  const given = await secrets.find(names, key);
  if (given !== null) return given;
  if (!canAsk(host)) throw notGiven(`${what} needs a passphrase`, names);
  for (let round = 0; round < ATTEMPTS; round += 1) {
    const first = await ask(host, `New passphrase of ${what}: `, { hidden: true });
    if (first === '') {
      say(host, 'a passphrase cannot be empty');
      continue;
    }
    if (first === (await ask(host, 'Repeat the passphrase: ', { hidden: true }))) return new Secret(first);
    say(host, 'the passphrases do not match');
  }
  throw new DeribitKeysError('ERR_CANCELLED', 'no passphrase was chosen: nothing was changed');
}

/** How a key is to be stored. */
interface NewKeyRequest {
  readonly name: string;
  /** What `--encrypt` or `--no-encrypt` says, if one was given. */
  readonly encrypt: boolean | undefined;
  /** The passphrase that opened the file that the key comes from, if it had one. */
  readonly opened?: Secret | null;
}

/**
 * Returns the passphrase that a new key is stored under, or null for none. A passphrase that was given means encryption;
 * a key that came encrypted stays so under the passphrase that opened it.
 * @throws `ERR_USAGE` if a passphrase was given together with `--no-encrypt`
 */
export async function newKeyPassphrase(
  { host, secrets }: Pick<SecretRequest, 'host' | 'secrets'>,
  { name, encrypt, opened = null }: NewKeyRequest,
): Promise<Secret | null> {
  const isGiven = await secrets.isGiven('passphrase', name);
  if (encrypt === false) {
    const given = isGiven ? await secrets.find(['passphrase'], name) : null;
    if (given === null || given.reveal() === opened?.reveal()) return null;
    throw usageError(
      `a passphrase for "${name}" was given, and --no-encrypt`,
      'leave out --no-encrypt, or the passphrase (an option, DERIBIT_KEYS_PASSPHRASE or $CREDENTIALS_DIRECTORY)',
    );
  }
  if (!isGiven && encrypt !== true) return opened;
  return requireNewPassphrase({ host, secrets, what: `the key "${name}"`, names: ['passphrase'], key: name });
}
