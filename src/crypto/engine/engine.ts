import type { KeyAlgorithm, PrivateKey } from '../keys.js';

/** The hashes that PBKDF2's HMAC may use (RFC 8018 §B.1.2), by OpenSSL's names. */
export type PbkdfHash = 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512' | 'sha512-224' | 'sha512-256';

/** The cost of scrypt (RFC 7914 §2): N, r and p. It needs 128 * N * r bytes of memory. */
export interface ScryptCost {
  readonly cost: number;
  readonly blockSize: number;
  readonly parallelization: number;
}

/**
 * The primitives that the rest of crypto/ is built on. There are two: *native* on `node:crypto`, and *portable* on
 * @noble/ed25519, node-forge and WebCrypto for everywhere else. They give the same answers.
 *
 * An engine computes; it does not judge. Keys, costs and lengths are checked by its callers.
 */
export interface Engine {
  readonly name: 'native' | 'portable';

  /** Bytes of the platform's secure generator. */
  randomBytes(length: number): Uint8Array;

  /** PKCS#8 DER of a new RSA key with the public exponent 65537. Does not block. */
  generateRsaPkcs8(bits: number): Promise<Uint8Array>;

  /** The 32 bytes of the public key that belong to a 32-byte seed (RFC 8032 §5.1.5). */
  ed25519PublicKey(seed: Uint8Array): Promise<Uint8Array>;

  /**
   * Whether an odd number over 752 is prime. One that is not, and was not built to deceive, passes with negligible chance;
   * one that was, with a chance of at most 2^-10, or 2^-4 above 2048 bits, where more rounds would block for seconds.
   */
  isProbablePrime(candidate: bigint): Promise<boolean>;

  /** A function that signs, as `Signer.sign` does, with the key in `pkcs8` (checked, canonical DER). */
  signer(algorithm: KeyAlgorithm, pkcs8: Uint8Array): (message: Uint8Array) => Promise<Uint8Array>;

  /**
   * Whether `signature` is valid for `message` under the key in `spki` (checked, canonical DER). Ed25519: RFC 8032 §5.1.7
   * without the cofactor, S < L. RSA: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2.2), exactly as long as the modulus.
   */
  verify(algorithm: KeyAlgorithm, spki: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean>;

  sha256(data: Uint8Array): Promise<Uint8Array>;

  hmacSha256(key: Uint8Array, data: Uint8Array): Promise<Uint8Array>;

  /** RFC 8018 §5.2. Does not block. */
  pbkdf2(
    hash: PbkdfHash,
    password: Uint8Array,
    salt: Uint8Array,
    iterations: number,
    length: number,
  ): Promise<Uint8Array>;

  /** RFC 7914 §6. Does not block. */
  scrypt(password: Uint8Array, salt: Uint8Array, cost: ScryptCost, length: number): Promise<Uint8Array>;

  /**
   * AES-128, -192 or -256 in CBC mode, by the length of `key`. Null where the data is not a positive number of whole
   * blocks, or the PKCS#7 padding is wrong: the sign of a wrong key. With `'none'` nothing is removed.
   */
  aesCbcDecrypt(key: Uint8Array, iv: Uint8Array, data: Uint8Array, padding: 'pkcs7' | 'none'): Uint8Array | null;

  /** AES in CBC mode with PKCS#7 padding. */
  aesCbcEncrypt(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Uint8Array;

  /** AES in CTR mode over the whole 16-byte counter block: encrypts and decrypts. */
  aesCtr(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Uint8Array;

  /** Triple DES in CBC mode with a 24-byte key and PKCS#7 padding. Null as for {@link Engine.aesCbcDecrypt}. */
  tripleDesCbcDecrypt(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Uint8Array | null;

  /**
   * The private key in `pkcs8`, checked without a DER reader; null where it is not exactly as this package writes it, or
   * is not sound. Only an engine that has a quicker way than reading it offers this.
   */
  quickPrivateKey?(pkcs8: Uint8Array): Promise<PrivateKey | null>;
}
