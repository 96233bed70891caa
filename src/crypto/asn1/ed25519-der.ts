import { concatBytes } from '../bytes.js';

/** Length in bytes of a seed and of a public key (RFC 8032 §5.1.5). */
export const ED25519_LENGTH = 32;

// Both encodings have a fixed length, so a document is a fixed prefix followed by the key's bytes.
const SPKI_PREFIX = Uint8Array.of(0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00);
const PKCS8_PREFIX = Uint8Array.of(
  ...[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20],
);

/** SubjectPublicKeyInfo DER of the 32 bytes of a public key (RFC 8410 §4). */
export function ed25519Spki(publicKey: Uint8Array): Uint8Array {
  return concatBytes(SPKI_PREFIX, publicKey);
}

/** PrivateKeyInfo DER, version 1, of a 32-byte seed (RFC 8410 §7). */
export function ed25519Pkcs8(seed: Uint8Array): Uint8Array {
  return concatBytes(PKCS8_PREFIX, seed);
}

/** The 32 bytes of the public key in DER from {@link ed25519Spki}. */
export function rawEd25519PublicKey(spki: Uint8Array): Uint8Array {
  return spki.slice(SPKI_PREFIX.length);
}

/** The 32-byte seed in DER from {@link ed25519Pkcs8}. */
export function rawEd25519Seed(pkcs8: Uint8Array): Uint8Array {
  return pkcs8.slice(PKCS8_PREFIX.length);
}
