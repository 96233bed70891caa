import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { Identity, Recipient } from 'age-encryption';
import { engine } from '#engine';
import { concatBytes, utf8Bytes } from '../crypto/bytes.js';
import type { Secret } from '../crypto/secret.js';
import { DeribitKeysError } from '../errors.js';

/*
 * The scrypt stanza of an age file (age-encryption.org/v1, "The scrypt recipient type"), computed in the background.
 * The package's own one blocks the process for seconds, and no signal is heard meanwhile.
 */

const LABEL = utf8Bytes('age-encryption.org/v1/scrypt');
/** As age writes by default: about a second. */
const WORK_FACTOR = 18;
const MAX_WORK_FACTOR = 20;
const ALGORITHM = 'chacha20-poly1305';
const NONCE = new Uint8Array(12);
const TAG_BYTES = 16;

function deriveKey(
  passphrase: Secret,
  { salt, logN }: { readonly salt: Uint8Array; readonly logN: number },
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const cost = { cost: 2 ** logN, blockSize: 8, parallelization: 1 };
  return new Promise((resolve, reject) => {
    const message = 'interrupted while the passphrase was tried';
    const stop = () => reject(new DeribitKeysError('ERR_INTERRUPTED', message, { maybeSent: false }));
    if (signal?.aborted) return stop();
    signal?.addEventListener('abort', stop, { once: true });
    engine
      .scrypt(utf8Bytes(passphrase.reveal()), { ...cost, salt: concatBytes(LABEL, salt), length: 32 })
      .then(resolve, reject)
      .finally(() => signal?.removeEventListener('abort', stop));
  });
}

const unpadded = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64').replace(/=+$/, '');

/** Encrypts an age file to a passphrase. `Stanza` is the package's class. */
export function passphraseRecipient(
  passphrase: Secret,
  Stanza: typeof import('age-encryption').Stanza,
  signal?: AbortSignal,
): Recipient {
  return {
    async wrapFileKey(fileKey) {
      const salt = engine.randomBytes(16);
      const key = await deriveKey(passphrase, { salt, logN: WORK_FACTOR }, signal);
      const cipher = createCipheriv(ALGORITHM, key, NONCE, { authTagLength: TAG_BYTES });
      const body = Buffer.concat([cipher.update(fileKey), cipher.final(), cipher.getAuthTag()]);
      return [new Stanza(['scrypt', unpadded(salt), String(WORK_FACTOR)], body)];
    },
  };
}

/** Decrypts an age file by its passphrase. */
export function passphraseIdentity(passphrase: Secret, signal?: AbortSignal): Identity {
  return {
    async unwrapFileKey(stanzas) {
      const stanza = stanzas.find(({ args }) => args[0] === 'scrypt');
      if (stanza === undefined) return null;
      const { args, body } = stanza;
      const salt = Buffer.from(args[1] ?? '', 'base64');
      const logN = /^[1-9]\d*$/.test(args[2] ?? '') ? Number(args[2]) : Number.NaN;
      // it must be the only stanza, so that nobody else can have written the file
      if (stanzas.length !== 1 || args.length !== 3 || salt.length !== 16 || body.length !== 32) return null;
      if (!(logN <= MAX_WORK_FACTOR)) {
        const message = `the work factor of the age file is above ${MAX_WORK_FACTOR}`;
        const hint = 'encrypt it again: age --decrypt <file> | age --passphrase > <new file>';
        throw new DeribitKeysError('ERR_KEY_UNSUPPORTED', message, { hint });
      }
      const key = await deriveKey(passphrase, { salt, logN }, signal);
      const decipher = createDecipheriv(ALGORITHM, key, NONCE, { authTagLength: TAG_BYTES });
      decipher.setAuthTag(body.subarray(-TAG_BYTES));
      try {
        return Buffer.concat([decipher.update(body.subarray(0, -TAG_BYTES)), decipher.final()]);
      } catch {
        return null;
      }
    },
  };
}
