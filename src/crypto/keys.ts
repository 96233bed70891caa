import { type Bytes, equalBytes, ownBuffer } from './bytes.js';

/** The two algorithms that Deribit takes for an asymmetric API key. */
export type KeyAlgorithm = 'ed25519' | 'rsa';

/** A public key, checked when it was made. */
export class PublicKey {
  readonly algorithm: KeyAlgorithm;
  /** Length of the RSA modulus in bits; null for Ed25519. */
  readonly bits: number | null;
  readonly #spki: Bytes;

  /** Checks nothing: keys come from `generateKeyPair`, `parsePublicKey` and `parsePrivateKey`, which check them. */
  constructor(algorithm: KeyAlgorithm, bits: number | null, spki: Uint8Array) {
    this.algorithm = algorithm;
    this.bits = bits;
    this.#spki = ownBuffer(spki);
  }

  /** DER of the SubjectPublicKeyInfo (RFC 5280 §4.1, RFC 8410 §4, RFC 3279 §2.3.1); a fresh copy. */
  get spki(): Bytes {
    return this.#spki.slice();
  }

  /** Whether both are the same key: compared as DER, never as text. */
  equals(other: PublicKey): boolean {
    return equalBytes(this.#spki, other.#spki);
  }
}

/** A private key, checked when it was loaded. In a log, in JSON and in `util.inspect` it shows only its algorithm. */
export class PrivateKey {
  readonly publicKey: PublicKey;
  readonly #pkcs8: Bytes;

  /** Checks nothing, as that of {@link PublicKey}. `pkcs8` is canonical DER, version 1, without attributes. */
  constructor(publicKey: PublicKey, pkcs8: Uint8Array) {
    this.publicKey = publicKey;
    this.#pkcs8 = ownBuffer(pkcs8);
  }

  get algorithm(): KeyAlgorithm {
    return this.publicKey.algorithm;
  }

  get bits(): number | null {
    return this.publicKey.bits;
  }

  /** The secret itself: DER of the unencrypted PKCS#8 PrivateKeyInfo (RFC 5208 §5, RFC 8410 §7); a fresh copy. */
  exposePkcs8(): Bytes {
    return this.#pkcs8.slice();
  }

  toString(): string {
    return `[PrivateKey ${this.algorithm}]`;
  }

  toJSON(): string {
    return this.toString();
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }
}
