import type { KeyRecord } from '../keystore/record.js';
import { kindOf } from '../signers/kinds.js';
import { defined } from '../util/defined.js';
import type { Context } from './context.js';
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

/** The JSON form that `generate` and `import` give. */
async function storedKeyDocument(cx: Context, record: KeyRecord) {
  const { readPublicKey } = await import('../keystore/stored-keys.js');
  const { encodePublicKeyPem } = await import('../crypto/pem.js');
  const { name, algorithm, bits, fingerprint, encrypted, createdAt, signer } = record;
  const files = cx.store.files(name);
  return {
    name,
    algorithm,
    bits,
    fingerprint,
    publicKey: encodePublicKeyPem(await readPublicKey(cx.store, record)),
    publicKeyFile: files.publicKey,
    privateKeyFile: signer === null ? files.privateKey : null,
    encrypted,
    createdAt,
    ...(signer === null ? {} : { signer }),
  };
}

/** Prints a key that was just stored, with a warning about it where there is one. */
export async function showStoredKey(cx: Context, record: KeyRecord, warning?: string): Promise<void> {
  const stored = await storedKeyDocument(cx, record);
  if (warning !== undefined) cx.out.note(`warning: ${warning}`);
  cx.out.result({ ...stored, ...defined({ warning }) }, () => [
    ...fields([
      ['name', stored.name],
      ['algorithm', stored.bits === null ? stored.algorithm : `${stored.algorithm} ${stored.bits}`],
      ['fingerprint', stored.fingerprint],
      [
        'private key',
        stored.privateKeyFile === null ? null : `${stored.privateKeyFile}${stored.encrypted ? ' (encrypted)' : ''}`,
      ],
      ['signer', record.signer === null ? null : kindOf(record.signer).describe(record.signer)],
      ['public key', stored.publicKeyFile],
    ]),
    '',
    stored.publicKey.trimEnd(),
  ]);
}
