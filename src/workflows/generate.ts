import { type GenerateOptions, generateKeyPair } from '../crypto/generate.js';
import type { Secret } from '../crypto/secret.js';
import type { Keystore } from '../keystore/keystore.js';
import type { KeyRecord } from '../keystore/record.js';
import { storeKey } from '../keystore/stored-keys.js';

/**
 * Makes a keypair on this machine and stores it under a free name, encrypted where a passphrase is given.
 * @throws `ERR_NAME_TAKEN`, `ERR_USAGE`, `ERR_LOCKED`, `ERR_KEYSTORE_IO`
 */
export async function generate(
  store: Keystore,
  name: string,
  options: GenerateOptions & { readonly passphrase?: Secret | null } = {},
): Promise<KeyRecord> {
  store.files(name);
  // a taken name is said before the work; the store itself looks again, under the lock
  await store.withLock(name, (locked) => locked.requireFree());
  const { passphrase = null, ...kind } = options;
  return storeKey(store, { name, key: await generateKeyPair(kind), passphrase, action: 'generate' });
}
