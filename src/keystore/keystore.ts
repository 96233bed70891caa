import type { Stats } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { closestWord } from '../util/text.js';
import { AUDIT_FILE, type AuditNote, appendAudit, auditEntry, auditLine, noteOn } from './audit-log.js';
import { errnoOf } from './file-errors.js';
import {
  createBreather,
  hasUnfinishedChange,
  makePrivateFolder,
  namesIn,
  readFileOrNull,
  replaceFile,
  statOrNull,
} from './files.js';
import { DEFAULT_LOCK_WAIT_MS, KEY_LOCK, keyLock, type Lock, type LockFile, TOKEN_LOCK, takeLock } from './lock.js';
import { fileNames, foldName, isKeyName, recordedNames, requireFreeNames, requireKeyName } from './names.js';
import { requireOwnFile } from './permissions.js';
import { type KeyRecord, MAX_RECORD_BYTES, parseRecord, serialiseRecord } from './record.js';
import type { Step } from './steps.js';
import { change, finishChanges, isLeftover, ownerOfLeftover } from './transaction.js';

export { type AuditNote, noteOn } from './audit-log.js';

interface KeystoreOptions {
  /** How long a lock that another process holds is waited for. */
  readonly lockWaitMs?: number;
  /** Ends the wait for a lock with `ERR_INTERRUPTED`. */
  readonly signal?: AbortSignal;
  /** Called where a lock is waited for beyond `lockWaitMs`, with a sentence that says what is waited for. */
  readonly onWait?: (message: string) => void;
  readonly now?: () => Date;
  /** The key that the user logs in with, for the audit log. */
  readonly as?: string | undefined;
  /** Whether keys may be written where the file system ignores modes, so that other users can read them. */
  readonly anyMode?: boolean;
}

/** The files of one key, as absolute paths. */
export interface KeyFiles {
  readonly privateKey: string;
  readonly publicKey: string;
  readonly record: string;
}

/** A record that cannot be read. */
export interface DamagedRecord {
  readonly name: string;
  readonly error: DeribitKeysError;
}

/** A folder of keys. It keeps nothing in memory: each call reads the files. */
export interface Keystore {
  readonly folder: string;
  readonly now: () => Date;
  files(name: string): KeyFiles;
  /** @throws `ERR_USAGE`, `ERR_NO_SUCH_NAME`, `ERR_RECORD_DAMAGED`, `ERR_RECORD_NEWER`, `ERR_PERMISSIONS` */
  read(name: string): Promise<KeyRecord>;
  /** @throws `ERR_NAME_TAKEN` where a file of one of the names, or of one that differs only by case, exists. */
  requireFree(...names: readonly string[]): Promise<void>;
  /** Every record that can be read, by name, and for each of the others the error that says why not. */
  list(): Promise<{ readonly records: readonly KeyRecord[]; readonly damaged: readonly DamagedRecord[] }>;
  /** Runs `work` while no other process can change the key `name`, which need not exist. */
  withLock<T>(name: string, work: (key: LockedKey) => Promise<T>): Promise<T>;
  /** Runs `work` with the locks of all `names`, in their order. They are taken in one order by every process. */
  withLocks<T>(names: readonly string[], work: (keys: readonly LockedKey[]) => Promise<T>): Promise<T>;
  /**
   * Runs `work` while no other process of this keystore does anything under the lock of the key pair with this
   * fingerprint, under whatever names the pair is stored: for work that may register it on an exchange.
   *
   * Always taken inside the lock of a name, and no lock of a name is taken inside it; it cannot be taken twice.
   * @throws `ERR_LOCKED`, `ERR_INTERRUPTED`, `ERR_KEYSTORE_IO`
   */
  withKeyLock<T>(fingerprint: string, work: () => Promise<T>): Promise<T>;
  /** Finishes and cleans up what commands that died have left, for every key that nobody works on. Never fails. */
  tidy(): Promise<void>;
  audit(entry: AuditNote): Promise<void>;
}

/** A key whose lock is held. */
export interface LockedKey {
  readonly name: string;
  /** Whether a change that a dead command had decided was finished when the lock was taken. */
  readonly finished: boolean;
  read(): Promise<KeyRecord>;
  /** @throws `ERR_NAME_TAKEN` where a file of the name, or of one that differs only by case, exists. */
  requireFree(): Promise<void>;
  /**
   * Replaces the record of this key, or of another one whose lock is held, flushed before this resolves. With a `note`,
   * the record and the line of the audit log that says why are written together, or neither is.
   * @throws `ERR_STATE` for a record that could not be read again, `ERR_LOCK_LOST`, `ERR_KEYSTORE_IO`
   */
  save(record: KeyRecord, note?: SaveNote): Promise<void>;
  /** Changes several files and adds lines to the audit log, all or none: see `Step`. */
  change(steps: readonly Step[], ...notes: readonly AuditNote[]): Promise<void>;
}

/** Why a record is saved; `outcome` is `ok` or the code of an error. */
export type SaveNote = Pick<AuditNote, 'action' | 'outcome'>;

/** The step that writes a record's file. @throws `ERR_STATE` for a record that could not be read again */
export function recordStep(record: KeyRecord, how: 'create' | 'replace' = 'replace'): Step {
  return { do: how, file: fileNames(record.name).record, content: serialiseRecord(record) };
}

const CHANGE_POLL_MS = 10;

/** @throws `ERR_USAGE` for a relative path where the working directory was deleted */
export function absolutePath(folder: string): string {
  try {
    return resolve(folder);
  } catch (cause) {
    if (errnoOf(cause) !== 'ENOENT') throw cause;
    throw new DeribitKeysError('ERR_USAGE', 'the working directory does not exist any more', {
      cause,
      hint: 'change to a folder that exists, or name the keystore by an absolute path: --keys-dir <dir>',
    });
  }
}

/**
 * Opens the keystore in `folder`, which need not exist yet: it is made with the first key.
 * @throws `ERR_USAGE` for a relative path where the working directory was deleted
 */
export function openKeystore(folder: string, options: KeystoreOptions = {}): Keystore {
  const root = absolutePath(folder);
  const now = options.now ?? (() => new Date());
  const { lockWaitMs: waitMs } = options;

  const files = (name: string): KeyFiles => {
    const { privateKey, publicKey, record } = fileNames(requireKeyName(name));
    return { privateKey: join(root, privateKey), publicKey: join(root, publicKey), record: join(root, record) };
  };

  const noSuchName = async (name: string): Promise<DeribitKeysError> => {
    const names = recordedNames(await namesIn(root));
    const near = closestWord(name, names);
    const stray = (await statOrNull(join(root, `${name}.pem`))) !== null;
    const hint = stray
      ? `${name}.pem is there without a record: import it under another name with: deribit-keys import <name> ${join(root, `${name}.pem`)}`
      : near !== null
        ? `did you mean "${near}"?`
        : names.length > 0
          ? 'list the keys with: deribit-keys list'
          : 'this keystore holds no keys: name another one with --keys-dir <dir> or DERIBIT_KEYS_DIR';
    return new DeribitKeysError('ERR_NO_SUCH_NAME', `there is no key "${name}" in ${root}`, { hint });
  };

  const readNow = async (name: string): Promise<KeyRecord> => {
    const path = files(name).record;
    const opened: Stats[] = [];
    const content = await readFileOrNull(path, MAX_RECORD_BYTES, (stats) => opened.push(stats));
    if (content === null) throw await noSuchName(name);
    const record = parseRecord(content.toString('utf8'), path, name);
    if (record.signer !== null) for (const stats of opened) requireOwnFile(path, stats);
    return record;
  };

  /** Waits for files that are being changed; a change whose maker died is finished here. */
  const read = async (name: string): Promise<KeyRecord> => {
    requireKeyName(name);
    // the clock is loaded by its first use, and few reads have to wait
    let deadlineMs: number | undefined;
    while (await hasUnfinishedChange(root, name)) {
      deadlineMs ??= performance.now() + (waitMs ?? DEFAULT_LOCK_WAIT_MS);
      const patient = performance.now() >= deadlineMs;
      try {
        await withLocks([name], async () => {}, patient ? waitMs : 0);
      } catch (error) {
        if (!isDeribitKeysError(error, 'ERR_LOCKED') || patient) throw error;
        await sleep(CHANGE_POLL_MS);
      }
    }
    return readNow(name);
  };

  const requireFree = async (names: readonly string[], finished: boolean): Promise<void> => {
    requireFreeNames(names, await namesIn(root), finished);
  };

  const entryOf = (note: AuditNote) => auditEntry(note, now(), options.as ?? null);

  const lockedKey = (name: string, lock: Pick<Lock, 'check'>, finished: boolean): LockedKey => {
    const changeWith = (steps: readonly Step[], notes: readonly AuditNote[]): Promise<void> => {
      const lines = notes.map((note): Step => ({ do: 'append', file: AUDIT_FILE, line: auditLine(entryOf(note)) }));
      // a full disk is noticed before anything old is touched, and no file that was not made is logged
      const onlyNew = steps.every((step) => step.do === 'create');
      return change(
        { root, name, lock, anyMode: options.anyMode },
        onlyNew ? [...steps, ...lines] : [...lines, ...steps],
      );
    };
    return {
      name,
      finished,
      read: () => readNow(name),
      requireFree: () => requireFree([name], finished),
      async save(record, note) {
        if (note !== undefined) return changeWith([recordStep(record)], [{ ...noteOn(note.action, record), ...note }]);
        const content = serialiseRecord(record);
        await lock.check();
        await replaceFile(files(record.name).record, content);
      },
      change: (steps, ...notes) => changeWith(steps, notes),
    };
  };

  const withLockFiles = async <T>(
    files: readonly LockFile[],
    work: (lock: Pick<Lock, 'check'>, finished: ReadonlySet<string>) => Promise<T>,
    wait = waitMs,
  ): Promise<T> => {
    const { signal, onWait } = options;
    await makePrivateFolder(root);
    const locks: Lock[] = [];
    const check = async () => void (await Promise.all(locks.map((lock) => lock.check())));
    try {
      for (const { id, what } of files) locks.push(await takeLock(root, id, { waitMs: wait, signal, onWait, what }));
      const finished = await finishChanges(
        root,
        files.map(({ id }) => id),
      );
      return await work({ check }, finished);
    } finally {
      await Promise.all(locks.map((lock) => lock.release()));
    }
  };

  const withLocks = <T>(
    names: readonly string[],
    work: (keys: readonly LockedKey[]) => Promise<T>,
    wait = waitMs,
  ): Promise<T> => {
    // all processes take locks in the same order
    const byId = new Map(names.map((name) => [foldName(requireKeyName(name)), name]));
    const files = [...byId]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([id, name]) => ({ id, what: `the key "${name}"` }));
    return withLockFiles(
      files,
      (lock, finished) => work(names.map((name) => lockedKey(name, lock, finished.has(foldName(name))))),
      wait,
    );
  };

  return {
    folder: root,
    now,
    files,
    read,
    requireFree: (...names) => requireFree(names.map(requireKeyName), false),
    withLock: (name, work) => withLocks([name], ([key]) => work(key as LockedKey)),
    withLocks: (names, work) => withLocks(names, work),
    withKeyLock: (fingerprint, work) => withLockFiles([keyLock(fingerprint)], work),
    async list() {
      const records: KeyRecord[] = [];
      const damaged: DamagedRecord[] = [];
      const breathe = createBreather();
      for (const name of recordedNames(await namesIn(root)).sort()) {
        if (!isKeyName(name)) continue;
        await breathe();
        try {
          records.push(await read(name));
        } catch (error) {
          if (!isDeribitKeysError(error)) throw error;
          // one that was there a moment ago was removed: that is no damage
          if (error.code !== 'ERR_NO_SUCH_NAME') damaged.push({ name, error });
        }
      }
      return { records, damaged };
    },
    async tidy() {
      const entries = (await namesIn(root).catch(() => [])).filter((entry) => entry.startsWith('.'));
      const unfinished = entries.filter((entry) => isLeftover(entry) || /\.(commit|lock)$/.test(entry));
      for (const id of new Set(unfinished.map(ownerOfLeftover))) {
        if (id === null || !(isKeyName(id) || KEY_LOCK.test(id) || TOKEN_LOCK.test(id))) continue;
        await withLockFiles([{ id, what: id }], async () => {}, 0).catch(() => {});
      }
    },
    audit: async (note) => appendAudit(root, entryOf(note)),
  };
}
