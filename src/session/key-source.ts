import { fingerprint as fingerprintOf } from '../crypto/fingerprint.js';
import type { Signer } from '../crypto/signer.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';

/** A client id and what signs for it. */
export interface SessionKey {
  readonly clientId: string;
  readonly signer: Signer;
}

/** The key of a session, which may be replaced by its successor while the session lives. */
export interface KeySource {
  /** The client id of the last login, or of the one to come. */
  readonly clientId: string;
  /** How often {@link moved} is worth asking, in milliseconds; null for a key that stays. */
  readonly followMs: number | null;
  /** The key to log in with now; the last one while its record cannot be read. */
  current(): Promise<SessionKey>;
  /** Whether {@link current} would return another key than last time. It never throws. */
  moved(): Promise<boolean>;
}

/** A key that stays as it is. */
export function fixedKey(key: SessionKey): KeySource {
  return { clientId: key.clientId, followMs: null, current: async () => key, moved: async () => false };
}

/** What is used of the record of a key. */
export interface FollowedRecord {
  readonly name: string;
  readonly state: string;
  readonly clientId: string | null;
  readonly fingerprint: string;
  readonly environment: 'test' | 'prod' | null;
  /** Null for Deribit's own endpoint. */
  readonly url: string | null;
}

/** What is used of a keystore that `openKeystore` returned. */
export interface FollowedKeystore {
  get(name: string): Promise<FollowedRecord>;
  signer(name: string): Promise<Signer>;
}

/** A rotation is noticed within this time. */
const FOLLOW_MS = 500;
/** A successor that could not be opened is tried again after this. */
const REOPEN_MS = 2_000;

/** Records that were read a moment ago, so that many sessions of one key read its file once. */
const lately = new WeakMap<
  FollowedKeystore,
  Map<string, { readonly atMs: number; readonly record: Promise<FollowedRecord> }>
>();

function readLately(keystore: FollowedKeystore, name: string): Promise<FollowedRecord> {
  const known = lately.get(keystore) ?? new Map<string, { atMs: number; record: Promise<FollowedRecord> }>();
  lately.set(keystore, known);
  const last = known.get(name);
  const atMs = performance.now();
  if (last !== undefined && atMs - last.atMs < FOLLOW_MS / 2) return last.record;
  const record = keystore.get(name);
  record.catch(() => {});
  known.set(name, { atMs, record });
  return record;
}

/** Signers that sessions hold, so that many sessions of one key open its file, and derive its passphrase, once. */
const opened = new WeakMap<
  FollowedKeystore,
  Map<string, { readonly fingerprint: string; readonly signer: WeakRef<Promise<Signer>> }>
>();

function signerOf(keystore: FollowedKeystore, name: string, fingerprint: string): Promise<Signer> {
  const known = opened.get(keystore) ?? new Map();
  opened.set(keystore, known);
  const last = known.get(name);
  const held = last?.fingerprint === fingerprint ? last.signer.deref() : undefined;
  if (held !== undefined) return held;
  const signer = keystore.signer(name);
  const entry = { fingerprint, signer: new WeakRef(signer) };
  known.set(name, entry);
  const forget = () => {
    if (known.get(name) === entry) known.delete(name);
  };
  // a rotation may have come between the record and the key
  signer.then(({ publicKey }) => (fingerprintOf(publicKey) === fingerprint ? undefined : forget())).catch(forget);
  return signer;
}

/**
 * The key of the record `name`: after a rotation, the successor.
 * @throws `ERR_STATE` for a key that is not registered, and what the keystore throws
 */
export async function followKey(
  keystore: FollowedKeystore,
  name: string,
): Promise<KeySource & { readonly record: FollowedRecord }> {
  const clientIdOf = (record: FollowedRecord): string => {
    if (record.clientId !== null && record.state === 'registered') return record.clientId;
    const how = record.state === 'local' ? 'not registered' : record.state;
    throw new DeribitKeysError('ERR_STATE', `the key "${name}" cannot log in: it is ${how}`, {
      hint: `run: deribit-keys register ${name} --scope <scope>`,
    });
  };
  const record = await keystore.get(name);
  const open = async (clientId: string, { fingerprint }: FollowedRecord) => {
    const signer = signerOf(keystore, name, fingerprint);
    // `holds` keeps the promise, which other sessions of the key share
    return { clientId, fingerprint, signer: await signer, holds: signer };
  };
  let used = await open(clientIdOf(record), record);
  let failedMs = Number.NEGATIVE_INFINITY;
  return {
    record,
    followMs: FOLLOW_MS,
    get clientId() {
      return used.clientId;
    },
    async current() {
      const now = await keystore.get(name).catch((error: unknown) => {
        // a record that cannot be read at this moment does not end a session that has a key
        if (isDeribitKeysError(error, 'ERR_RECORD_DAMAGED', 'ERR_KEYSTORE_IO')) return null;
        throw error;
      });
      if (now !== null) {
        const clientId = clientIdOf(now);
        if (clientId !== used.clientId || now.fingerprint !== used.fingerprint) {
          used = await open(clientId, now).catch((error: unknown) => {
            failedMs = performance.now();
            throw error;
          });
        }
      }
      return { clientId: used.clientId, signer: used.signer };
    },
    async moved() {
      if (performance.now() - failedMs < REOPEN_MS) return false;
      try {
        const now = await readLately(keystore, name);
        return now.state === 'registered' && now.clientId !== null && now.clientId !== used.clientId;
      } catch {
        // the record may be changing at this moment
        return false;
      }
    },
  };
}
