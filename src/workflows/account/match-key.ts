import { parsePublicKey } from '../../crypto/formats/index.js';
import { fingerprint } from '../../crypto/index.js';
import type { PublicKey } from '../../crypto/keys.js';
import type { ApiKey } from '../../deribit/api-keys.js';
import type { KeyRecord } from '../../keystore/record.js';

/*
 * Which key of an account's list is a given key of the keystore. There is one rule, used by every command:
 *
 * 1. The client id, where the record has one: the exchange shows the client id of every key.
 * 2. The public key or the fingerprint, where the exchange shows at least one of them.
 * 3. Where it shows neither, a login signed with the private key under that client id: see registration/find-key.ts.
 *
 * What the exchange does not show is neither a match nor a mismatch.
 */

/** How a key on the exchange compares with the local one; null where the exchange does not show it. */
export interface Comparison {
  readonly fingerprintVerified: boolean | null;
  readonly publicKeyVerified: boolean | null;
  /** One sentence for each difference; empty where everything that is shown matches. */
  readonly differences: readonly string[];
}

/** The public keys that were shown, since each key of a list is compared with every record. */
const shownKeys = new WeakMap<ApiKey, Promise<PublicKey | null>>();

/** The public key that the exchange shows, or null. Its text may have other newlines than ours: compare keys. */
async function shownKey(apiKey: ApiKey): Promise<PublicKey | null> {
  if (apiKey.publicKey === null) return null;
  const shown = shownKeys.get(apiKey) ?? parsePublicKey(apiKey.publicKey).catch(() => null);
  shownKeys.set(apiKey, shown);
  return shown;
}

/** Compares what the exchange recorded with the local public key. */
export async function compareKey(apiKey: ApiKey, key: PublicKey): Promise<Comparison> {
  const local = fingerprint(key);
  const differences: string[] = [];
  const fingerprintVerified = apiKey.clientSecret === null ? null : apiKey.fingerprint === local;
  if (fingerprintVerified === false) {
    const shown = apiKey.fingerprint ?? 'none (its client_secret is not a fingerprint)';
    differences.push(`the fingerprint: the exchange says ${shown}, the local key has ${local}`);
  }
  const publicKeyVerified = apiKey.publicKey === null ? null : ((await shownKey(apiKey))?.equals(key) ?? false);
  if (publicKeyVerified === false)
    differences.push('the public key: the exchange shows a different one from the one that was sent');
  return { fingerprintVerified, publicKeyVerified, differences };
}

/** Whether the exchange has `key` there, judged by everything that it shows; null where it shows nothing to judge by. */
export async function isSameThere(apiKey: ApiKey, key: PublicKey): Promise<boolean | null> {
  const { fingerprintVerified, publicKeyVerified, differences } = await compareKey(apiKey, key);
  if (fingerprintVerified === null && publicKeyVerified === null) return null;
  return differences.length === 0;
}

/**
 * Rule 2 for a list: `same` are the keys that show the local public key or its fingerprint, even where the other of the
 * two differs; `hidden` are those that show neither.
 */
export async function matchKeys(
  keys: readonly ApiKey[],
  key: PublicKey,
): Promise<{ readonly same: readonly ApiKey[]; readonly hidden: readonly ApiKey[] }> {
  const [same, hidden]: [ApiKey[], ApiKey[]] = [[], []];
  for (const apiKey of keys) {
    const { fingerprintVerified, publicKeyVerified } = await compareKey(apiKey, key);
    if (fingerprintVerified || publicKeyVerified) same.push(apiKey);
    else if (fingerprintVerified === null && publicKeyVerified === null) hidden.push(apiKey);
  }
  return { same, hidden };
}

/** The fingerprint that the exchange shows, or that of the public key that it shows; null where it shows neither. */
export async function shownFingerprint(apiKey: ApiKey): Promise<string | null> {
  if (apiKey.fingerprint !== null) return apiKey.fingerprint;
  const key = await shownKey(apiKey);
  return key === null ? null : fingerprint(key);
}

/** Rules 1 and 2 for a record whose key files are not opened: whether `key` is the key of the record. */
export function isKeyOf(
  record: Pick<KeyRecord, 'clientId' | 'fingerprint'>,
  key: { readonly clientId: string; readonly fingerprint: string | null },
): boolean {
  return record.clientId === null ? key.fingerprint === record.fingerprint : key.clientId === record.clientId;
}
