import {
  checkPrime,
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  type Decipher,
  generateKeyPair,
  type KeyObject,
  pbkdf2,
  randomFillSync,
  type ScryptOptions,
  scrypt,
  sign,
  verify,
} from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { decodeRsaPrivateKey, ED25519_LENGTH, ed25519Pkcs8 } from '../asn1/key-der.js';
import { type Bytes, bitLength, concatBytes, equalBytes, isBlocks } from '../bytes.js';
import { PrivateKey, PublicKey } from '../keys.js';
import { checkRsaPrivate, passesMillerRabin } from '../rsa-checks.js';
import type { Engine } from './engine.js';

// OpenSSL does at least 64 rounds, 128 above this length, where each takes so long that a key would need seconds.
const MAX_CHECK_PRIME_BITS = 2048;
const ROUNDS_ABOVE = 2;

const AES_BLOCK = 16;
const DES_BLOCK = 8;

const aesCbcDecrypt: Engine['aesCbcDecrypt'] = async (key, iv, data) =>
  isBlocks(data, AES_BLOCK) ? finish(createDecipheriv(`aes-${key.length * 8}-cbc`, key, iv), data) : null;

const aesCbcDecryptBlocks: Engine['aesCbcDecryptBlocks'] = async (key, iv, data) =>
  isBlocks(data, AES_BLOCK)
    ? finish(createDecipheriv(`aes-${key.length * 8}-cbc`, key, iv).setAutoPadding(false), data)
    : null;

const tripleDesCbcDecrypt: Engine['tripleDesCbcDecrypt'] = async (key, iv, data) =>
  isBlocks(data, DES_BLOCK) ? finish(createDecipheriv('des-ede3-cbc', key, iv), data) : null;

const aesCbcEncrypt: Engine['aesCbcEncrypt'] = async (key, iv, data) => {
  const cipher = createCipheriv(`aes-${key.length * 8}-cbc`, key, iv);
  return concatBytes(cipher.update(data), cipher.final());
};

const aesCtr: Engine['aesCtr'] = async (key, iv, data) =>
  plainBytes(createCipheriv(`aes-${key.length * 8}-ctr`, key, iv).update(data));

function finish(decipher: Decipher, data: Uint8Array): Bytes | null {
  const start = decipher.update(data);
  try {
    return concatBytes(start, decipher.final());
  } catch {
    // The lengths were right: only the padding can be wrong.
    return null;
  }
}

/** The key object for PKCS#8 DER. */
function privateKeyObject(pkcs8: Uint8Array): KeyObject {
  const key = Buffer.from(pkcs8.buffer, pkcs8.byteOffset, pkcs8.byteLength);
  return createPrivateKey({ key, format: 'der', type: 'pkcs8' });
}

/** The bytes of a Buffer as a plain Uint8Array over the same memory. */
function plainBytes(buffer: Buffer): Bytes {
  return new Uint8Array(buffer.buffer as ArrayBuffer, buffer.byteOffset, buffer.byteLength);
}

const POOL_SIZE = 4096;
const MAX_FROM_POOL = 64;

const pool = new Uint8Array(POOL_SIZE);
let used = POOL_SIZE;

/** Random bytes; short ones come from a pool, since a call of the generator costs more than a nonce may. */
function pooledRandomBytes(length: number): Bytes {
  if (length > MAX_FROM_POOL) return randomFillSync(new Uint8Array(length));
  if (used + length > POOL_SIZE) {
    randomFillSync(pool);
    used = 0;
  }
  const bytes = pool.slice(used, used + length);
  pool.fill(0, used, used + length);
  used += length;
  return bytes;
}

/** What OpenSSL made of the keys that {@link quickPrivateKey} read: signing with them need not read them again. */
const readKeys = new WeakMap<PrivateKey, KeyObject>();

/**
 * The private key in PKCS#8 DER, read by OpenSSL. Where OpenSSL writes it back as other bytes, or anything else is unusual,
 * the result is null and the caller reads it with our own DER reader.
 */
async function quickPrivateKey(pkcs8: Uint8Array): Promise<PrivateKey | null> {
  try {
    const key = privateKeyObject(pkcs8);
    if (!equalBytes(key.export({ format: 'der', type: 'pkcs8' }), pkcs8)) return null;
    const publicKey = publicHalf(key);
    if (publicKey === null) return null;
    const privateKey = new PrivateKey(publicKey, pkcs8);
    readKeys.set(privateKey, key);
    return privateKey;
  } catch {
    return null;
  }
}

function publicHalf(key: KeyObject): PublicKey | null {
  const spki = plainBytes(createPublicKey(key).export({ format: 'der', type: 'spki' })).slice();
  if (key.asymmetricKeyType === 'ed25519') return new PublicKey('ed25519', null, spki);
  if (key.asymmetricKeyType !== 'rsa') return null;
  const bits = checkRsaPrivate(decodeRsaPrivateKey(key.export({ format: 'der', type: 'pkcs1' })));
  return signsForItself(key) ? new PublicKey('rsa', bits, spki) : null;
}

/**
 * Signs a random message and verifies it: for a factor that is not prime, and was not built to deceive, the two disagree
 * (a Fermat test of both factors at once). A full test of primality would take longer than all the rest.
 */
function signsForItself(key: KeyObject): boolean {
  const message = pooledRandomBytes(32);
  return verify('sha256', message, createPublicKey(key), sign('sha256', message, key));
}

/** The engine on `node:crypto`. */
export const engine: Engine = {
  name: 'native',

  randomBytes: pooledRandomBytes,

  base64url: ({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength).toString('base64url'),

  async generateRsaPkcs8(bits) {
    const { privateKey } = await promisify(generateKeyPair)('rsa', {
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
      ? promisify<bigint, boolean>(checkPrime)(candidate)
      : passesMillerRabin(candidate, { rounds: ROUNDS_ABOVE, randomBytes: pooledRandomBytes, pause: setImmediate });
  },

  signer(key) {
    const object = readKeys.get(key) ?? privateKeyObject(key.exposePkcs8());
    const hash = key.algorithm === 'rsa' ? 'sha256' : null;
    return async (message) => plainBytes(sign(hash, message, object));
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

  async bcryptPbkdf(password, parameters) {
    const { bcryptPbkdf } = await import('./key-derivation.js');
    return bcryptPbkdf(password, parameters);
  },

  async pbkdf2(password, { hash, salt, iterations, length }) {
    return plainBytes(await promisify(pbkdf2)(password, salt, iterations, length, hash));
  },

  async scrypt(password, { salt, cost, blockSize, parallelization, length }) {
    const maxmem = 128 * blockSize * (cost + parallelization + 4);
    const options = { cost, blockSize, parallelization, maxmem };
    // made here: at the top of the module it would load node:crypto for calls that derive nothing
    const derive = promisify<Uint8Array, Uint8Array, number, ScryptOptions, Buffer>(scrypt);
    return plainBytes(await derive(password, salt, length, options));
  },

  aesCbcDecrypt,
  aesCbcDecryptBlocks,
  aesCbcEncrypt,
  aesCtr,
  tripleDesCbcDecrypt,
  quickPrivateKey,
};
