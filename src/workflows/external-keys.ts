import { requireSize } from '../crypto/generate.js';
import type { Signer } from '../crypto/signer.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import type { Keystore } from '../keystore/keystore.js';
import { requireNewKeyName } from '../keystore/names.js';
import type { KeyRecord } from '../keystore/record.js';
import { readPublicKey, storePublicKey } from '../keystore/stored-keys.js';
import {
  type AnySignerKind,
  kindOf,
  type NewKey,
  type OptionValues,
  type SignerAccess,
  type SignerLocation,
  type SignerTarget,
} from '../signers/kinds.js';
import type { MakeSuccessor } from './rotation/start.js';

/**
 * Opens the signer of a key that lives outside of the keystore, and proves that it is the one of the record.
 * @throws `ERR_KEY_MISMATCH` for another key, and what the signers throw
 */
export async function openExternalSigner(
  store: Keystore,
  record: KeyRecord & { readonly signer: SignerLocation },
  access: SignerAccess,
): Promise<Signer> {
  const signer = await kindOf(record.signer).open(record.signer, access);
  if (signer.publicKey.equals(await readPublicKey(store, record))) return signer;
  const message = `the ${record.signer.kind} key that the record "${record.name}" names is now a different key`;
  const hint = 'add it under another name, or restore the key that belongs there';
  throw new DeribitKeysError('ERR_KEY_MISMATCH', message, { hint });
}

interface ExternalKey {
  readonly name: string;
  readonly kind: AnySignerKind;
  /** The options of the kind, by name. */
  readonly values: OptionValues;
  readonly access: SignerAccess;
}

/**
 * Makes a record of a key that is there already.
 * @throws `ERR_NAME_TAKEN`, and what the signers throw
 */
export async function addExternalKey(store: Keystore, { name, kind, values, access }: ExternalKey): Promise<KeyRecord> {
  await store.requireFree(requireNewKeyName(name));
  const { publicKey, location } = await kind.hold(values, access);
  return storePublicKey(store, { name, publicKey, signer: location });
}

interface NewExternalKey {
  readonly key: NewKey;
  readonly target: SignerTarget;
  /** What the options of the kind add to the target. */
  readonly values?: OptionValues;
  readonly access: SignerAccess;
}

/**
 * Makes a keypair in `target` and a record of it.
 * @throws `ERR_NAME_TAKEN` for the name here or there, and what the signers throw
 */
export async function generateExternalKey(
  store: Keystore,
  { key, target, values = {}, access }: NewExternalKey,
): Promise<KeyRecord> {
  const kind = kindOf(target);
  requireSize(key);
  kind.requireType?.(key.type ?? 'ed25519', target);
  await store.requireFree(key.name);
  const { publicKey, location, recover } = await kind.generate({ key, target, values, access });
  return storePublicKey(store, { name: key.name, publicKey, signer: location, action: 'generate' }).catch((error) => {
    throw isDeribitKeysError(error) ? error.with({ hint: recover }) : error;
  });
}

/**
 * Makes the successor of a rotating key where its plan says: with `makeFile` in a file, else in an external target. A key
 * that an interrupted run made there under the name of the successor is used: no second one is made.
 */
export function successorAnywhere(store: Keystore, makeFile: MakeSuccessor, access: SignerAccess): MakeSuccessor {
  return async (name, old, plan) => {
    const { type, bits, target = { kind: 'file' } } = plan;
    if (target.kind === 'file') return makeFile(name, old, plan);
    const key = { name, type, exclusive: true, ...(bits === null ? {} : { bits }) };
    return generateExternalKey(store, { key, target, access }).catch((error) => {
      if (!isDeribitKeysError(error, 'ERR_NAME_TAKEN')) throw error;
      const kind = kindOf(target);
      return addExternalKey(store, { name, kind, values: kind.valuesOf(name, target), access });
    });
  };
}
