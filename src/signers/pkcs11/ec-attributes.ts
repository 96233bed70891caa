import { bytesToHex } from '../../crypto/bytes.js';

/** The forms in which tokens name the curve, as DER in hexadecimal. */
const EDWARDS25519: ReadonlySet<string> = new Set([
  '06032b6570', // the OID 1.3.101.112 (RFC 8410 §3)
  '06092b06010401da470f01', // the OID 1.3.6.1.4.1.11591.15.1, older
  '130c656477617264733235353139', // PrintableString "edwards25519" (PKCS#11 v3.0 §2.3.10)
]);

/** Whether a CKA_EC_PARAMS means the curve of Ed25519. */
export function isEdwards25519(ecParams: Uint8Array): boolean {
  return EDWARDS25519.has(bytesToHex(ecParams));
}

/** What precedes the 32 bytes of the point, in hexadecimal. */
const WRAPPINGS: ReadonlySet<string> = new Set([
  '', // the bytes as they are (PKCS#11 v3.0 §2.3.5)
  '0420', // in an OCTET STRING, as other curves have it
  '032100', // in a BIT STRING
  '40', // with libgcrypt's mark of a compressed point
  '042140', // both
]);

/** The 32 bytes of the Ed25519 public key in a CKA_EC_POINT, however the token wraps it; null for anything else. */
export function ed25519Point(ecPoint: Uint8Array): Uint8Array | null {
  if (ecPoint.length < 32) return null;
  const start = ecPoint.length - 32;
  return WRAPPINGS.has(bytesToHex(ecPoint.subarray(0, start))) ? Uint8Array.from(ecPoint.subarray(start)) : null;
}
