import type { KeyAlgorithm } from '../crypto/keys.js';
import { type Environment, resolveEndpoint } from '../deribit/endpoints.js';
import { DeribitKeysError } from '../errors.js';
import { isSignerLocation, type SignerLocation } from '../signers/kinds.js';
import { isText, isTexts, parseJsonObject } from '../util/checks.js';
import { isKeyName } from './names.js';

/** The version of the record's form that this program writes. */
const RECORD_SCHEMA = 1;

/** A larger record is neither written nor read. */
export const MAX_RECORD_BYTES = 1024 * 1024;

export const KEY_STATES = ['local', 'pending', 'registered', 'retired'] as const;
/** Where a key is in its life: not sent, sent and not proved, proved, or no longer used. */
export type KeyState = (typeof KEY_STATES)[number];

/** The state of a key in words that follow its name: `is not registered`. */
export function describeState(state: KeyState): string {
  switch (state) {
    case 'local':
      return 'is not registered';
    case 'pending':
      return 'is not completely registered';
    default:
      return `is ${state}`;
  }
}

/** What a key is, whatever the exchange knows of it. Times are ISO 8601 in UTC; what does not apply is null. */
export interface StoredKey {
  readonly name: string;
  readonly algorithm: KeyAlgorithm;
  /** Length of the RSA modulus; null for Ed25519. */
  readonly bits: number | null;
  /** MD5 over the SPKI DER, as Deribit shows it. */
  readonly fingerprint: string;
  /** The public half, SPKI in PEM as this package writes it; null in records that were written before it was kept. */
  readonly publicKey: string | null;
  readonly encrypted: boolean;
  readonly createdAt: string;
  /** When it was restored from a backup: what was done with the key since the backup was made is not on record. */
  readonly restoredAt: string | null;
  readonly signer: SignerLocation | null;
}

/** What the exchange knows of a key. Its texts are data: they are kept as the exchange says them. */
export interface ExchangeState {
  readonly state: KeyState;
  readonly environment: Environment | null;
  /** The endpoint, where it is not the environment's own. */
  readonly url: string | null;
  readonly clientId: string | null;
  readonly keyId: number | null;
  /** The scope that was granted; while `pending`, the one asked for. */
  readonly scope: string | null;
  readonly label: string | null;
  readonly features: readonly string[];
  readonly ipWhitelist: readonly string[];
  readonly registeredAt: string | null;
  /** The subaccount that the key belongs to; null for the account of the login. */
  readonly subaccount: number | null;
  /**
   * The client id of another key of the same account: of the login that registered this one, or of its successor. The key's
   * account is the one that shows this id.
   */
  readonly registrar: string | null;
  /** While `pending`: until when a request whose answer was not waited for may still be carried out. */
  readonly uncertainUntil: string | null;
  /** When the exchange confirmed that the key was removed there. */
  readonly removedAt: string | null;
}

/** What the keystore knows of a key. It holds no secret. */
export interface KeyRecord extends StoredKey, ExchangeState {}

type Check = (value: unknown) => boolean;

const FINGERPRINT = /^[0-9a-f]{2}(:[0-9a-f]{2}){15}$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/;
const isTime: Check = (value) => isText(value) && TIME.test(value) && !Number.isNaN(Date.parse(value));
const isInteger: Check = (value) => Number.isSafeInteger(value);
const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
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
    return isText(value) && resolveEndpoint({ url: value }).custom;
  } catch {
    return false;
  }
};

/** How the value of a field is checked, and what an older record that does not have the field is read as. */
interface Field<T> {
  readonly is: Check;
  readonly whenAbsent?: T;
}

/** A field about the exchange also has a value for keys that the exchange does not know. */
interface ExchangeField<T> extends Field<T> {
  readonly local: T;
}

const STORED_KEY: { readonly [F in keyof StoredKey]: Field<StoredKey[F]> } = {
  name: { is: (value) => isText(value) && isKeyName(value) },
  algorithm: { is: oneOf('ed25519', 'rsa') },
  bits: { is: orNull(isCount) },
  fingerprint: { is: (value) => isText(value) && FINGERPRINT.test(value) },
  publicKey: { is: orNull(isText), whenAbsent: null },
  encrypted: { is: (value) => typeof value === 'boolean' },
  createdAt: { is: isTime },
  restoredAt: { is: orNull(isTime), whenAbsent: null },
  // named only here: most keys are files, and the kinds of signers are loaded for the others
  signer: { is: (value) => value === null || isSignerLocation(value) },
};

const EXCHANGE_STATE: { readonly [F in keyof ExchangeState]: ExchangeField<ExchangeState[F]> } = {
  state: { is: oneOf(...KEY_STATES), local: 'local' },
  environment: { is: orNull(oneOf('test', 'prod')), local: null },
  url: { is: orNull(isUrl), local: null },
  clientId: { is: orNull(isText), local: null },
  keyId: { is: orNull(isInteger), local: null },
  scope: { is: orNull(isText), local: null },
  label: { is: orNull(isText), local: null },
  features: { is: isTexts, local: [] },
  ipWhitelist: { is: isTexts, local: [] },
  registeredAt: { is: orNull(isTime), local: null },
  subaccount: { is: orNull(isInteger), local: null },
  registrar: { is: orNull(isText), local: null, whenAbsent: null },
  uncertainUntil: { is: orNull(isTime), local: null, whenAbsent: null },
  removedAt: { is: orNull(isTime), local: null, whenAbsent: null },
};

/** Every field of a record, in the order of the file. */
const FIELDS: { readonly [F in keyof KeyRecord]: Field<KeyRecord[F]> } = { ...STORED_KEY, ...EXCHANGE_STATE };

/** `value` with the named fields only, in their order. */
function pick<F extends keyof KeyRecord>(value: Pick<KeyRecord, F>, fields: Readonly<Record<F, unknown>>) {
  return Object.fromEntries(Object.keys(fields).map((field) => [field, value[field as F]])) as Pick<KeyRecord, F>;
}

/** The record of a key that was just made or imported: the exchange does not know it. */
export function localRecord(
  key: Omit<StoredKey, 'restoredAt' | 'signer'> & Partial<Pick<StoredKey, 'restoredAt' | 'signer'>>,
): KeyRecord {
  const unknown = Object.entries(EXCHANGE_STATE).map(([field, { local }]) => [field, local]);
  return { restoredAt: null, signer: null, ...key, ...(Object.fromEntries(unknown) as ExchangeState) };
}

/** The record of the same key as one that the exchange does not know. */
export function asLocal(record: KeyRecord): KeyRecord {
  return localRecord(pick<keyof StoredKey>(record, STORED_KEY));
}

/** The field that makes `record` unreadable, and why; null for a valid record. */
function findFault(record: Readonly<Record<string, unknown>>): string | null {
  for (const [field, { is }] of Object.entries(FIELDS)) {
    if (!is(record[field])) return `"${field}" is ${record[field] === undefined ? 'missing' : 'not valid'}`;
  }
  const { algorithm, bits, state, clientId, environment } = record;
  if ((algorithm === 'rsa') !== (bits !== null)) return '"bits" does not fit "algorithm"';
  if (state === 'registered' && (clientId === null || environment === null)) {
    return 'a registered key without "clientId" or "environment"';
  }
  return null;
}

/**
 * The content of a record's file.
 * @throws `ERR_STATE` for a record that {@link parseRecord} would refuse
 */
export function serialiseRecord(record: KeyRecord): string {
  const fault = findFault({ ...record });
  const text = `${JSON.stringify({ schema: RECORD_SCHEMA, ...pick(record, FIELDS) }, null, 2)}\n`;
  const size = Buffer.byteLength(text);
  const tooLarge =
    size > MAX_RECORD_BYTES ? `it would have ${size} bytes, and at most ${MAX_RECORD_BYTES} are read` : null;
  const what = fault ?? tooLarge;
  if (what === null) return text;
  throw new DeribitKeysError('ERR_STATE', `the record of "${record.name}" cannot be written: ${what}`, {
    hint: 'nothing was written; if the value comes from the exchange, see it with: deribit-keys api-keys list --json',
  });
}

function damaged(file: string, what: string): DeribitKeysError {
  return new DeribitKeysError('ERR_RECORD_DAMAGED', `the record ${file} is damaged: ${what}`, {
    hint: 'correct it by hand, or move it away and import the key again',
  });
}

/**
 * Reads the content of a record's file. `file` is named in errors.
 * @throws `ERR_RECORD_NEWER` for a schema that this program does not know, `ERR_RECORD_DAMAGED` for anything amiss.
 */
export function parseRecord(text: string, file: string, name: string): KeyRecord {
  const value = parseJsonObject(text);
  if (typeof value === 'string') throw damaged(file, `it ${value}`);
  const { schema, ...fields } = value;
  if (typeof schema !== 'number' || !Number.isInteger(schema) || schema < 1)
    throw damaged(file, '"schema" is not a version');
  if (schema > RECORD_SCHEMA) {
    const message = `the record ${file} has schema ${schema}: this version reads schemas up to ${RECORD_SCHEMA}`;
    const hint = 'use the newer version of deribit-keys that wrote it; the record was left as it is';
    throw new DeribitKeysError('ERR_RECORD_NEWER', message, { hint });
  }
  const known = Object.fromEntries(
    Object.entries(FIELDS).map(([field, { whenAbsent }]) => [field, field in fields ? fields[field] : whenAbsent]),
  );
  const fault = findFault(known);
  if (fault !== null) throw damaged(file, fault);
  const record = known as unknown as KeyRecord;
  if (record.name !== name) throw damaged(file, `it names the key "${record.name}"`);
  return record;
}
