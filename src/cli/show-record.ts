import { isDeribitKeysError } from '../errors.js';
import type { KeyRecord } from '../keystore/record.js';
import { kindOf } from '../signers/kinds.js';
import { defined } from '../util/defined.js';
import type { Context } from './context.js';
import { fields } from './output.js';

/** What `list` and `show` say of the rotation that a key is in. */
interface RotationUnderWay {
  readonly stage: 'begun' | 'promoted' | 'aborting';
  readonly previousName: string | null;
  readonly previousClientId: string;
  /** Until when the old key stays enabled; null before the successor has its name. */
  readonly graceUntil: string | null;
}

/** The rotations that are under way, by the names of the key and of its old pair. A damaged journal is only noted. */
export async function rotationsUnderWay(cx: Context): Promise<ReadonlyMap<string, RotationUnderWay>> {
  const { listJournals } = await import('../keystore/journal.js');
  const found = new Map<string, RotationUnderWay>();
  try {
    for (const journal of await listJournals(cx.store)) {
      const { graceEndMs } = await import('../workflows/rotation/inspect.js');
      const { name, stage, archive, previous } = journal;
      const endMs = graceEndMs(journal);
      const graceUntil = endMs === null ? null : new Date(endMs).toISOString();
      const underWay = { stage, previousName: archive, previousClientId: previous.clientId, graceUntil };
      for (const one of [name, archive]) if (one !== null) found.set(one, underWay);
    }
  } catch (error) {
    if (!isDeribitKeysError(error)) throw error;
    cx.out.note(`warning: ${error.message}`);
  }
  return found;
}

/** A rotation under way in words. */
export function rotationWords({ stage, previousName, previousClientId, graceUntil }: RotationUnderWay): string {
  const old = `the old key ${previousClientId}${previousName === null ? '' : ` (${previousName})`}`;
  if (stage === 'aborting') return 'its abort is not finished';
  if (graceUntil === null) return `not finished: ${old} is still in use`;
  if (Date.parse(graceUntil) > Date.now()) return `${old} stays enabled until ${graceUntil}`;
  return `${old} is due to be removed since ${graceUntil}`;
}

const algorithmWords = ({ algorithm, bits }: KeyRecord) => (bits === null ? algorithm : `${algorithm} ${bits}`);
const signerWords = ({ signer }: KeyRecord) => (signer === null ? null : kindOf(signer).describe(signer));

/** A record in words. */
export function recordLines(record: KeyRecord, rotation: RotationUnderWay | null = null): string[] {
  const list = (items: readonly string[]) => (items.length === 0 ? null : items.join(' '));
  return fields([
    ['name', record.name],
    ['algorithm', algorithmWords(record)],
    ['fingerprint', record.fingerprint],
    ['encrypted', record.signer === null ? (record.encrypted ? 'yes' : 'no') : null],
    ['signer', signerWords(record)],
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
    ['rotation', rotation === null ? null : rotationWords(rotation)],
  ]);
}

/** Prints a key that was just stored, with a warning about it where there is one. */
export async function showStoredKey(cx: Context, record: KeyRecord, warning?: string): Promise<void> {
  const { readPublicKey } = await import('../keystore/stored-keys.js');
  const { encodePublicKeyPem } = await import('../crypto/pem.js');
  const { name, algorithm, bits, fingerprint, encrypted, createdAt, signer } = record;
  const publicKey = encodePublicKeyPem(await readPublicKey(cx.store, record));
  const { publicKey: publicKeyFile, privateKey } = cx.store.files(name);
  const privateKeyFile = signer === null ? privateKey : null;
  const stored = { name, algorithm, bits, fingerprint, publicKey, publicKeyFile, privateKeyFile, encrypted, createdAt };
  if (warning !== undefined) cx.out.note(`warning: ${warning}`);
  cx.out.result({ ...stored, ...defined({ signer: signer ?? undefined, warning }) }, () => [
    ...fields([
      ['name', name],
      ['algorithm', algorithmWords(record)],
      ['fingerprint', fingerprint],
      ['private key', privateKeyFile === null ? null : `${privateKeyFile}${encrypted ? ' (encrypted)' : ''}`],
      ['signer', signerWords(record)],
      ['public key', publicKeyFile],
    ]),
    '',
    publicKey.trimEnd(),
  ]);
}
