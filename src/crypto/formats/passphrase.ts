import { DeribitKeysError, usageError } from '../../errors.js';
import { refuseKind } from '../key-errors.js';
import { type SecretLike, toSecret } from '../secret.js';

/** The least and the usual number of PBKDF2 iterations that are written. */
export const MIN_ITERATIONS = 600_000;
/** The most iterations that are written or read. */
export const MAX_ITERATIONS = 10_000_000;

/** The command that encrypts a key again as this package does; OpenSSL 3 has the ciphers of old only in its legacy provider. */
export function encryptAgain(provider: 'default' | 'legacy' = 'default'): string {
  const providers = provider === 'legacy' ? '-provider legacy -provider default ' : '';
  return `encrypt it again: openssl pkcs8 -topk8 ${providers}-v2 aes-256-cbc -v2prf hmacWithSHA256 -iter ${MIN_ITERATIONS} -in <file> -out <new file>`;
}

/** The passphrase of an encrypted key. @throws ERR_PASSPHRASE_REQUIRED where it is missing or empty */
export function passphraseToRead(passphrase: SecretLike | undefined): string {
  const text = passphrase === undefined ? '' : toSecret(passphrase).reveal();
  if (text === '') {
    throw new DeribitKeysError(
      'ERR_PASSPHRASE_REQUIRED',
      `the key is encrypted, and ${passphrase === undefined ? 'no passphrase was given' : 'the passphrase is empty'}`,
      {
        hint: 'give the passphrase: in the library as the option passphrase, on the command line by file, environment or prompt',
      },
    );
  }
  return text;
}

/** A passphrase to encrypt under. @throws ERR_USAGE where it is empty. */
export function passphraseToWrite(passphrase: SecretLike): string {
  const text = toSecret(passphrase).reveal();
  if (text === '') {
    throw usageError(
      'the passphrase is empty',
      'give a passphrase of at least one character; to write the key unencrypted, give no passphrase',
    );
  }
  return text;
}

/** The one error for a decryption that yields no key: a wrong passphrase and a damaged file look alike. */
export function wrongPassphrase(cause?: unknown): DeribitKeysError {
  return new DeribitKeysError('ERR_PASSPHRASE_WRONG', 'wrong passphrase or damaged file', {
    hint: 'check the passphrase: every space counts; if it is right, copy the file from its source again',
    cause,
  });
}

/** Something that a file may ask for, and how much of it is given. */
export interface Cost {
  /** Such as "PBKDF2 iterations". */
  readonly what: string;
  readonly most: number;
  /** How the file is written again with a usual cost. */
  readonly hint: string;
}

/** Refuses a cost that would hang or exhaust the machine: "PBKDF2 iterations 2000000000, at most 10000000". */
export function limitCost({ what, most, hint }: Cost, value: bigint | number): void {
  if (value <= most) return;
  const digits = value.toString();
  const shown = digits.length <= 24 ? digits : `of ${digits.length} digits`;
  throw refuseKind(`key derivation too costly: ${what} ${shown}, at most ${most}`, hint);
}
