import { type DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import { isRecord } from '../../util/checks.js';
import { ED25519_LENGTH } from '../asn1/key-der.js';
import { buildPrivateKey, buildPublicKey, type PrivateNumbers, type PublicNumbers } from '../build-keys.js';
import { anyBase64ToBytes, bigIntToBytes, bytesToBase64url, bytesToBigInt, equalBytes } from '../bytes.js';
import { notTogether, refuseAlgorithm, refuseKind, unreadable } from '../key-errors.js';
import type { Item } from './detect-format.js';
import { bytesInArray, rawItem } from './raw-ed25519.js';
import { refuseDotnetJson } from './unsupported-formats.js';

/** One JSON Web Key (RFC 7517 §4), its members not checked yet. */
type Jwk = Readonly<Record<string, unknown>>;

/**
 * The JWKs in a JSON value: of a JWK set (RFC 7517 §5) or an array of JWKs, its members together; else each JWK, however
 * nested, such as the `key` in what Azure Key Vault shows.
 * @throws ERR_KEY_UNREADABLE for a set that holds other things
 */
function jwksIn(value: unknown): readonly (readonly Jwk[])[] {
  const isSet = isRecord(value) && !isJwk(value) && Object.hasOwn(value, 'keys');
  return isSet && Array.isArray(value.keys) ? [membersOf(value.keys)] : nestedJwks(value, MAX_DEPTH);
}

function nestedJwks(value: unknown, depth: number): readonly (readonly Jwk[])[] {
  if (Array.isArray(value) && value.some(isJwk)) return [membersOf(value)];
  if (isJwk(value)) return [[value]];
  if (typeof value !== 'object' || value === null || depth === 0) return [];
  const inner = Object.entries(value).filter(([name]) => name !== '__proto__');
  return inner.flatMap(([, each]) => nestedJwks(each, depth - 1));
}

function isJwk(value: unknown): value is Jwk & { readonly kty: unknown } {
  return isRecord(value) && Object.hasOwn(value, 'kty');
}

function membersOf(keys: readonly unknown[]): readonly Jwk[] {
  if (keys.length === 0) throw unreadable('JWK set without keys', { hint: 'add the key to it' });
  return keys.map((key) => {
    if (!isRecord(key)) throw unreadable('JWK set with a member that is not an object');
    return key;
  });
}

/** The members of a private RSA key (RFC 7518 §6.3.2). */
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi'] as const;

/** Whether the key has a private part. */
function isPrivateJwk(jwk: Jwk): boolean {
  return Object.hasOwn(jwk, 'd');
}

/** The JWK of a public key (RFC 8037 §2, RFC 7518 §6.3.1), as JSON. */
export function encodePublicJwk(key: PublicNumbers): string {
  return toJson(publicMembers(key));
}

/** The JWK of a private key (RFC 8037 §2, RFC 7518 §6.3.2), as JSON. */
export function encodePrivateJwk(key: PrivateNumbers): string {
  if (key.algorithm === 'ed25519') return toJson({ ...publicMembers(key), d: bytesToBase64url(key.seed) });
  const members = PRIVATE_MEMBERS.map((name) => [name, encodeNumber(key[name])]);
  return toJson({ ...publicMembers(key), ...Object.fromEntries(members) });
}

/**
 * The key of the one usable JWK among `jwks`.
 * @throws the key's own reason where there is only one; ERR_KEY_UNSUPPORTED where no key or more than one is usable.
 */
async function onlyUsable<K>(jwks: readonly Jwk[], build: (jwk: Jwk) => Promise<K>): Promise<K> {
  const usable: K[] = [];
  const reasons: DeribitKeysError[] = [];
  for (const jwk of jwks) {
    try {
      usable.push(await build(jwk));
    } catch (error) {
      if (!isDeribitKeysError(error)) throw error;
      reasons.push(error);
    }
    if (usable.length > 1) throw refuseKind('JWK set with more than one usable key', 'keep only the key that you mean');
  }
  const [key] = usable;
  if (key !== undefined) return key;
  const [reason] = reasons;
  if (reasons.length === 1 && reason !== undefined) throw reason;
  const shown = reasons.slice(0, 4).map(({ message }) => message);
  if (reasons.length > 4) shown.push('…');
  throw refuseKind(`JWK set without a usable key (${shown.join('; ')})`, 'add an Ed25519 or RSA key to it');
}

function readPublic(jwk: Jwk): PublicNumbers {
  checkKind(jwk);
  return !isOkp(jwk)
    ? { algorithm: 'rsa', n: number(jwk, 'n'), e: number(jwk, 'e') }
    : { algorithm: 'ed25519', raw: raw(jwk, 'x') };
}

function readPrivate(jwk: Jwk): PrivateNumbers {
  const half = readPublic(jwk);
  if (!isPrivateJwk(jwk)) {
    throw refuseKind(
      'this is a public key (JWK without d); a private key is needed',
      'give the JWK that has the member d',
    );
  }
  if (half.algorithm === 'ed25519') return { ...half, seed: seedOf(jwk, half.raw) };
  if (Object.hasOwn(jwk, 'oth'))
    throw refuseKind('RSA JWK of more than two primes (oth)', 'make a key with two primes');
  if (!Object.hasOwn(jwk, 'p') || !Object.hasOwn(jwk, 'q')) {
    throw refuseKind('RSA JWK without its primes p and q', 'export the key with all of p, q, dp, dq and qi');
  }
  const [d = 0n, p = 0n, q = 0n, dp = 0n, dq = 0n, qi = 0n] = PRIVATE_MEMBERS.map((name) => number(jwk, name));
  return { ...half, d, p, q, dp, dq, qi };
}

/** Names are taken in any case: hand-written JWKs have "ed25519". */
function isNamed(value: unknown, ...names: readonly string[]): boolean {
  return typeof value === 'string' && names.some((name) => name.toLowerCase() === value.toLowerCase());
}

function isOkp({ kty }: Jwk): boolean {
  return isNamed(kty, 'OKP', 'OKP-HSM');
}

function checkKind(jwk: Jwk): void {
  const curve = short(jwk.crv);
  if (jwk.use === 'enc') throw refuseKind('JWK for encryption (use is enc)', 'give a key for signing');
  // Azure Key Vault names keys in hardware RSA-HSM.
  if (isNamed(jwk.kty, 'RSA', 'RSA-HSM') || (isOkp(jwk) && isNamed(jwk.crv, 'Ed25519'))) return;
  if (isOkp(jwk)) throw refuseAlgorithm(curve === 'none' ? 'OKP key without a curve' : `${curve} key`);
  if (isNamed(jwk.kty, 'EC', 'EC-HSM')) throw refuseAlgorithm(`EC key (${curve})`);
  if (isNamed(jwk.kty, 'oct')) throw refuseAlgorithm('symmetric key (kty oct)');
  throw refuseAlgorithm(`JWK of kty ${short(jwk.kty)}`);
}

function raw(jwk: Jwk, name: string): Uint8Array {
  const bytes = member(jwk, name);
  if (bytes.length !== ED25519_LENGTH) {
    throw unreadable(
      `JWK member ${name}: 32 bytes are needed, it has ${bytes.length}`,
      bytes.length === 48 ? { hint: 'write x and d in base64url, not in hexadecimal (RFC 8037 §2)' } : {},
    );
  }
  return bytes;
}

/** RFC 8037 §2. Some writers put the public key behind the seed: then both must be the same. */
function seedOf(jwk: Jwk, publicKey: Uint8Array): Uint8Array {
  const bytes = member(jwk, 'd');
  if (bytes.length !== 2 * ED25519_LENGTH) return raw(jwk, 'd');
  if (!equalBytes(bytes.subarray(ED25519_LENGTH), publicKey)) throw notTogether();
  return bytes.slice(0, ED25519_LENGTH);
}

/** A Base64urlUInt (RFC 7518 §2). Some writers put a zero byte in front, as DER does, which changes nothing. */
function number(jwk: Jwk, name: string): bigint {
  const bytes = member(jwk, name);
  if (bytes.length === 0) throw unreadable(`JWK member ${name}: the number is empty`);
  return bytesToBigInt(bytes);
}

function member(jwk: Jwk, name: string): Uint8Array {
  const text = Object.hasOwn(jwk, name) ? jwk[name] : undefined;
  if (typeof text !== 'string')
    throw unreadable(`JWK member ${name}: a string is needed, it is ${text === undefined ? 'missing' : typeof text}`);
  const bytes = anyBase64ToBytes(text);
  if (bytes === null) throw unreadable(`JWK member ${name}: not canonical base64url (${text.length} characters)`);
  return bytes;
}

function publicMembers(key: PublicNumbers): Record<string, string> {
  return key.algorithm === 'ed25519'
    ? { kty: 'OKP', crv: 'Ed25519', x: bytesToBase64url(key.raw) }
    : { kty: 'RSA', n: encodeNumber(key.n), e: encodeNumber(key.e) };
}

function encodeNumber(value: bigint): string {
  return bytesToBase64url(bigIntToBytes(value));
}

function toJson(members: Readonly<Record<string, string>>): string {
  return `${JSON.stringify(members, null, 2)}\n`;
}

/** A member as it may stand in a message: a name of a few harmless characters, else its type. */
function short(value: unknown): string {
  if (value === undefined) return 'none';
  return typeof value === 'string' && /^[\w.-]{1,32}$/.test(value) ? value : `a ${typeof value}`;
}

/** Limits for the search through a JSON document, and the length of the shortest key in one (32 bytes in base64). */
const MAX_DEPTH = 5;
const MAX_STRINGS = 64;
const MIN_LENGTH = 43;

/**
 * The keys in a JSON text: JWKs and sets of them; an array of 32 or 64 numbers (Solana); and the strings of any document,
 * however nested, that are keys, such as AWS KMS, Google Cloud, Vault, Coinbase and Kubernetes write. `detect` tells what
 * a string is. Beside a JWK, strings of bare bytes are not taken for keys.
 * Returns null where the text is no JSON object or array.
 * @throws ERR_KEY_UNREADABLE for a broken object and for JSON without a key; ERR_KEY_UNSUPPORTED for well-known documents
 */
export function itemsOfJson(text: string, detect: (text: string) => readonly Item[] | null): readonly Item[] | null {
  if (!/^[{[]/.test(text)) return null;
  const value = parseJson(text);
  if (value === undefined) return null;
  const jwks = jwksIn(value);
  if (jwks.length > 0) {
    const items = jwks.map((each) => itemOfJwks(each, jwks.length === 1));
    return [...items, ...itemsOfStrings(value, detect).found.filter((item) => rank(item) === MARKED)];
  }
  const numbers = bytesInArray(value);
  const raw = numbers === null ? null : rawItem(numbers);
  if (raw !== null) return [raw];
  refuseKnown(value);
  const { found, refusal } = itemsOfStrings(value, detect);
  const best = Math.max(0, ...found.map(rank));
  if (best > 0) return found.filter((item) => rank(item) === best);
  throw (
    refusal ??
    unreadable('JSON without a key: it has neither kty nor keys, and no string that is a key', {
      hint: 'give a JWK (an object with the member kty), or the key itself as PEM',
    })
  );
}

/** The key in a JWK or a set of them; of the only one in a document, an unsupported algorithm is refused when it is opened. */
function itemOfJwks(jwks: readonly Jwk[], isOnly: boolean): Item {
  const [only] = jwks;
  if (jwks.length === 1 && only !== undefined && !(isOnly && isPrivateJwk(only))) {
    try {
      checkKind(only);
    } catch (refusal) {
      if (!isDeribitKeysError(refusal)) throw refusal;
      return { kind: 'other', refusal };
    }
  }
  if (!jwks.some(isPrivateJwk)) {
    const read = () => onlyUsable(jwks, async (jwk) => buildPublicKey(readPublic(jwk)));
    return { kind: 'public', format: 'jwk', encrypted: false, read };
  }
  return {
    kind: 'private',
    format: 'jwk',
    encrypted: false,
    open: (_, engine) => onlyUsable(jwks, async (jwk) => buildPrivateKey(readPrivate(jwk), engine)),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Hosts in known_hosts and sections of configuration files are in brackets too; and PEM is read from any text.
    if (text.startsWith('[') || text.includes('-----BEGIN ')) return undefined;
    // The parser's own message quotes its input, which may be a private key.
    throw unreadable(`it begins like JSON, but is not valid JSON (${text.length} characters)`);
  }
}

function refuseKnown(value: unknown): void {
  const has = (...names: readonly string[]) => isRecord(value) && names.every((name) => Object.hasOwn(value, name));
  if (has('ciphertext', 'protected') || has('ciphertext', 'recipients')) {
    throw refuseKind('this is an encrypted JWK (JWE)', 'decrypt it first with the tool that made it');
  }
  if (has('crypto', 'version') || has('Crypto', 'version')) {
    throw refuseKind('this is an Ethereum keystore', 'make a key for Deribit: deribit-keys generate <name>');
  }
  if (has('Modulus', 'Exponent')) throw refuseDotnetJson();
}

/** The rank of a key in a format that marks it as one. */
const MARKED = 3;

/** How certain it is that something is a key: bare bytes only count where there is nothing better. */
function rank(item: Item): number {
  if (item.kind === 'other') return 0;
  return item.format === 'raw-public' ? 1 : item.format === 'raw-pair' ? 2 : MARKED;
}

/** The keys in strings; `refusal` says why the first of those that are well known is no key. */
function itemsOfStrings(value: unknown, detect: (text: string) => readonly Item[] | null) {
  const found: Item[] = [];
  let refusal: unknown;
  for (const text of [...new Set(stringsIn(value, MAX_DEPTH))].slice(0, MAX_STRINGS)) {
    try {
      found.push(...(detect(text) ?? []));
    } catch (error) {
      if (isDeribitKeysError(error, 'ERR_KEY_UNSUPPORTED')) refusal ??= error;
    }
  }
  return { found, refusal };
}

function stringsIn(value: unknown, depth: number): readonly string[] {
  if (typeof value === 'string') return value.length >= MIN_LENGTH ? [value] : [];
  if (typeof value !== 'object' || value === null || depth === 0 || isJwk(value)) return [];
  const numbers = bytesInArray(value);
  if (numbers !== null) return [JSON.stringify([...numbers])];
  return Object.values(value).flatMap((each) => stringsIn(each, depth - 1));
}
