import { createHmac, timingSafeEqual, verify } from 'node:crypto';
import type { ApiKey } from './accounts.js';
import { decodeBase64url } from './encoding.js';
import { signatureMaxAgeMs, signatureMaxAheadMs } from './guesses.js';

/** Whether a signature of that time may be looked at now. */
export function isTimely(timestampMs: number, nowMs: number): boolean {
  return timestampMs >= nowMs - signatureMaxAgeMs && timestampMs <= nowMs + signatureMaxAheadMs;
}

/**
 * Whether `signature` is `key`'s over `timestamp\nnonce\ndata`: base64url without padding for an asymmetric key
 * (Ed25519, or RSASSA-PKCS1-v1_5 with SHA-256), lower-case hex of the HMAC-SHA-256 for a symmetric one.
 */
export function verifyClientSignature(key: ApiKey, message: string, signature: string): boolean {
  if (key.publicKey === null) return sameText(hmacHex(key.secret, message), signature);
  const bytes = decodeBase64url(signature);
  if (bytes === null || bytes.length !== key.publicKey.signatureBytes) return false;
  const { keyObject } = key.publicKey;
  const digest = keyObject.asymmetricKeyType === 'rsa' ? 'sha256' : null;
  return verify(digest, Buffer.from(message), keyObject, bytes);
}

/** HMAC-SHA-256 in lower-case hex. */
export function hmacHex(secret: string, message: string): string {
  return createHmac('sha256', secret).update(message).digest('hex');
}

/** Compares secrets in a time that tells nothing but their length. */
export function sameText(expected: string, given: string): boolean {
  const left = Buffer.from(expected);
  const right = Buffer.from(given);
  return left.length === right.length && timingSafeEqual(left, right);
}
