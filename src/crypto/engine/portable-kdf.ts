import { pbkdf2Async } from '@noble/hashes/pbkdf2.js';
import { scryptAsync } from '@noble/hashes/scrypt.js';
import { sha224, sha512_224, sha512_256 } from '@noble/hashes/sha2.js';
import { DeribitKeysError } from '../../errors.js';
import { ownBuffer } from '../bytes.js';
import type { Engine } from './engine.js';
import { subtle } from './portable-platform.js';

/** The hashes that WebCrypto has, by its names. */
const WEB_HASHES = { sha1: 'SHA-1', sha256: 'SHA-256', sha384: 'SHA-384', sha512: 'SHA-512' } as const;
const OTHER_HASHES = { sha224, 'sha512-224': sha512_224, 'sha512-256': sha512_256 } as const;

export const pbkdf2: Engine['pbkdf2'] = async (password, { hash, salt, iterations, length }) => {
  if (hash === 'sha224' || hash === 'sha512-224' || hash === 'sha512-256') {
    return ownBuffer(await pbkdf2Async(OTHER_HASHES[hash], password, salt, { c: iterations, dkLen: length }));
  }
  const platform = subtle();
  const key = await platform.importKey('raw', ownBuffer(password), 'PBKDF2', false, ['deriveBits']);
  const algorithm = { name: 'PBKDF2', hash: WEB_HASHES[hash], salt: ownBuffer(salt), iterations };
  try {
    return new Uint8Array(await platform.deriveBits(algorithm, key, length * 8));
  } catch (cause) {
    // Cloudflare Workers refuse more than 100,000 iterations.
    const message = `PBKDF2 of ${iterations} iterations is refused by the WebCrypto of this platform`;
    throw new DeribitKeysError('ERR_KEY_UNSUPPORTED', message, {
      cause,
      hint: 'Cloudflare Workers allow 100,000: keep the key unencrypted in a secret of the worker, written by deribit-keys export <name> --no-encrypt',
    });
  }
};

export const scrypt: Engine['scrypt'] = async (password, { salt, cost, blockSize, parallelization, length }) =>
  ownBuffer(
    await scryptAsync(password, salt, {
      N: cost,
      r: blockSize,
      p: parallelization,
      dkLen: length,
      maxmem: 128 * blockSize * (cost + parallelization + 4),
    }),
  );
