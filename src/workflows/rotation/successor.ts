import { generateKeyPair } from '../../crypto/generate.js';
import type { Secret } from '../../crypto/secret.js';
import { DeribitKeysError } from '../../errors.js';
import type { SuccessorKind, SuccessorPlace } from '../../keystore/journal.js';
import type { Keystore } from '../../keystore/keystore.js';
import type { KeyRecord } from '../../keystore/record.js';
import { storeKey } from '../../keystore/stored-keys.js';

/**
 * Makes the successor of `old` and stores it in the keystore under `name`, which is free: whole or not at all, with its
 * private half where it is to stay. It is sent nowhere.
 * @returns its record, whose state is `local`
 */
export type MakeSuccessor = (name: string, old: KeyRecord, kind: SuccessorKind) => Promise<KeyRecord>;

/** What may be chosen of a successor. */
export interface SuccessorChoice {
  readonly type?: 'ed25519' | 'rsa' | undefined;
  readonly bits?: 2048 | 3072 | 4096 | undefined;
  /** Where the old key lives, where left out. */
  readonly place?: SuccessorPlace | undefined;
}

/** Where a key lives, as a place for another. */
function placeOfKey({ signer }: KeyRecord): SuccessorPlace {
  if (signer === null) return { kind: 'file' };
  if (signer.kind === 'ssh-agent') return { kind: signer.kind, socket: signer.socket };
  return { kind: signer.kind, module: signer.module, token: signer.token };
}

/** The kind of key that follows `old`: the same, or what was chosen. @throws `ERR_USAGE` */
export function successorKind(old: KeyRecord, choice: SuccessorChoice): SuccessorKind {
  const type = choice.type ?? old.algorithm;
  const place = choice.place ?? placeOfKey(old);
  if (type === 'ed25519') {
    if (choice.bits === undefined) return { type, bits: null, place };
    throw new DeribitKeysError('ERR_USAGE', 'an Ed25519 key has no choice of length', {
      hint: 'leave out --bits, or say --type rsa',
    });
  }
  return { type, bits: choice.bits ?? sizeLike(old.bits), place };
}

/** The length that is made and that is not below the old one, where there is such a length. */
function sizeLike(bits: number | null): 2048 | 3072 | 4096 {
  if (bits === null) return 3072;
  if (bits <= 2048) return 2048;
  return bits <= 3072 ? 3072 : 4096;
}

/**
 * Makes successors whose private half is a file of the keystore, encrypted under the old key's passphrase if that is
 * encrypted.
 * @param passphraseOf returns the passphrase that was proved to open the key
 */
export function localSuccessor(
  store: Keystore,
  passphraseOf: (record: KeyRecord) => Promise<Secret | null>,
): MakeSuccessor {
  return async (name, old, { type, bits }) => {
    const passphrase = old.encrypted ? await passphraseOf(old) : null;
    const key = await generateKeyPair(bits === null ? { type } : { type, bits });
    return storeKey(store, name, key, { passphrase, action: 'generate' });
  };
}
