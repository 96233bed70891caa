import { etc, getPublicKeyAsync } from '@noble/ed25519';
import { ownBuffer } from '../bytes.js';
import { bitLength } from '../numbers.js';
import { passesMillerRabin } from '../primes.js';
import type { Engine } from './engine.js';
import { aesCbcDecrypt, aesCbcEncrypt, aesCtr, tripleDesCbcDecrypt } from './portable-ciphers.js';
import { ed25519Signer, verifyEd25519 } from './portable-ed25519.js';
import { pbkdf2, scrypt } from './portable-kdf.js';
import { rsaSigner, verifyRsa } from './portable-rsa.js';

// A round on a longer number takes so long that more of them would block for seconds, and errs far less.
const LONG_PRIME_BITS = 2048;
const PRIME_ROUNDS = 5;
const LONG_PRIME_ROUNDS = 2;

/**
 * The engine for browsers and other runtimes without `node:crypto`. It needs WebCrypto's `crypto.subtle`, which browsers
 * offer in secure contexts alone (HTTPS, localhost).
 */
export const engine: Engine = {
  name: 'portable',

  randomBytes: (length) => etc.randomBytes(length),

  async generateRsaPkcs8(bits) {
    const algorithm = {
      name: 'RSASSA-PKCS1-v1_5',
      hash: 'SHA-256',
      modulusLength: bits,
      publicExponent: Uint8Array.of(1, 0, 1),
    };
    const { privateKey } = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    return new Uint8Array(await crypto.subtle.exportKey('pkcs8', privateKey));
  },

  ed25519PublicKey: (seed) => getPublicKeyAsync(seed),

  async isProbablePrime(candidate) {
    const rounds = bitLength(candidate) <= LONG_PRIME_BITS ? PRIME_ROUNDS : LONG_PRIME_ROUNDS;
    for (let round = 0; round < rounds; round++) {
      if (!passesMillerRabin(candidate, 1, etc.randomBytes)) return false;
      // a round may take 100 ms: between two of them a page can draw and answer
      await new Promise((resolve) => setTimeout(resolve));
    }
    return true;
  },

  signer: (algorithm, pkcs8) => (algorithm === 'ed25519' ? ed25519Signer(pkcs8) : rsaSigner(pkcs8)),

  verify: (algorithm, spki, message, signature) =>
    algorithm === 'ed25519' ? verifyEd25519(spki, message, signature) : verifyRsa(spki, message, signature),

  async sha256(data) {
    return new Uint8Array(await crypto.subtle.digest('SHA-256', ownBuffer(data)));
  },

  async hmacSha256(key, data) {
    const algorithm = { name: 'HMAC', hash: 'SHA-256' };
    const imported = await crypto.subtle.importKey('raw', ownBuffer(key), algorithm, false, ['sign']);
    return new Uint8Array(await crypto.subtle.sign('HMAC', imported, ownBuffer(data)));
  },

  pbkdf2,
  scrypt,
  aesCbcDecrypt,
  aesCbcEncrypt,
  aesCtr,
  tripleDesCbcDecrypt,
};
