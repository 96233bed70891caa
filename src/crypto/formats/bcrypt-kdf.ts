import { sha512 } from '@noble/hashes/sha2.js';
import { nextTick } from '@noble/hashes/utils.js';
import { concatBytes } from '../bytes.js';
import { wireUint32 } from './ssh-wire.js';

const HASH_LENGTH = 32;

/** What is derived by bcrypt_pbkdf. */
export interface BcryptParameters {
  readonly salt: Uint8Array;
  readonly rounds: number;
  /** In bytes; at most 1,024. */
  readonly length: number;
}

/**
 * bcrypt_pbkdf of OpenBSD, the key derivation of OpenSSH's private key files, from a passphrase and a salt that are not
 * empty. It lets other work run before each round, which takes some milliseconds.
 */
export async function bcryptPbkdf(
  passphrase: Uint8Array,
  { salt, rounds, length }: BcryptParameters,
): Promise<Uint8Array> {
  const { default: bcrypt } = await import('bcrypt-pbkdf');
  const hash = (passphraseHash: Uint8Array, saltHash: Uint8Array): Uint8Array => {
    const out = new Uint8Array(HASH_LENGTH);
    bcrypt.hash(passphraseHash, saltHash, out);
    return out;
  };
  const passphraseHash = sha512(passphrase);
  const blocks = Math.ceil(length / HASH_LENGTH);
  const key = new Uint8Array(length);
  for (let block = 0; block < blocks; block++) {
    await nextTick();
    let round = hash(passphraseHash, sha512(concatBytes(salt, wireUint32(block + 1))));
    const sum = round.slice();
    for (let i = 1; i < rounds; i++) {
      await nextTick();
      round = hash(passphraseHash, sha512(round));
      for (let j = 0; j < HASH_LENGTH; j++) sum[j] = (sum[j] ?? 0) ^ (round[j] ?? 0);
    }
    // Unlike PBKDF2, the blocks are interleaved: byte j of block i is byte j * blocks + i of the key.
    for (let j = 0; j * blocks + block < length; j++) key[j * blocks + block] = sum[j] ?? 0;
  }
  return key;
}
