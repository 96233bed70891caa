import { md5 } from '@noble/hashes/legacy.js';
import { bytesToHex } from './bytes.js';
import { PrivateKey, PublicKey } from './keys.js';

/**
 * Deribit's fingerprint, which `create_api_key` returns as `client_secret`: MD5 over the DER of the
 * SubjectPublicKeyInfo, as 16 lower-case hex pairs joined by colons. Takes a key, or that DER itself.
 *
 * MD5 identifies a key of your own; it is no proof of anyone else's. Where the public key is shown, compare that.
 */
export function fingerprint(key: PublicKey | PrivateKey | Uint8Array): string {
  const publicKey = key instanceof PrivateKey ? key.publicKey : key;
  const spki = publicKey instanceof PublicKey ? publicKey.spki : publicKey;
  return inPairs(bytesToHex(md5(spki)));
}

const inPairs = (digits: string) => digits.replace(/..(?=.)/g, '$&:');

const SPELLINGS = /^\s*([0-9a-f]{2}[\s:]*){16}$/i;

/**
 * Returns a fingerprint in the form of {@link fingerprint}, whichever case and separators (colons, white space, none) it is
 * written with; null for any other text.
 */
export function normaliseFingerprint(text: string): string | null {
  return SPELLINGS.test(text) ? inPairs(text.toLowerCase().replace(/[\s:]/g, '')) : null;
}
