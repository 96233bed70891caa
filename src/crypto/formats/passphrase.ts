import { DeribitKeysError } from '../../errors.js';
import { type SecretLike, toSecret } from '../secret.js';

/** The least and the usual number of PBKDF2 iterations that are written. */
export const MIN_ITERATIONS = 600_000;
/** The most iterations that are written or read. */
export const MAX_ITERATIONS = 10_000_000;

/** The passphrase of an encrypted key. @throws ERR_PASSPHRASE_REQUIRED where there is none, or an empty one. */
export function passphraseToRead(passphrase: SecretLike | undefined): string {
  const text = passphrase === undefined ? '' : toSecret(passphrase).reveal();
  if (text === '') {
    throw new DeribitKeysError(
      'ERR_PASSPHRASE_REQUIRED',
      `the key is encrypted, and ${passphrase === undefined ? 'no passphrase was given' : 'the passphrase is empty'}`,
      { hint: 'give its passphrase: as the option passphrase, or to the command line by file, environment or prompt' },
    );
  }
  return text;
}

/** A passphrase to encrypt under. @throws ERR_USAGE where it is empty. */
export function passphraseToWrite(passphrase: SecretLike): string {
  const text = toSecret(passphrase).reveal();
  if (text === '') {
    throw new DeribitKeysError('ERR_USAGE', 'the passphrase is empty', {
      hint: 'give a passphrase of at least one character, or none at all to write the key unencrypted',
    });
  }
  return text;
}

/** The one error for a decryption that gives no key: what went wrong cannot be told apart. */
export function wrongPassphrase(cause?: unknown): DeribitKeysError {
  return new DeribitKeysError('ERR_PASSPHRASE_WRONG', 'wrong passphrase or damaged file', {
    hint: 'check the passphrase (a trailing newline counts); if it is right, take the file from its source again',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Refuses a cost that would hang or exhaust the machine: "PBKDF2 iterations 2000000000: at most 10000000". */
export function limitCost(what: string, value: bigint | number, most: number): void {
  if (value > most) {
    throw new DeribitKeysError(
      'ERR_KEY_UNSUPPORTED',
      `key derivation too costly: ${what} ${shortNumber(value)}, at most ${most}`,
      {
        hint: 'encrypt the key again with usual costs: openssl pkcs8 -topk8 -iter 600000, or ssh-keygen -p -a 16 -f <file>',
      },
    );
  }
}

function shortNumber(value: bigint | number): string {
  const digits = value.toString();
  return digits.length <= 24 ? digits : `of ${digits.length} digits`;
}
