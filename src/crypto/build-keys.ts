import { Point } from '@noble/ed25519';
import { engine as defaultEngine } from '#engine';
import {
  ED25519_LENGTH,
  ed25519Pkcs8,
  ed25519Spki,
  rawEd25519PublicKey,
  rawEd25519Seed,
  rsaPkcs8,
  rsaPrivateNumbers,
  rsaPublicNumbers,
  rsaSpki,
} from './asn1/key-der.js';
import { bytesToHex, equalBytes, type RsaPrivateNumbers, type RsaPublicNumbers } from './bytes.js';
import type { Engine } from './engine/engine.js';
import { invalid } from './key-errors.js';
import { PrivateKey, PublicKey } from './keys.js';
import { checkRsaPrivate, checkRsaPublic } from './rsa-checks.js';

// Checking a point costs a millisecond or more, and the same keys come back with each answer of the exchange.
const MAX_CHECKED_POINTS = 1000;
const checkedPoints = new Set<string>();

/**
 * The public key with these 32 bytes (RFC 8032 §5.1.2). They must be the canonical encoding of a point that the public
 * half of a private key can be: of prime order (one of small order would accept signatures that nobody made).
 *
 * @throws ERR_KEY_INVALID
 */
export function publicKeyFromEd25519(raw: Uint8Array): PublicKey {
  requireLength(raw, 'an Ed25519 public key');
  const name = bytesToHex(raw);
  if (!checkedPoints.has(name)) {
    checkPoint(raw);
    if (checkedPoints.size === MAX_CHECKED_POINTS) checkedPoints.clear();
    checkedPoints.add(name);
  }
  return new PublicKey('ed25519', null, ed25519Spki(raw));
}

function checkPoint(raw: Uint8Array): void {
  let point: Point;
  try {
    point = Point.fromBytes(raw, false);
  } catch (cause) {
    throw invalid('the Ed25519 public key is not a point of the curve', { cause });
  }
  if (point.is0() || !point.isTorsionFree()) {
    throw invalid('the Ed25519 public key is a point that no private key can have');
  }
}

/** The public key with these numbers. @throws ERR_KEY_UNSUPPORTED for a size, ERR_KEY_INVALID for numbers that cannot be right */
export function publicKeyFromRsa(numbers: RsaPublicNumbers): PublicKey {
  return new PublicKey('rsa', checkRsaPublic(numbers), rsaSpki(numbers));
}

/**
 * The private key with this 32-byte seed (RFC 8032 §5.1.5). Where a public half is stored beside it, it is given as
 * `expectedPublic` and must belong to the seed.
 *
 * @throws ERR_KEY_INVALID
 */
export function privateKeyFromEd25519Seed(seed: Uint8Array, expectedPublic?: Uint8Array): Promise<PrivateKey>;
/** @internal With another engine than the platform's, for tests and for the code of this package. */
export function privateKeyFromEd25519Seed(
  seed: Uint8Array,
  expectedPublic: Uint8Array | undefined,
  engine: Engine,
): Promise<PrivateKey>;
export async function privateKeyFromEd25519Seed(
  seed: Uint8Array,
  expectedPublic?: Uint8Array,
  engine: Engine = defaultEngine,
): Promise<PrivateKey> {
  requireLength(seed, 'an Ed25519 private key');
  const raw = await engine.ed25519PublicKey(seed);
  if (expectedPublic !== undefined && !equalBytes(raw, expectedPublic)) {
    throw invalid('the public half stored with the Ed25519 private key does not belong to it');
  }
  return new PrivateKey(new PublicKey('ed25519', null, ed25519Spki(raw)), ed25519Pkcs8(seed));
}

/**
 * The private key with these numbers: they must belong together, and p and q must be prime.
 *
 * @throws ERR_KEY_UNSUPPORTED for a size, ERR_KEY_INVALID for numbers that cannot be right
 */
export function privateKeyFromRsaNumbers(numbers: RsaPrivateNumbers): Promise<PrivateKey>;
/** @internal With another engine than the platform's, for tests and for the code of this package. */
export function privateKeyFromRsaNumbers(numbers: RsaPrivateNumbers, engine: Engine): Promise<PrivateKey>;
export async function privateKeyFromRsaNumbers(
  numbers: RsaPrivateNumbers,
  engine: Engine = defaultEngine,
): Promise<PrivateKey> {
  const bits = checkRsaPrivate(numbers);
  const prime = await Promise.all([engine.isProbablePrime(numbers.p), engine.isProbablePrime(numbers.q)]);
  if (prime.includes(false)) throw invalid('the private numbers do not belong together: a factor is not prime');
  return new PrivateKey(new PublicKey('rsa', bits, rsaSpki(numbers)), rsaPkcs8(numbers));
}

function requireLength(raw: Uint8Array, name: string): void {
  if (raw.length !== ED25519_LENGTH) throw invalid(`${name} has ${ED25519_LENGTH} bytes, this one ${raw.length}`);
}

/** The numbers of a public key: what every format reads and writes. */
export type PublicNumbers =
  | { readonly algorithm: 'ed25519'; readonly raw: Uint8Array }
  | ({ readonly algorithm: 'rsa' } & RsaPublicNumbers);

/** The numbers of a private key. `raw` is the public half of `seed`. */
export type PrivateNumbers =
  | { readonly algorithm: 'ed25519'; readonly raw: Uint8Array; readonly seed: Uint8Array }
  | ({ readonly algorithm: 'rsa' } & RsaPrivateNumbers);

/** The checked public key. @throws ERR_KEY_UNSUPPORTED, ERR_KEY_INVALID */
export function buildPublicKey(numbers: PublicNumbers): PublicKey {
  return numbers.algorithm === 'ed25519' ? publicKeyFromEd25519(numbers.raw) : publicKeyFromRsa(numbers);
}

/** The checked private key. @throws ERR_KEY_UNSUPPORTED, ERR_KEY_INVALID */
export function buildPrivateKey(numbers: PrivateNumbers, engine: Engine): Promise<PrivateKey> {
  return numbers.algorithm === 'ed25519'
    ? privateKeyFromEd25519Seed(numbers.seed, numbers.raw, engine)
    : privateKeyFromRsaNumbers(numbers, engine);
}

/** The numbers of a public key. */
export function publicNumbers({ algorithm, spki }: PublicKey): PublicNumbers {
  if (algorithm === 'ed25519') return { algorithm, raw: rawEd25519PublicKey(spki) };
  return { algorithm, ...rsaPublicNumbers(spki) };
}

/** The numbers of a private key. */
export function privateNumbers(key: PrivateKey): PrivateNumbers {
  const pkcs8 = key.exposePkcs8();
  const publicHalf = publicNumbers(key.publicKey);
  if (publicHalf.algorithm === 'ed25519') return { ...publicHalf, seed: rawEd25519Seed(pkcs8) };
  return { algorithm: 'rsa', ...rsaPrivateNumbers(pkcs8) };
}
