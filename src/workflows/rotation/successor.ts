import { generateKeyPair } from '../../crypto/generate.js';
import type { Secret } from '../../crypto/secret.js';
import { DeribitKeysError } from '../../errors.js';
import type { SuccessorKind, SuccessorTarget } from '../../keystore/journal.js';
import type { Keystore } from '../../keystore/keystore.js';
import type { KeyRecord } from '../../keystore/record.js';
import { storeKey } from '../../keystore/stored-keys.js';
import { kindOf } from '../../signers/kinds.js';

/**
 * Makes the successor of `old` and stores it in the keystore under `name`, which is free: completely or not at all,
 * with its private half where it stays. It is sent nowhere.
 * @returns its record, whose state is `local`
 */
export type MakeSuccessor = (name: string, old: KeyRecord, kind: SuccessorKind) => Promise<KeyRecord>;

/** What may be chosen of a successor. */
export interface SuccessorChoice {
  readonly type?: 'ed25519' | 'rsa' | undefined;
  readonly bits?: 2048 | 3072 | 4096 | undefined;
  /** Where the old key lives, where left out. */
  readonly target?: SuccessorTarget | undefined;
}

/** Where the successor of a key is made if nothing else is chosen. */
function targetBeside({ signer }: KeyRecord): SuccessorTarget {
  return signer === null ? { kind: 'file' } : kindOf(signer).targetOf(signer);
}

/** The kind of key that follows `old`: the same, or what was chosen. @throws `ERR_USAGE` */
export function successorKind(old: KeyRecord, choice: SuccessorChoice): SuccessorKind {
  const type = choice.type ?? old.algorithm;
  const target = choice.target ?? targetBeside(old);
  if (target.kind !== 'file') kindOf(target).requireType?.(type, target);
  if (type === 'ed25519') {
    if (choice.bits === undefined) return { type, bits: null, target };
    throw new DeribitKeysError('ERR_USAGE', 'an Ed25519 key has no choice of length', {
      hint: 'leave out --bits, or say --type rsa',
    });
  }
  return { type, bits: choice.bits ?? sizeLike(old.bits), target };
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
