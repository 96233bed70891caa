import type { KeyRecord, SignerLocation } from '../keystore/record.js';
import { fields } from './output.js';

/** Where a key lives that is no file, in words. */
export function signerLine(signer: SignerLocation): string {
  if (signer.kind === 'ssh-agent') {
    const { fingerprint, comment, socket } = signer;
    return ['ssh-agent', fingerprint, comment, socket === null ? null : `on ${socket}`].filter(Boolean).join(' ');
  }
  const { token, label, id, module } = signer;
  const key = [label === null ? '' : `label "${label}"`, id === null ? '' : `id ${id}`].filter(Boolean).join(', ');
  return `pkcs11 token "${token}", ${key} (${module})`;
}

/** A record in words. */
export function recordLines(record: KeyRecord): string[] {
  const list = (items: readonly string[]) => (items.length === 0 ? null : items.join(' '));
  return fields([
    ['name', record.name],
    ['algorithm', record.bits === null ? record.algorithm : `${record.algorithm} ${record.bits}`],
    ['fingerprint', record.fingerprint],
    ['encrypted', record.signer === null ? (record.encrypted ? 'yes' : 'no') : null],
    ['signer', record.signer === null ? null : signerLine(record.signer)],
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
