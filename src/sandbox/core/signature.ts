import { createHash, createHmac, timingSafeEqual, verify } from 'node:crypto';
import type { ApiKey } from './accounts.js';
import { decodeBase64url } from './encoding.js';
import { signatureMaxAgeMs, signatureMaxAheadMs } from './guesses.js';

/** Whether a signature of that time may be considered now. */
export function isTimely(
  timestampMs: number,
  nowMs: number,
  { maxAgeMs = signatureMaxAgeMs, maxAheadMs = signatureMaxAheadMs } = {},
): boolean {
  return timestampMs >= nowMs - maxAgeMs && timestampMs <= nowMs + maxAheadMs;
}

/** How the bytes of an asymmetric key's signature are written. */
export type SignatureEncoding = 'base64url' | 'base64' | 'hex' | 'any';

/**
 * Whether `signature` is `key`'s over `timestamp\nnonce\ndata`: in `encoding` for an asymmetric key (Ed25519, or
 * RSASSA-PKCS1-v1_5 with SHA-256), lower-case hex of the HMAC-SHA-256 for a symmetric one.
 */
export function verifyClientSignature(
  key: ApiKey,
  message: string,
  signature: string,
  encoding: SignatureEncoding,
): boolean {
  if (key.publicKey === null) return sameText(hmacHex(key.secret, message), signature);
  const bytes = decodeSignature(signature, encoding);
  if (bytes === null || bytes.length !== key.publicKey.signatureBytes) return false;
  const { keyObject } = key.publicKey;
  const digest = keyObject.asymmetricKeyType === 'rsa' ? 'sha256' : null;
  return verify(digest, Buffer.from(message), keyObject, bytes);
}

function decodeSignature(text: string, encoding: SignatureEncoding): Uint8Array | null {
  switch (encoding) {
    case 'base64url':
      return decodeBase64url(text);
    case 'base64': {
      const bytes = Buffer.from(text, 'base64');
      return bytes.toString('base64') === text ? bytes : null;
    }
    case 'hex':
      return /^([0-9a-f]{2})+$/.test(text) ? Buffer.from(text, 'hex') : null;
    case 'any':
      return decodeSignature(text, 'hex') ?? decodeSignature(text, 'base64url') ?? decodeSignature(text, 'base64');
  }
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

const bucketMs = 10_000;
const longestPlainNonce = 64;

/** The signatures that were accepted and whose timestamps would still be: none of them is taken twice. */
export class Replays {
  readonly #buckets = new Map<number, Set<string>>();
  readonly #keepMs: number;

  /** @param keepMs how long after its timestamp a signature could still be accepted */
  constructor(keepMs: number) {
    this.#keepMs = keepMs;
  }

  /** Remembers a signature; false where it was there already. The same nonce with another timestamp is another one. */
  add(clientId: string, timestampMs: number, nonce: string, nowMs: number): boolean {
    const bucket = Math.floor(timestampMs / bucketMs);
    let seen = this.#buckets.get(bucket);
    if (seen === undefined) {
      this.#prune(nowMs);
      seen = new Set();
      this.#buckets.set(bucket, seen);
    }
    const entry = `${timestampMs}${entryEnd(clientId, nonce)}`;
    if (seen.has(entry)) return false;
    seen.add(entry);
    return true;
  }

  /** Whether a nonce was accepted already, with whatever timestamp. */
  hasNonce(clientId: string, nonce: string): boolean {
    const end = entryEnd(clientId, nonce);
    return [...this.#buckets.values()].some((seen) => [...seen].some((entry) => entry.endsWith(end)));
  }

  get size(): number {
    let size = 0;
    for (const seen of this.#buckets.values()) size += seen.size;
    return size;
  }

  #prune(nowMs: number): void {
    for (const bucket of this.#buckets.keys()) {
      if ((bucket + 1) * bucketMs + this.#keepMs < nowMs) this.#buckets.delete(bucket);
    }
  }
}

function entryEnd(clientId: string, nonce: string): string {
  const short = nonce.length > longestPlainNonce ? createHash('sha256').update(nonce).digest('base64') : nonce;
  return `\n${clientId}\n${short}`;
}
