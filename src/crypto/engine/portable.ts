import { bitLength, ownBuffer } from '../bytes.js';
import { passesMillerRabin } from '../rsa-checks.js';
import type { Engine } from './engine.js';
import {
  aesCbcDecrypt,
  aesCbcDecryptBlocks,
  aesCbcEncrypt,
  aesCtr,
  pbkdf2,
  scrypt,
  tripleDesCbcDecrypt,
} from './portable-ciphers.js';
import {
  ed25519PublicKey,
  ed25519Signer,
  generateRsa,
  pause,
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

/**
 * The engine for browsers, workers and other runtimes without `node:crypto`. It needs WebCrypto's `crypto.subtle`, which
 * browsers only offer in secure contexts (HTTPS, localhost, files).
 */
export const engine: Engine = {
  name: 'portable',

  randomBytes,

  generateRsaPkcs8: generateRsa,

  ed25519PublicKey,

  async isProbablePrime(candidate) {
    const rounds = bitLength(candidate) <= LONG_PRIME_BITS ? PRIME_ROUNDS : LONG_PRIME_ROUNDS;
    return passesMillerRabin(candidate, { rounds, randomBytes, pause });
  },

  signer: (algorithm, pkcs8) => (algorithm === 'ed25519' ? ed25519Signer(pkcs8) : rsaSigner(pkcs8)),

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
  aesCbcDecrypt,
  aesCbcDecryptBlocks,
  aesCbcEncrypt,
  aesCtr,
  tripleDesCbcDecrypt,
};
