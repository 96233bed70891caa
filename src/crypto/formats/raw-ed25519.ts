import { isDeribitKeysError } from '../../errors.js';
import { isRecord } from '../../util/checks.js';
import { ED25519_LENGTH } from '../asn1/key-der.js';
import { privateKeyFromEd25519Seed, publicKeyFromEd25519 } from '../build-keys.js';
import { anyBase64ToBytes, base58ToBytes, hexToBytes } from '../bytes.js';
import type { Engine } from '../engine/engine.js';
import { requireSmall, unreadable } from '../key-errors.js';
import type { PrivateKey, PublicKey } from '../keys.js';
import type { Item } from './detect-format.js';
import { decodeKeyText, restoreKeyText, valueInLine } from './key-text.js';

/** Length in bytes of a seed with its public key behind it, as libsodium, Go, Solana and Coinbase keep a secret key. */
const PAIR_LENGTH = 2 * ED25519_LENGTH;

const SEED_HINT =
  'if it is an Ed25519 seed, give it and nothing else, with --format raw-seed (in the library, format: "raw-seed")';

/** The bytes in a text that is nothing but hexadecimal, base64, base64url or base58; null for any other text. */
export function bytesInText(text: string): Uint8Array | null {
  const compact = text.replace(/\s|\\[rn]/g, '').replace(/^(?:ed25519:|ed25519-priv-)/, '');
  const hex = /^(?:0[xX])?((?:[0-9a-fA-F]{2})+)$/.exec(compact.replaceAll(':', ''))?.[1];
  if (hex !== undefined) return hexToBytes(hex);
  const bytes = anyBase64ToBytes(compact);
  if (isRawLength(bytes)) return bytes;
  // 32 bytes in base58 could be read as base64 as well
  return base58ToBytes(compact, PAIR_LENGTH) ?? numbersInText(text) ?? bytes;
}

const isRawLength = (bytes: Uint8Array | null): bytes is Uint8Array =>
  bytes?.length === ED25519_LENGTH || bytes?.length === PAIR_LENGTH;

/** The bytes in a list of 32 or 64 numbers as programs print it, in any brackets, in decimal or `0x`; else null. */
function numbersInText(text: string): Uint8Array | null {
  const inside = /^(?:[A-Za-z]\w{0,20}(?:\(\d+\))?\s*)?[[({]?([^[\](){}]{63,600})[\])}]?$/.exec(text.trim())?.[1] ?? '';
  const words = inside
    .trim()
    .replace(/,$/, '')
    .split(/\s*,\s*|\s+/);
  if (!words.every((word) => /^(?:0[xX][0-9a-fA-F]{1,2}|\d{1,3})$/.test(word))) return null;
  return bytesInArray(words.map(Number));
}

/**
 * The bytes in a JSON array of 32 or 64 numbers, as Solana keeps a key, or in what JavaScript makes of a Buffer or a
 * Uint8Array; null for any other value.
 */
export function bytesInArray(value: unknown): Uint8Array | null {
  if (isRecord(value)) {
    if (value.type === 'Buffer' && 'data' in value) return bytesInArray(value.data);
    const isIndexed = Object.keys(value).every((name, index) => name === String(index));
    return isIndexed ? bytesInArray(Object.values(value)) : null;
  }
  if (!Array.isArray(value) || (value.length !== ED25519_LENGTH && value.length !== PAIR_LENGTH)) return null;
  const isByte = (each: unknown) => typeof each === 'number' && Number.isInteger(each) && each >= 0 && each <= 255;
  return value.every(isByte) ? Uint8Array.from(value as readonly number[]) : null;
}

/**
 * What 32 or 64 bare bytes are; null for any other number of them. 64 are a seed and its public key, which is proved when
 * they are opened. 32 are a public key where they can be one; a seed has no mark of its own, so it is refused here with a
 * hint, unless it more likely is something else.
 */
export function rawItem(bytes: Uint8Array): Item | null {
  if (bytes.length === PAIR_LENGTH) {
    return { kind: 'private', format: 'raw-pair', encrypted: false, open: (_, engine) => openPair(bytes, engine) };
  }
  if (bytes.length !== ED25519_LENGTH) return null;
  const publicKey = publicKeyOrNull(bytes);
  if (publicKey !== null) return { kind: 'public', format: 'raw-public', encrypted: false, read: () => publicKey };
  return {
    kind: 'other',
    refusal: isClamped(bytes)
      ? unreadable('not recognised as a key: 32 bytes, which look like an X25519 key (WireGuard)', {
          hint: 'an X25519 key cannot sign: make a signing key with deribit-keys generate <name>',
        })
      : unreadable('not recognised as a key: 32 bytes without a format', { hint: SEED_HINT }),
  };
}

/** The error where 32 bytes that can be a public key are given for a private one. */
export function refuseRawPublic(): Error {
  return unreadable('32 bytes that are an Ed25519 public key, or a seed that looks like one', {
    hint: `give the file of the private key; ${SEED_HINT}`,
  });
}

/**
 * The private key in an input that the caller declares to be a seed: 32 bytes, or text with them in hexadecimal, base64,
 * base64url, or a JSON array; or the 64 bytes of a seed and its public key.
 * @throws ERR_KEY_UNREADABLE
 */
export async function parseRawSeed(input: string | Uint8Array, engine: Engine): Promise<PrivateKey> {
  const bytes = readRaw(input);
  return bytes.length === PAIR_LENGTH ? openPair(bytes, engine) : privateKeyFromEd25519Seed(bytes, undefined, engine);
}

/**
 * What is odd about an input that the caller declares to be a seed, as a sentence; null if nothing is. Every 32 bytes are
 * a seed, so this is a warning: one seed in 32 looks like an X25519 key, and one in 16 like a public key. In base64 without
 * its = one in 100 looks like base58.
 * @throws ERR_KEY_UNREADABLE
 */
export function warnOfSeed(input: string | Uint8Array): string | null {
  const bytes = readRaw(input);
  if (bytes.length !== ED25519_LENGTH) return null;
  const text = restoreKeyText(input);
  if (text.length === 43 && base58ToBytes(text, ED25519_LENGTH) !== null) {
    return 'this seed was read as base64, but its text could also be base58, of another seed: compare the fingerprint';
  }
  if (isClamped(bytes)) {
    return 'this seed looks like an X25519 key (WireGuard), which cannot sign: check where it comes from';
  }
  return publicKeyOrNull(bytes) === null
    ? null
    : 'this seed could also be an Ed25519 public key: check that it is the private key, and compare the fingerprint';
}

function readRaw(input: string | Uint8Array): Uint8Array {
  requireSmall(input, 'the input');
  const bare = typeof input === 'string' ? null : bareBytes(input);
  if (bare !== null) return bare;
  const text = restoreKeyText(input);
  const named = valueInLine(text);
  const bytes = rawInText(text);
  const value = isRawLength(bytes) || named === null ? bytes : rawInText(restoreKeyText(named));
  if (isRawLength(value)) return value;
  const length = bytes === null || bytes.length === 0 ? '' : ` (${bytes.length} bytes, decoded)`;
  const measured = typeof input === 'string' ? `${input.length} characters` : `${input.length} bytes`;
  throw unreadable(`an Ed25519 seed is 32 bytes, or their hexadecimal or base64; this is ${measured}${length}`, {
    hint: 'give the seed and nothing else; for any other format, leave out raw-seed',
  });
}

/** 32 or 64 bytes, perhaps with a newline behind them; null where they are text. */
export function bareBytes(input: Uint8Array): Uint8Array | null {
  for (const length of [ED25519_LENGTH, PAIR_LENGTH]) {
    const end = new TextDecoder('latin1').decode(input.subarray(length));
    if (input.length >= length && /^\r?\n?$/.test(end) && !isText(input.subarray(0, length))) {
      return new Uint8Array(input.subarray(0, length));
    }
  }
  return null;
}

/** The bytes in a text, or in the text that it is base64 of. */
function rawInText(text: string): Uint8Array | null {
  const bytes = (/^[[{]/.test(text) ? bytesInJson(text) : null) ?? bytesInText(text);
  const inner =
    bytes !== null && bytes.length >= ED25519_LENGTH && isText(bytes) ? bytesInText(decodeKeyText(bytes)) : null;
  return isRawLength(inner) ? inner : bytes;
}

function bytesInJson(text: string): Uint8Array | null {
  try {
    return bytesInArray(JSON.parse(text));
  } catch {
    return null;
  }
}

/** Whether the bytes are printable ASCII: then they are text, not bare bytes. */
export function isText(bytes: Uint8Array): boolean {
  return bytes.every((byte) => (byte >= 0x20 && byte < 0x7f) || byte === 0x09 || byte === 0x0a || byte === 0x0d);
}

async function openPair(bytes: Uint8Array, engine: Engine): Promise<PrivateKey> {
  const seed = bytes.slice(0, ED25519_LENGTH);
  try {
    return await privateKeyFromEd25519Seed(seed, bytes.slice(ED25519_LENGTH), engine);
  } catch (cause) {
    if (!isDeribitKeysError(cause, 'ERR_KEY_INVALID')) throw cause;
    throw unreadable('not recognised as a key: 64 bytes that are not an Ed25519 seed and its public key', {
      hint: 'give the secret key as the tool that made it exports it: 32 bytes of seed, then its 32-byte public key',
    });
  }
}

/** Whether the bytes have the fixed bits of an X25519 private key (RFC 7748 §5). */
function isClamped(bytes: Uint8Array): boolean {
  return ((bytes[0] ?? 0) & 7) === 0 && ((bytes[ED25519_LENGTH - 1] ?? 0) & 0xc0) === 0x40;
}

function publicKeyOrNull(bytes: Uint8Array): PublicKey | null {
  try {
    return publicKeyFromEd25519(bytes);
  } catch {
    return null;
  }
}
