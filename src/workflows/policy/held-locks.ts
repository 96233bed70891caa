import type { Keystore, LockedKey } from '../../keystore/keystore.js';

/** The keystore for work that holds the locks of some keys already: it does not wait for its own locks. */
export function withHeldLocks(store: Keystore, held: readonly LockedKey[]): Keystore {
  const heldKey = (name: string) => held.find((key) => key.name === name);
  const withLocks: Keystore['withLocks'] = (names, work) => {
    const missing = names.filter((name) => heldKey(name) === undefined);
    const inOrder = (taken: readonly LockedKey[]) =>
      names.flatMap((name) => heldKey(name) ?? taken.find((key) => key.name === name) ?? []);
    return missing.length === 0 ? work(inOrder([])) : store.withLocks(missing, (taken) => work(inOrder(taken)));
  };
  return {
    ...store,
    withLocks,
    withLock: (name, work) => {
      const key = heldKey(name);
      return key === undefined ? store.withLock(name, work) : work(key);
    },
  };
}
