import type { KeyAlgorithm } from '../crypto/keys.js';
import { resolveEndpoint } from '../deribit/endpoints.js';
import { DeribitKeysError } from '../errors.js';
import { isKeyName } from './names.js';

/** The version of the record's form that this program writes. */
export const RECORD_SCHEMA = 1;

export type KeyState = 'local' | 'pending' | 'registered' | 'retired';
export type RecordEnvironment = 'test' | 'prod';

/** Where a private key lives that is not a file of the keystore. */
export type SignerLocation =
  | {
      readonly kind: 'ssh-agent';
      readonly fingerprint: string;
      readonly comment: string | null;
      readonly socket: string | null;
    }
  | {
      readonly kind: 'pkcs11';
      readonly module: string;
      readonly token: string;
      readonly label: string | null;
      readonly id: string | null;
    };

/** What the keystore knows of a key. It holds no secret. Times are ISO 8601 in UTC; what does not apply is null. */
export interface KeyRecord {
  readonly name: string;
  readonly algorithm: KeyAlgorithm;
  /** Length of the RSA modulus; null for Ed25519. */
  readonly bits: number | null;
  /** MD5 over the SPKI DER, as Deribit shows it. */
  readonly fingerprint: string;
  /** The public half, SPKI in PEM as this package writes it; null in records of before it was kept here. */
  readonly publicKey: string | null;
  readonly encrypted: boolean;
  readonly state: KeyState;
  readonly environment: RecordEnvironment | null;
  readonly clientId: string | null;
  readonly keyId: number | null;
  /** The scope that was granted; while `pending`, the one asked for. */
  readonly scope: string | null;
  readonly createdAt: string;
  readonly registeredAt: string | null;
  /** The endpoint, where it is not the environment's own. */
  readonly url: string | null;
  readonly label: string | null;
  readonly features: readonly string[];
  readonly ipWhitelist: readonly string[];
  /** The subaccount that the key belongs to; null for the account of the login. */
  readonly subaccount: number | null;
  /** The client id of the login that began the registration: the key's account is the one that shows this id. */
  readonly registrar: string | null;
  /** While `pending`: until when a request whose answer was not waited for may still be carried out. */
  readonly uncertainUntil: string | null;
  /** When the exchange confirmed that the key was removed there. */
  readonly removedAt: string | null;
  /** When it was brought back from a backup: what was done with the key since that was made is not on record. */
  readonly restoredAt: string | null;
  readonly signer: SignerLocation | null;
}

/** A record of a key that was just made or brought in. */
export function localRecord(
  key: Pick<KeyRecord, 'name' | 'algorithm' | 'bits' | 'fingerprint' | 'publicKey' | 'encrypted' | 'createdAt'>,
  signer: SignerLocation | null = null,
): KeyRecord {
  return {
    ...key,
    state: 'local',
    environment: null,
    clientId: null,
    keyId: null,
    scope: null,
    registeredAt: null,
    url: null,
    label: null,
    features: [],
    ipWhitelist: [],
    subaccount: null,
    registrar: null,
    uncertainUntil: null,
    removedAt: null,
    restoredAt: null,
    signer,
  };
}

/** The content of a record's file. */
export function serialiseRecord(record: KeyRecord): string {
  return `${JSON.stringify({ schema: RECORD_SCHEMA, ...record }, null, 2)}\n`;
}

type Check = (value: unknown) => boolean;

const FINGERPRINT = /^[0-9a-f]{2}(:[0-9a-f]{2}){15}$/;
const isText: Check = (value) => typeof value === 'string' && value.length <= 4096;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/;
const isTime: Check = (value) => typeof value === 'string' && TIME.test(value) && !Number.isNaN(Date.parse(value));
const isTexts: Check = (value) => Array.isArray(value) && value.every(isText);
const isCount: Check = (value) => typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
const oneOf =
  (...words: readonly string[]): Check =>
  (value) =>
    words.includes(value as string);
const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value);

const isUrl: Check = (value) => {
  try {
    return isText(value) && resolveEndpoint({ url: value as string }).custom;
  } catch {
    return false;
  }
};

function isSigner(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { kind, fingerprint, comment, socket, module, token, label, id } = value as Record<string, unknown>;
  if (kind === 'ssh-agent') return isText(fingerprint) && [comment, socket].every(orNull(isText));
  return kind === 'pkcs11' && [module, token].every(isText) && [label, id].every(orNull(isText));
}

const FIELDS: Readonly<Record<keyof KeyRecord, Check>> = {
  name: (value) => typeof value === 'string' && isKeyName(value),
  algorithm: oneOf('ed25519', 'rsa'),
  bits: orNull(isCount),
  fingerprint: (value) => typeof value === 'string' && FINGERPRINT.test(value),
  publicKey: orNull(isText),
  encrypted: (value) => typeof value === 'boolean',
  state: oneOf('local', 'pending', 'registered', 'retired'),
  environment: orNull(oneOf('test', 'prod')),
  clientId: orNull(isText),
  keyId: orNull(isCount),
  scope: orNull(isText),
  createdAt: isTime,
  registeredAt: orNull(isTime),
  url: orNull(isUrl),
  label: orNull(isText),
  features: isTexts,
  ipWhitelist: isTexts,
  subaccount: orNull(isCount),
  registrar: orNull(isText),
  uncertainUntil: orNull(isTime),
  removedAt: orNull(isTime),
  restoredAt: orNull(isTime),
  signer: orNull(isSigner),
};

const MAY_BE_ABSENT: ReadonlySet<string> = new Set([
  'publicKey',
  'registrar',
  'uncertainUntil',
  'removedAt',
  'restoredAt',
]);

function damaged(file: string, what: string): DeribitKeysError {
  return new DeribitKeysError('ERR_RECORD_DAMAGED', `the record ${file} is damaged: ${what}`, {
    hint: 'mend it by hand, or move it away and bring the key in again with import',
  });
}

/**
 * Reads the content of a record's file. `file` is named in errors.
 * @throws `ERR_RECORD_NEWER` for a schema that this program does not know, `ERR_RECORD_DAMAGED` for anything amiss.
 */
export function parseRecord(text: string, file: string, name: string): KeyRecord {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw damaged(file, 'it is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw damaged(file, 'it is not an object');
  const { schema, ...fields } = value as Record<string, unknown>;
  if (typeof schema !== 'number' || !Number.isInteger(schema) || schema < 1)
    throw damaged(file, '"schema" is not a version');
  if (schema > RECORD_SCHEMA) {
    throw new DeribitKeysError(
      'ERR_RECORD_NEWER',
      `the record ${file} has schema ${schema}: this program knows up to ${RECORD_SCHEMA}`,
      {
        hint: 'use the newer version of deribit-keys that wrote it; the record was left as it is',
      },
    );
  }
  const known: Record<string, unknown> = {};
  for (const [field, check] of Object.entries(FIELDS)) {
    const value = fields[field] ?? (MAY_BE_ABSENT.has(field) ? null : fields[field]);
    if (!check(value)) throw damaged(file, `"${field}" is ${value === undefined ? 'missing' : 'not valid'}`);
    known[field] = value;
  }
  const record = known as unknown as KeyRecord;
  if (record.name !== name) throw damaged(file, `it names the key "${record.name}"`);
  if ((record.algorithm === 'rsa') !== (record.bits !== null)) throw damaged(file, '"bits" does not fit "algorithm"');
  if (record.state === 'registered' && (record.clientId === null || record.environment === null)) {
    throw damaged(file, 'a registered key without "clientId" or "environment"');
  }
  return record;
}
