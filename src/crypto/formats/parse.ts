import { engine as defaultEngine } from '#engine';
import { DeribitKeysError } from '../../errors.js';
import { defined } from '../../util/defined.js';
import type { Engine } from '../engine/engine.js';
import { refuseKind, unreadable } from '../key-errors.js';
import type { PrivateKey, PublicKey } from '../keys.js';
import type { SecretLike } from '../secret.js';
import { detectFormat, type Item, type KeyFormat, type PrivateItem, type PublicItem } from './detect-format.js';
import { parseRawSeed, refuseRawPublic, warnOfSeed } from './raw-ed25519.js';

/** How to read a key. */
export interface ParseOptions {
  /** For an encrypted key; ignored for any other. */
  readonly passphrase?: SecretLike | undefined;
  /**
   * `raw-seed`: the input is an Ed25519 seed (RFC 8032 §5.1.5) and nothing else: 32 bytes, or text with them in
   * hexadecimal, base64 or base64url; also with the 32 bytes of its public key behind it. Without this option the format
   * is detected from the content, and a bare seed is refused: nothing marks 32 bytes as one.
   */
  readonly format?: 'raw-seed' | undefined;
  /** @internal The engine to compute with; the platform's own by default. */
  readonly engine?: Engine;
}

/** What an input is, as far as it can be determined without a passphrase. */
export interface KeyDescription {
  readonly kind: 'private' | 'public' | 'certificate';
  readonly format: KeyFormat;
  readonly encrypted: boolean;
  /** For `raw-seed`: what is odd about the seed, as a sentence, if it may be something else. */
  readonly warning?: string;
}

/**
 * Reads a private key and checks it: PKCS#8 (version 1 or 2, also encrypted), PKCS#1 (also encrypted in OpenSSL's old
 * way), an OpenSSH or PuTTY private key (also encrypted), a JWK, a JWK set with one usable key, or an Ed25519 seed
 * followed by its public key; in PEM or DER, in base64 or hexadecimal, or as a string in a JSON document.
 *
 * Of several PEM blocks, exactly one may be a private key. Public keys beside it must belong to it; certificates,
 * parameters and the like are ignored.
 *
 * @throws ERR_KEY_UNREADABLE (damaged, or not recognised), ERR_KEY_UNSUPPORTED (known, but no key that Deribit takes),
 * ERR_KEY_INVALID (its numbers do not belong together), ERR_KEY_MISMATCH (a public key beside it is another's),
 * ERR_PASSPHRASE_REQUIRED, ERR_PASSPHRASE_WRONG
 */
export async function parsePrivateKey(input: string | Uint8Array, options: ParseOptions = {}): Promise<PrivateKey> {
  if (options.format === 'raw-seed') return parseRawSeed(input, options.engine ?? defaultEngine);
  const items = detectFormat(input);
  const key = await openPrivate(items, options);
  if (key === null) throw refusePublic(onlyPublic(items));
  return key;
}

/**
 * Reads a public key: SPKI, PKCS#1, an X.509 certificate, an OpenSSH public line or certificate, a JWK or JWK set, or the
 * 32 bytes of an Ed25519 public key; from whatever {@link parsePrivateKey} reads, the public half, after the same checks.
 * Of a certificate only the key is read: signature, dates and names are not checked.
 *
 * Several public keys and certificates in one input must all hold the same key.
 *
 * @throws as {@link parsePrivateKey}
 */
export async function parsePublicKey(input: string | Uint8Array, options: ParseOptions = {}): Promise<PublicKey> {
  if (options.format === 'raw-seed') return (await parsePrivateKey(input, options)).publicKey;
  const items = detectFormat(input);
  const privateKey = await openPrivate(items, options);
  if (privateKey !== null) return privateKey.publicKey;
  const first = onlyPublic(items);
  const key = await first.read();
  for (const other of items) {
    if (other !== first && isPublic(other) && !(await other.read()).equals(key)) {
      throw refuseKind('several different public keys in one input', 'give only the key that you mean');
    }
  }
  return key;
}

/**
 * Tells what an input is, without a passphrase and without checking the key in it.
 * @throws ERR_KEY_UNREADABLE, ERR_KEY_UNSUPPORTED
 */
export async function inspectKey(
  input: string | Uint8Array,
  options: Pick<ParseOptions, 'format'> = {},
): Promise<KeyDescription> {
  if (options.format === 'raw-seed') {
    const warning = warnOfSeed(input);
    return { kind: 'private', format: 'raw-seed', encrypted: false, ...defined({ warning: warning ?? undefined }) };
  }
  const items = detectFormat(input);
  const { kind, format, encrypted } = onlyPrivate(items) ?? onlyPublic(items);
  return { kind, format, encrypted };
}

/** The one private key among the items; null if no item is private. */
async function openPrivate(
  items: readonly Item[],
  { passphrase, engine = defaultEngine }: ParseOptions,
): Promise<PrivateKey | null> {
  const item = onlyPrivate(items);
  if (item === null) return null;
  const key = await item.open(passphrase, engine);
  for (const other of items) {
    if (other.kind === 'public' && !(await other.read()).equals(key.publicKey)) {
      throw new DeribitKeysError('ERR_KEY_MISMATCH', 'the public key does not belong to the private key', {
        hint: 'keep only the private key in the file: the public key is computed from it',
      });
    }
  }
  return key;
}

function onlyPrivate(items: readonly Item[]): PrivateItem | null {
  const [item, ...others] = items.filter((each) => each.kind === 'private');
  if (others.length > 0) {
    throw refuseKind(
      `${others.length + 1} private keys in one input: only one is accepted`,
      'put each private key in a file of its own',
    );
  }
  return item ?? null;
}

/** The first public key or certificate. @throws the reason why the rest is refused where there is no such key */
function onlyPublic(items: readonly Item[]): PublicItem {
  const item = items.find(isPublic);
  if (item !== undefined) return item;
  const other = items.find((each) => each.kind === 'other');
  throw other?.refusal ?? unreadable('the input holds no key');
}

function isPublic(item: Item): item is PublicItem {
  return item.kind === 'public' || item.kind === 'certificate';
}

function refusePublic({ kind, format }: PublicItem): Error {
  if (format === 'raw-public') return refuseRawPublic();
  const what = kind === 'certificate' ? 'a certificate' : `a public key${format === 'jwk' ? ' (JWK without d)' : ''}`;
  return refuseKind(`this is ${what}; a private key is needed`, 'give the file of the private key that belongs to it');
}
