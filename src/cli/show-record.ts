import type { KeyRecord } from '../keystore/record.js';
import { kindOf } from '../signers/kinds.js';
import { fields } from './output.js';

/** A record in words. */
export function recordLines(record: KeyRecord): string[] {
  const list = (items: readonly string[]) => (items.length === 0 ? null : items.join(' '));
  return fields([
    ['name', record.name],
    ['algorithm', record.bits === null ? record.algorithm : `${record.algorithm} ${record.bits}`],
    ['fingerprint', record.fingerprint],
    ['encrypted', record.signer === null ? (record.encrypted ? 'yes' : 'no') : null],
    ['signer', record.signer === null ? null : kindOf(record.signer).describe(record.signer)],
    ['state', record.state],
    ['environment', record.environment],
    ['url', record.url],
    ['client id', record.clientId],
    ['key id', record.keyId],
    ['subaccount', record.subaccount],
    ['scope', record.scope],
    ['label', record.label],
    ['features', list(record.features)],
    ['whitelist', list(record.ipWhitelist)],
    ['created', record.createdAt],
    ['registered', record.registeredAt],
  ]);
}
