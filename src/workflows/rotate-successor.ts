import { generateKeyPair } from '../crypto/generate.js';
import type { Secret } from '../crypto/secret.js';
import { DeribitKeysError } from '../errors.js';
import type { SuccessorKind } from '../keystore/journal.js';
import type { Keystore } from '../keystore/keystore.js';
import { openPrivateKey } from '../keystore/open-key.js';
import type { PermissionPolicy } from '../keystore/permissions.js';
import type { KeyRecord } from '../keystore/record.js';
import { storeKey } from '../keystore/stored-keys.js';

/**
 * Makes the successor of `old` and stores it in the keystore under `name`, which is free: whole or not at all, with its
 * private half where it is to stay. It is sent nowhere.
 * @returns its record, whose state is `local`
 */
export type MakeSuccessor = (name: string, old: KeyRecord, kind: SuccessorKind) => Promise<KeyRecord>;

/** The kind of key that follows `old`: the same, or what was chosen. @throws `ERR_USAGE` */
export function successorKind(
  old: KeyRecord,
  choice: { readonly type?: 'ed25519' | 'rsa' | undefined; readonly bits?: 2048 | 3072 | 4096 | undefined },
): SuccessorKind {
  const type = choice.type ?? old.algorithm;
  if (type === 'ed25519') {
    if (choice.bits === undefined) return { type, bits: null };
    throw new DeribitKeysError('ERR_USAGE', 'an Ed25519 key has no choice of length', {
      hint: 'leave out --bits, or say --type rsa',
    });
  }
  return { type, bits: choice.bits ?? sizeLike(old.bits) };
}

/** The length that is made and that is not below the old one, where there is such a length. */
function sizeLike(bits: number | null): 2048 | 3072 | 4096 {
  if (bits === null) return 3072;
  if (bits <= 2048) return 2048;
  return bits <= 3072 ? 3072 : 4096;
}

/**
 * Makes successors whose private half is a file of the keystore, encrypted under the old key's passphrase where that is
 * encrypted: the passphrase is proved to open the old key first.
 */
export function localSuccessor(
  store: Keystore,
  passphraseOf: (record: KeyRecord) => Promise<Secret>,
  permissions?: PermissionPolicy,
): MakeSuccessor {
  return async (name, old, { type, bits }) => {
    if (old.signer !== null) {
      throw new DeribitKeysError(
        'ERR_STATE',
        `the key "${old.name}" lives in ${old.signer.kind}: its successor is not made here`,
        {
          hint: 'make the new key where the old one lives, add it under a name of its own, and register it',
        },
      );
    }
    const passphrase = old.encrypted ? await passphraseOf(old) : null;
    if (passphrase !== null) {
      await openPrivateKey(store, old, { passphrase: () => Promise.resolve(passphrase), permissions });
    }
    const key = await generateKeyPair(bits === null ? { type } : { type, bits });
    return storeKey(store, name, key, { passphrase, action: 'generate' });
  };
}
