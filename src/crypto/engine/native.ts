import {
  checkPrime,
  createHash,
  createHmac,
  createPublicKey,
  generateKeyPair,
  pbkdf2,
  scrypt,
  sign,
  verify,
} from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { ED25519_LENGTH, ed25519Pkcs8 } from '../asn1/ed25519-der.js';
import { bitLength } from '../numbers.js';
import { passesMillerRabin } from '../primes.js';
import type { Engine } from './engine.js';
import { aesCbcDecrypt, aesCbcDecryptBlocks, aesCbcEncrypt, aesCtr, tripleDesCbcDecrypt } from './native-ciphers.js';
import { plainBytes, pooledRandomBytes, privateKeyObject, quickPrivateKey } from './native-keys.js';

// OpenSSL does at least 64 rounds, 128 above this length, where each takes so long that a key would need seconds.
const MAX_CHECK_PRIME_BITS = 2048;
const ROUNDS_ABOVE = 2;

const checkPrimeAsync = promisify<bigint, boolean>(checkPrime);
const generateKeyPairAsync = promisify(generateKeyPair);
const pbkdf2Async = promisify(pbkdf2);

/** The engine on `node:crypto`. */
export const engine: Engine = {
  name: 'native',

  randomBytes: pooledRandomBytes,

  async generateRsaPkcs8(bits) {
    const { privateKey } = await generateKeyPairAsync('rsa', {
      modulusLength: bits,
      publicExponent: 0x10001,
      publicKeyEncoding: { format: 'der', type: 'spki' },
      privateKeyEncoding: { format: 'der', type: 'pkcs8' },
    });
    return plainBytes(privateKey);
  },

  async ed25519PublicKey(seed) {
    const spki = createPublicKey(privateKeyObject(ed25519Pkcs8(seed))).export({ format: 'der', type: 'spki' });
    return plainBytes(spki).slice(-ED25519_LENGTH);
  },

  async isProbablePrime(candidate) {
    return bitLength(candidate) <= MAX_CHECK_PRIME_BITS
      ? checkPrimeAsync(candidate)
      : passesMillerRabin(candidate, { rounds: ROUNDS_ABOVE, randomBytes: pooledRandomBytes, pause: setImmediate });
  },

  signer(algorithm, pkcs8) {
    const key = privateKeyObject(pkcs8);
    const hash = algorithm === 'rsa' ? 'sha256' : null;
    return async (message) => plainBytes(sign(hash, message, key));
  },

  async verify({ algorithm, spki }, message, signature) {
    const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
    return verify(algorithm === 'rsa' ? 'sha256' : null, message, key, signature);
  },

  async sha256(data) {
    return plainBytes(createHash('sha256').update(data).digest());
  },

  async hmacSha256(key, data) {
    return plainBytes(createHmac('sha256', key).update(data).digest());
  },

  async pbkdf2(password, { hash, salt, iterations, length }) {
    return plainBytes(await pbkdf2Async(password, salt, iterations, length, hash));
  },

  scrypt(password, { salt, cost, blockSize, parallelization, length }) {
    const maxmem = 128 * blockSize * (cost + parallelization + 4);
    return new Promise((resolve, reject) => {
      scrypt(password, salt, length, { cost, blockSize, parallelization, maxmem }, (error, key) => {
        if (error) reject(error);
        else resolve(plainBytes(key));
      });
    });
  },

  aesCbcDecrypt,
  aesCbcDecryptBlocks,
  aesCbcEncrypt,
  aesCtr,
  tripleDesCbcDecrypt,
  quickPrivateKey,
};
