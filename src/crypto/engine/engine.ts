import type { Bytes } from '../bytes.js';
import type { KeyAlgorithm, PrivateKey } from '../keys.js';

/** The hashes that PBKDF2's HMAC may use (RFC 8018 §B.1.2), by OpenSSL's names. */
export type PbkdfHash = 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512' | 'sha512-224' | 'sha512-256';

/** The parameters of PBKDF2 (RFC 8018 §5.2); `length` in bytes. */
export interface Pbkdf2Parameters {
  readonly hash: PbkdfHash;
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly length: number;
}

/** The parameters of scrypt (RFC 7914 §2): N, r and p, which need 128 * N * r bytes of memory; `length` in bytes. */
export interface ScryptParameters {
  readonly cost: number;
  readonly blockSize: number;
  readonly parallelization: number;
  readonly salt: Uint8Array;
  readonly length: number;
}

/** The parameters of bcrypt_pbkdf of OpenBSD; `length` in bytes, at most 1,024. */
export interface BcryptParameters {
  readonly salt: Uint8Array;
  readonly rounds: number;
  readonly length: number;
}

/** A checked public key: its algorithm and canonical SubjectPublicKeyInfo. */
export interface VerificationKey {
  readonly algorithm: KeyAlgorithm;
  readonly spki: Uint8Array;
}

/**
 * The primitives that the rest of crypto/ is built on. There are two: *native* on `node:crypto`, and *portable* on
 * WebCrypto, @noble/ed25519 and node-forge for everywhere else. Both return the same results.
 *
 * An engine computes; it does not judge. Keys, costs and lengths are checked by its callers.
 */
export interface Engine {
  readonly name: 'native' | 'portable';

  /** Bytes of the platform's secure generator. */
  randomBytes(length: number): Bytes;

  /** `bytes` in base64url without padding (RFC 7515 §2). */
  base64url(bytes: Uint8Array): string;

  /** PKCS#8 DER of a new RSA key with the public exponent 65537. Does not block. */
  generateRsaPkcs8(bits: number): Promise<Bytes>;

  /** The 32 bytes of the public key that belong to a 32-byte seed (RFC 8032 §5.1.5). */
  ed25519PublicKey(seed: Uint8Array): Promise<Bytes>;

  /**
   * Whether an odd number over 752 is prime. One that is not, and was not built to deceive, passes with negligible chance;
   * one that was, with a chance of at most 2^-10, or 2^-4 above 2048 bits, where more rounds would take seconds.
   */
  isProbablePrime(candidate: bigint): Promise<boolean>;

  /** A function that signs with `key`, as `Signer.sign` does. */
  signer(key: PrivateKey): (message: Uint8Array) => Promise<Bytes>;

  /**
   * Whether `signature` is valid for `message`. Ed25519: RFC 8032 §5.1.7 without the cofactor, S < L. RSA:
   * RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2.2), exactly as long as the modulus.
   */
  verify(key: VerificationKey, message: Uint8Array, signature: Uint8Array): Promise<boolean>;

  sha256(data: Uint8Array): Promise<Bytes>;

  /** `key` has at least one byte. */
  hmacSha256(key: Uint8Array, data: Uint8Array): Promise<Bytes>;

  /**
   * RFC 8018 §5.2. Does not block.
   * @throws ERR_KEY_UNSUPPORTED where the platform refuses so many iterations
   */
  pbkdf2(password: Uint8Array, parameters: Pbkdf2Parameters): Promise<Bytes>;

  /** RFC 7914 §6. Does not block. */
  scrypt(password: Uint8Array, parameters: ScryptParameters): Promise<Bytes>;

  /** The key derivation of OpenSSH's private key files. Password and salt are not empty. Does not block. */
  bcryptPbkdf(password: Uint8Array, parameters: BcryptParameters): Promise<Bytes>;

  /**
   * AES-128, -192 or -256 in CBC mode with PKCS#7 padding, by the length of `key`. Null where the data is not a positive
   * number of complete blocks, or the padding is wrong: the sign of a wrong key.
   */
  aesCbcDecrypt(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Promise<Bytes | null>;

  /** As {@link Engine.aesCbcDecrypt}, without padding: nothing is removed. */
  aesCbcDecryptBlocks(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Promise<Bytes | null>;

  /** AES in CBC mode with PKCS#7 padding. */
  aesCbcEncrypt(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Promise<Bytes>;

  /** AES in CTR mode over the 16-byte counter block: encrypts and decrypts. */
  aesCtr(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Promise<Bytes>;

  /** Triple DES in CBC mode with a 24-byte key and PKCS#7 padding. Null as for {@link Engine.aesCbcDecrypt}. */
  tripleDesCbcDecrypt(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Promise<Bytes | null>;

  /**
   * The private key in `pkcs8`, checked; null where it is not exactly as this package writes it, or not valid. Only an
   * engine that reads it quicker than this package does offers this.
   */
  quickPrivateKey?(pkcs8: Uint8Array): Promise<PrivateKey | null>;
}
