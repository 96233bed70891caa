import { fileNames, type LockedKey } from '../../keystore/keystore.js';
import { type KeyRecord, serialiseRecord } from '../../keystore/record.js';
import type { Step } from '../../keystore/transaction.js';

/** Writes a record and the line of the audit log that tells why, both or none. */
export function keepRecord(locked: LockedKey, record: KeyRecord, action: string, outcome = 'ok'): Promise<void> {
  const { name, fingerprint, clientId, environment } = record;
  const step: Step = { do: 'replace', file: fileNames(name).record, content: serialiseRecord(record) };
  return locked.change([step], { action, name, fingerprint, clientId, environment, outcome });
}

/** A record that says nothing of the exchange any more. */
export function asLocal(record: KeyRecord): KeyRecord {
  return {
    ...record,
    state: 'local',
    environment: null,
    url: null,
    scope: null,
    label: null,
    features: [],
    ipWhitelist: [],
    clientId: null,
    keyId: null,
    registeredAt: null,
    subaccount: null,
    registrar: null,
    uncertainUntil: null,
    removedAt: null,
  };
}
