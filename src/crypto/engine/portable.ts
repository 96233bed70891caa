import { pbkdf2Async } from '@noble/hashes/pbkdf2.js';
import { scryptAsync } from '@noble/hashes/scrypt.js';
import { sha224, sha512_224, sha512_256 } from '@noble/hashes/sha2.js';
import { nextTick } from '@noble/hashes/utils.js';
import { DeribitKeysError } from '../../errors.js';
import { bitLength, bytesToBase64url, concatBytes, isBlocks, ownBuffer } from '../bytes.js';
import { passesMillerRabin } from '../rsa-checks.js';
import type { Engine } from './engine.js';
import { bcryptPbkdf } from './key-derivation.js';
import {
  type CryptoKey,
  ed25519PublicKey,
  ed25519Signer,
  generateRsa,
  randomBytes,
  rsaSigner,
  subtle,
  verifyEd25519,
  verifyRsa,
} from './portable-signatures.js';

// A round on a longer number takes so long that more of them would take seconds, and errs far less.
const LONG_PRIME_BITS = 2048;
const PRIME_ROUNDS = 5;
const LONG_PRIME_ROUNDS = 2;

const AES_BLOCK = 16;

// WebCrypto does AES; Chromium's has no AES-192, and no platform has Triple DES. For these node-forge is loaded.
const forge = () => import('./portable-forge.js');

const aesCbcDecrypt: Engine['aesCbcDecrypt'] = async (key, iv, data) => {
  if (!isBlocks(data, AES_BLOCK)) return null;
  const imported = await importAes('AES-CBC', key);
  if (imported === null) return (await forge()).cbcDecrypt({ name: 'AES-CBC', key, iv, data });
  try {
    return new Uint8Array(await subtle().decrypt({ name: 'AES-CBC', iv: ownBuffer(iv) }, imported, ownBuffer(data)));
  } catch {
    // The lengths were right: only the padding can be wrong.
    return null;
  }
};

const aesCbcDecryptBlocks: Engine['aesCbcDecryptBlocks'] = async (key, iv, data) => {
  if (!isBlocks(data, AES_BLOCK)) return null;
  // WebCrypto always removes padding (RFC 5652 §6.3): a block of it, chained to the last one, is put there.
  const padding = await aesCbcEncrypt(key, data.slice(-AES_BLOCK), new Uint8Array());
  return aesCbcDecrypt(key, iv, concatBytes(data, padding));
};

const aesCbcEncrypt: Engine['aesCbcEncrypt'] = async (key, iv, data) => {
  const imported = await importAes('AES-CBC', key);
  if (imported === null) return (await forge()).encrypt({ name: 'AES-CBC', key, iv, data });
  const encrypted = await subtle().encrypt({ name: 'AES-CBC', iv: ownBuffer(iv) }, imported, ownBuffer(data));
  return new Uint8Array(encrypted);
};

const aesCtr: Engine['aesCtr'] = async (key, iv, data) => {
  const imported = await importAes('AES-CTR', key);
  if (imported === null) return (await forge()).encrypt({ name: 'AES-CTR', key, iv, data });
  const algorithm = { name: 'AES-CTR', counter: ownBuffer(iv), length: AES_BLOCK * 8 };
  return new Uint8Array(await subtle().encrypt(algorithm, imported, ownBuffer(data)));
};

const tripleDesCbcDecrypt: Engine['tripleDesCbcDecrypt'] = async (key, iv, data) =>
  (await forge()).cbcDecrypt({ name: '3DES-CBC', key, iv, data });

async function importAes(name: 'AES-CBC' | 'AES-CTR', key: Uint8Array): Promise<CryptoKey | null> {
  return subtle()
    .importKey('raw', ownBuffer(key), name, false, ['encrypt', 'decrypt'])
    .catch(() => null);
}

/** The hashes that WebCrypto has, by its names. */
const WEB_HASHES = { sha1: 'SHA-1', sha256: 'SHA-256', sha384: 'SHA-384', sha512: 'SHA-512' } as const;
const OTHER_HASHES = { sha224, 'sha512-224': sha512_224, 'sha512-256': sha512_256 } as const;

const pbkdf2: Engine['pbkdf2'] = async (password, { hash, salt, iterations, length }) => {
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

const scrypt: Engine['scrypt'] = async (password, { salt, cost, blockSize, parallelization, length }) =>
  ownBuffer(
    await scryptAsync(password, salt, {
      N: cost,
      r: blockSize,
      p: parallelization,
      dkLen: length,
      maxmem: 128 * blockSize * (cost + parallelization + 4),
    }),
  );

/**
 * The engine for browsers, workers and other runtimes without `node:crypto`. It needs WebCrypto's `crypto.subtle`, which
 * browsers only offer in secure contexts (HTTPS, localhost, files).
 */
export const engine: Engine = {
  name: 'portable',

  randomBytes,

  base64url: bytesToBase64url,

  generateRsaPkcs8: generateRsa,

  ed25519PublicKey,

  async isProbablePrime(candidate) {
    // nextTick lets the page handle events and paint. A settled promise would not: its handlers run before that.
    const rounds = bitLength(candidate) <= LONG_PRIME_BITS ? PRIME_ROUNDS : LONG_PRIME_ROUNDS;
    return passesMillerRabin(candidate, { rounds, randomBytes, pause: nextTick });
  },

  signer: (key) => (key.algorithm === 'ed25519' ? ed25519Signer(key.exposePkcs8()) : rsaSigner(key.exposePkcs8())),

  verify: ({ algorithm, spki }, message, signature) =>
    algorithm === 'ed25519' ? verifyEd25519(spki, message, signature) : verifyRsa(spki, message, signature),

  async sha256(data) {
    return new Uint8Array(await subtle().digest('SHA-256', ownBuffer(data)));
  },

  async hmacSha256(key, data) {
    const algorithm = { name: 'HMAC', hash: 'SHA-256' };
    const imported = await subtle().importKey('raw', ownBuffer(key), algorithm, false, ['sign']);
    return new Uint8Array(await subtle().sign('HMAC', imported, ownBuffer(data)));
  },

  pbkdf2,
  scrypt,
  bcryptPbkdf,
  aesCbcDecrypt,
  aesCbcDecryptBlocks,
  aesCbcEncrypt,
  aesCtr,
  tripleDesCbcDecrypt,
};
