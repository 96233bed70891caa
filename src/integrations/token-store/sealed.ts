import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { DeribitKeysError } from '../../errors.js';

/** Length of an AES-256 key, in bytes. */
const KEY_BYTES = 32;
/** Of an AES-GCM nonce (NIST SP 800-38D §5.2.1.1) and tag, in bytes. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Encrypts what leaves the host, under a key that the hosts of a fleet share. */
export interface Sealer {
  /** A name that does not tell what it stands for. */
  nameOf(text: string): string;
  /** AES-256-GCM, bound to `context`: it opens under the same context only. Base64. */
  seal(context: string, text: string): string;
  /** Null for anything that was not sealed by this key under `context`. */
  open(context: string, sealed: string): string | null;
}

/**
 * Reads a key file: 32 bytes, or the same as 64 hex digits or as base64, with or without a newline.
 * @throws `ERR_USAGE`
 */
export function parseKeyFile(content: Uint8Array, path: string): Buffer {
  const bytes = Buffer.from(content);
  if (bytes.length === KEY_BYTES) return bytes;
  const text = bytes.toString('latin1').trim();
  const decoded = /^[0-9a-f]{64}$/i.test(text)
    ? Buffer.from(text, 'hex')
    : /^[A-Za-z0-9+/_-]{43}=?$/.test(text)
      ? Buffer.from(text, 'base64')
      : null;
  if (decoded?.length === KEY_BYTES) return decoded;
  throw new DeribitKeysError('ERR_USAGE', `the key file ${path} does not hold a key of ${KEY_BYTES} bytes`, {
    hint: `make one with: (umask 077; openssl rand -out ${path} ${KEY_BYTES})`,
  });
}

/** @param key 32 bytes; two keys are derived from it, for names and for values */
export function sealer(key: Uint8Array): Sealer {
  const derive = (use: string) => createHmac('sha256', key).update(`deribit-keys token store: ${use}`).digest();
  const nameKey = derive('names');
  const valueKey = derive('values');
  return {
    nameOf: (text) => createHmac('sha256', nameKey).update(text).digest('hex').slice(0, 40),
    seal(context, text) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', valueKey, nonce).setAAD(Buffer.from(context));
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return Buffer.concat([nonce, body, cipher.getAuthTag()]).toString('base64');
    },
    open(context, sealed) {
      const bytes = Buffer.from(sealed, 'base64');
      if (bytes.length < NONCE_BYTES + TAG_BYTES) return null;
      const nonce = bytes.subarray(0, NONCE_BYTES);
      try {
        const decipher = createDecipheriv('aes-256-gcm', valueKey, nonce, { authTagLength: TAG_BYTES })
          .setAAD(Buffer.from(context))
          .setAuthTag(bytes.subarray(-TAG_BYTES));
        const body = bytes.subarray(NONCE_BYTES, -TAG_BYTES);
        return Buffer.concat([decipher.update(body), decipher.final()]).toString('utf8');
      } catch {
        return null;
      }
    },
  };
}
