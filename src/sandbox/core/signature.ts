import {
  createHash,
  createHmac,
  createPublicKey,
  type KeyObject,
  randomFillSync,
  timingSafeEqual,
  verify,
} from 'node:crypto';
import type { ApiKey } from './accounts.js';
import { signatureMaxAgeMs, signatureMaxAheadMs } from './guesses.js';

/** Whether a signature of that time may be considered now. */
export function isTimely(
  timestampMs: number,
  nowMs: number,
  { maxAgeMs, maxAheadMs } = { maxAgeMs: signatureMaxAgeMs, maxAheadMs: signatureMaxAheadMs },
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
  { signature, encoding }: { readonly signature: string; readonly encoding: SignatureEncoding },
): boolean {
  if (key.publicKey === null) return sameText(hmacHex(key.secret, message), signature);
  const bytes = decodeSignature(signature, encoding);
  if (bytes === null || bytes.length !== key.publicKey.signatureBytes) return false;
  const { keyObject } = key.publicKey;
  const digest = keyObject.asymmetricKeyType === 'rsa' ? 'sha256' : null;
  return verify(digest, Buffer.from(message), keyObject, bytes);
}

function decodeSignature(text: string, encoding: SignatureEncoding): Uint8Array | null {
  const encodings = encoding === 'any' ? (['hex', 'base64url', 'base64'] as const) : [encoding];
  for (const each of encodings) {
    const bytes = decodeExactly(text, each);
    if (bytes !== null) return bytes;
  }
  return null;
}

/** Bytes of a text that is written as Node.js writes it: hex in lower case, base64url without padding; else null. */
export function decodeExactly(text: string, encoding: Exclude<SignatureEncoding, 'any'>): Buffer | null {
  const bytes = Buffer.from(text, encoding);
  return bytes.toString(encoding) === text ? bytes : null;
}

/** HMAC-SHA-256 in lower-case hex. */
export function hmacHex(secret: string, message: string): string {
  return createHmac('sha256', secret).update(message).digest('hex');
}

/** Compares secrets in a time that depends only on their length. */
export function sameText(expected: string, given: string): boolean {
  const left = Buffer.from(expected);
  const right = Buffer.from(given);
  return left.length === right.length && timingSafeEqual(left, right);
}

const bucketMs = 10_000;
const longestPlainNonce = 64;

interface SignedMoment {
  readonly clientId: string;
  readonly timestampMs: number;
  readonly nonce: string;
}

/** The signatures that were accepted and whose timestamps would still be: none of them is taken twice. */
export class Replays {
  readonly #buckets = new Map<number, Set<string>>();
  readonly #keepMs: number;

  /** @param keepMs how long after its timestamp a signature could still be accepted */
  constructor(keepMs: number) {
    this.#keepMs = keepMs;
  }

  /** Remembers a signature; false where it was there already. The same nonce with another timestamp is another one. */
  add({ clientId, timestampMs, nonce }: SignedMoment, nowMs: number): boolean {
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

const base32Alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** Bytes of base32 (RFC 4648 §6), upper or lower case, spaces and padding ignored; null for anything else. */
export function decodeBase32(text: string): Uint8Array | null {
  const digits = text.replace(/\s/g, '').replace(/=+$/, '').toUpperCase();
  if (digits.length === 0) return null;
  const bytes: number[] = [];
  let buffer = 0;
  let bits = 0;
  for (const digit of digits) {
    const value = base32Alphabet.indexOf(digit);
    if (value < 0) return null;
    buffer = ((buffer << 5) | value) & 0xfff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((buffer >> bits) & 0xff);
    }
  }
  return Uint8Array.from(bytes);
}

const pool = Buffer.allocUnsafe(8192);
let used = pool.length;

/** `bytes` random bytes (at most 8192) in base64url; drawn from a pool, since a call of the generator costs more. */
export function randomText(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const text = pool.toString('base64url', used, used + bytes);
  pool.fill(0, used, used + bytes);
  used += bytes;
  return text;
}

/** A token in the exchange's form: `<expiry in ms>.<8 characters>.<base64url>`. */
export function randomToken(expiresMs: number): string {
  return `${expiresMs}.${randomText(6)}.${randomText(33)}`;
}

const pem = /^\s*-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END PUBLIC KEY-----\s*$/;
const smallestRsaBits = 2048;

/** The public half of an asymmetric API key, as the exchange keeps it. */
export interface RegisteredKey {
  readonly keyObject: KeyObject;
  /** SPKI PEM with its newlines turned to spaces, as Deribit answers it. */
  readonly pem: string;
  /** MD5 over the SubjectPublicKeyInfo DER: 16 lower-case hex pairs joined by colons. */
  readonly fingerprint: string;
  /** Bytes of a signature: 64 for Ed25519, the modulus' length for RSA. */
  readonly signatureBytes: number;
}

/** Reads an SPKI PEM of Ed25519 or of RSA with at least 2048 bits; null for everything else. Newlines may be spaces. */
export function readPublicKey(text: string): RegisteredKey | null {
  const body = pem.exec(text)?.[1]?.replace(/\s+/g, '');
  if (body === undefined) return null;
  const der = decodeExactly(body, 'base64');
  if (der === null) return null;
  try {
    const keyObject = createPublicKey({ key: der, format: 'der', type: 'spki' });
    const signatureBytes = signatureLength(keyObject);
    if (signatureBytes === null || !keyObject.export({ format: 'der', type: 'spki' }).equals(der)) return null;
    return { keyObject, pem: spacedPem(der), fingerprint: digestPairs('md5', der), signatureBytes };
  } catch {
    return null;
  }
}

function signatureLength(key: KeyObject): number | null {
  if (key.asymmetricKeyType === 'ed25519') return 64;
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  return key.asymmetricKeyType === 'rsa' && bits >= smallestRsaBits ? Math.ceil(bits / 8) : null;
}

function spacedPem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN PUBLIC KEY-----', ...lines, '-----END PUBLIC KEY-----'].join(' ');
}

/** A digest in lower-case hex pairs joined by colons. */
export function digestPairs(algorithm: 'md5' | 'sha256', data: string | Buffer): string {
  const digest = createHash(algorithm).update(data).digest('hex');
  return digest.replace(/..(?=.)/g, '$&:');
}
