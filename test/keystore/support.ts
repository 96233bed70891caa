import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { generateKeyPair } from '../../src/crypto/generate.js';
import type { PrivateKey } from '../../src/crypto/keys.js';
import { type Keystore, openKeystore } from '../../src/keystore/keystore.js';
import { type KeyRecord, localRecord } from '../../src/keystore/record.js';
import { storeKey } from '../../src/keystore/stored-keys.js';
import { temporaryFolder } from '../support/cli.js';

export const isRoot = process.getuid?.() === 0;

/** A keystore that is deleted after the test; its folder is not made yet. */
export function newStore(options: Parameters<typeof openKeystore>[1] = {}): Keystore {
  return openKeystore(join(temporaryFolder(), 'keys'), { lockWaitMs: 100, ...options });
}

/** Stores a new Ed25519 key. */
export async function addKey(store: Keystore, name: string): Promise<{ record: KeyRecord; key: PrivateKey }> {
  const key = await generateKeyPair({ type: 'ed25519' });
  return { key, record: await storeKey(store, { name, key, action: 'generate' }) };
}

/** What stands in the keystore's folder, sorted, without the ignore file and the audit log. */
export function filesOf(store: Keystore): string[] {
  return readdirSync(store.folder)
    .filter((file) => file !== '.gitignore' && file !== 'audit.jsonl')
    .sort();
}

/** The three files of a key. */
export const filesOfKey = (name: string) => [`${name}.json`, `${name}.pem`, `${name}.pub.pem`];

/** A record that is as it should be. */
export function sampleRecord(changes: Partial<KeyRecord> = {}): KeyRecord {
  return {
    ...localRecord({
      name: 'bot',
      algorithm: 'ed25519',
      bits: null,
      fingerprint: '9c:6d:c9:02:fd:9f:75:6e:14:bb:71:c5:74:95:86:c8',
      publicKey: null,
      encrypted: false,
      createdAt: '2026-11-23T16:00:00.000Z',
    }),
    ...changes,
  };
}
