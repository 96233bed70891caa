import { isDeribitKeysError } from '../../errors.js';
import { refuseKind, unreadable } from '../key-errors.js';
import type { Item } from './item.js';
import { isPrivateJwk, jwksIn, parsePrivateJwks, parsePublicJwks } from './jwk.js';
import { bytesInArray, rawItem } from './raw-ed25519.js';

/** Limits for the search through a JSON document, and the length of the shortest key in one (32 bytes in base64). */
const MAX_DEPTH = 5;
const MAX_STRINGS = 64;
const MIN_LENGTH = 43;

/**
 * The keys in a JSON text: a JWK or a set of them; an array of 32 or 64 numbers (Solana); or the strings of any document,
 * however nested, that are keys, such as AWS KMS, Google Cloud, Vault, Coinbase and Kubernetes write. `detect` tells what
 * a string is.
 * Returns null where the text is no JSON object or array.
 * @throws ERR_KEY_UNREADABLE for a broken object and for JSON without a key; ERR_KEY_UNSUPPORTED for well-known documents
 */
export function itemsOfJson(text: string, detect: (text: string) => readonly Item[] | null): readonly Item[] | null {
  if (!/^[{[]/.test(text)) return null;
  const value = parseJson(text);
  if (value === undefined) return null;
  const jwks = jwksIn(value);
  if (jwks !== null) {
    return jwks.some(isPrivateJwk)
      ? [{ kind: 'private', format: 'jwk', encrypted: false, open: (_, engine) => parsePrivateJwks(jwks, engine) }]
      : [{ kind: 'public', format: 'jwk', encrypted: false, read: (engine) => parsePublicJwks(jwks, engine) }];
  }
  const numbers = bytesInArray(value);
  const raw = numbers === null ? null : rawItem(numbers);
  if (raw !== null) return [raw];
  refuseKnown(value);
  return itemsOfStrings(value, detect);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Hosts in known_hosts and sections of configuration files are in brackets too; and PEM is read from any text.
    if (text.startsWith('[') || text.includes('-----BEGIN ')) return undefined;
    // The parser's own message quotes its input, which may be a private key.
    throw unreadable(`it begins like JSON but is not (${text.length} characters)`);
  }
}

function refuseKnown(value: unknown): void {
  const has = (...names: readonly string[]) =>
    typeof value === 'object' && value !== null && names.every((name) => Object.hasOwn(value, name));
  if (has('ciphertext', 'protected') || has('ciphertext', 'recipients')) {
    throw refuseKind('this is an encrypted JWK (JWE)', 'decrypt it first with the tool that made it');
  }
  if (has('crypto', 'version') || has('Crypto', 'version')) {
    throw refuseKind('this is an Ethereum keystore', 'make a key for Deribit: deribit-keys generate <name>');
  }
}

/** How certain it is that something is a key: bare bytes only count where there is nothing better. */
function rank(item: Item): number {
  if (item.kind === 'other') return 0;
  return item.format === 'raw-public' ? 1 : item.format === 'raw-pair' ? 2 : 3;
}

function itemsOfStrings(value: unknown, detect: (text: string) => readonly Item[] | null): readonly Item[] {
  const found: Item[] = [];
  let refusal: unknown;
  for (const text of stringsIn(value, MAX_DEPTH).slice(0, MAX_STRINGS)) {
    try {
      found.push(...(detect(text) ?? []));
    } catch (error) {
      if (isDeribitKeysError(error, 'ERR_KEY_UNSUPPORTED')) refusal ??= error;
    }
  }
  const best = Math.max(0, ...found.map(rank));
  if (best > 0) return found.filter((item) => rank(item) === best);
  throw (
    refusal ??
    unreadable('JSON, but no key is in it: it has neither kty nor keys, and no string that is a key', {
      hint: 'a JWK is an object with the member kty; else give the key itself, as PEM',
    })
  );
}

function stringsIn(value: unknown, depth: number): readonly string[] {
  if (typeof value === 'string') return value.length >= MIN_LENGTH ? [value] : [];
  if (typeof value !== 'object' || value === null || depth === 0) return [];
  return Object.values(value).flatMap((each) => stringsIn(each, depth - 1));
}
