import { stat } from 'node:fs/promises';
import { inspectKey, type KeyDescription, parsePublicKey } from '../../crypto/formats/index.js';
import { fingerprint } from '../../crypto/index.js';
import type { PublicKey } from '../../crypto/keys.js';
import type { Signer } from '../../crypto/signer.js';
import { DeribitKeysError, type ErrorCode, isDeribitKeysError } from '../../errors.js';
import { readFileOrNull } from '../../keystore/files.js';
import type { KeyFiles } from '../../keystore/keystore.js';
import { hasFileModes, octal } from '../../keystore/permissions.js';
import type { KeyRecord } from '../../keystore/record.js';
import { shellWord } from '../../util/text.js';
import type { WorkflowContext } from '../context.js';
import { asFound, type Finding, fixOf, type Notes, notesOn, ownCommand } from './finding.js';

/** What was found of a key's own files. */
export interface KeyView {
  readonly findings: readonly Finding[];
  /** Null where the key cannot sign, or is another than the record's: a finding says why. */
  readonly signer: Signer | null;
  /** The key's own, where it or the file of its public half can be read. */
  readonly publicKey: PublicKey | null;
}

/** Looks at the files of one key: can they be read, by whom, what are they, and do they belong to each other. */
export async function checkKey(context: WorkflowContext, record: KeyRecord): Promise<KeyView> {
  const notes = notesOn(record.name);
  const files = context.store.files(record.name);
  const { signer, failure } = await open(context, record);
  const own =
    record.signer === null
      ? await privateFile(files, record, failure)
      : failure === null
        ? [notes.good('signer', `${kindOf(record)}, in the ${record.signer.kind}`)]
        : [notes.bad('signer', failure.message, fixOf(failure))];
  const half = await publicHalf(files, record, failure);
  return {
    findings: [notes.good('record', `${record.state}, made at ${record.createdAt}`), ...own, half.finding],
    signer,
    publicKey: signer?.publicKey ?? half.key,
  };
}

/** The signer of a key, or why it cannot be opened. */
async function open(
  context: WorkflowContext,
  record: KeyRecord,
): Promise<{ readonly signer: Signer | null; readonly failure: DeribitKeysError | null }> {
  try {
    const signer = await context.signerOf(record);
    const differs = differenceFrom(record, signer.publicKey);
    if (differs === null) return { signer, failure: null };
    return { signer: null, failure: new DeribitKeysError('ERR_KEY_MISMATCH', differs) };
  } catch (error) {
    return { signer: null, failure: asFound(error) };
  }
}

/** In what the key is not the one of the record, or null. */
function differenceFrom(record: KeyRecord, key: PublicKey): string | null {
  const found = fingerprint(key);
  if (found !== record.fingerprint) {
    return `the key is not the record's: its fingerprint is ${found}, on record is ${record.fingerprint}`;
  }
  if (key.algorithm === record.algorithm && key.bits === record.bits) return null;
  return `the key is ${kindOf(key)}, the record says ${kindOf(record)}`;
}

/** `ed25519`, or `rsa, 3072 bits`. */
export function kindOf({ algorithm, bits }: Pick<KeyRecord, 'algorithm' | 'bits'>): string {
  return bits === null ? algorithm : `${algorithm}, ${bits} bits`;
}

async function privateFile(
  { privateKey: path, record: recordFile }: KeyFiles,
  record: KeyRecord,
  failure: DeribitKeysError | null,
): Promise<Finding[]> {
  const notes = notesOn(record.name);
  const found = await describe(path);
  const mode = await modeOf(path);
  const encrypted = found?.encrypted ?? record.encrypted;
  const good = (stage: Stage): Finding => {
    switch (stage) {
      case 'file':
        return notes.good(stage, path);
      case 'permissions':
        return notes.good(stage, mode);
      case 'format':
        return notes.good(stage, `${found?.format ?? 'a private key'}${encrypted ? ', encrypted' : ''}`);
      case 'passphrase':
        if (encrypted) return notes.good(stage, 'the passphrase opens it');
        // advice on a key that cannot be used would fail
        return failure !== null || record.state === 'retired'
          ? notes.good(stage, 'the private key is not encrypted')
          : notes.remark(
              stage,
              'the private key is not encrypted: whoever gets the file has the key',
              ownCommand('passphrase', record.name),
            );
      case 'strength':
        return notes.good(stage, kindOf(record));
      case 'record-matches':
        return encrypted === record.encrypted
          ? notes.good(stage, `fingerprint ${record.fingerprint}`)
          : notes.bad(
              stage,
              `the file is ${encrypted ? '' : 'not '}encrypted, the record says otherwise`,
              `perl -pi -e 's/("encrypted": *)\\w+/$1${encrypted}/' ${shellWord(recordFile)}`,
            );
    }
  };
  const another = ownCommand('generate', `${record.name}-2`);
  const fix = (stage: Stage, error: DeribitKeysError): string => {
    switch (stage) {
      case 'permissions':
        return fixOf(error);
      case 'passphrase':
        return `${ownCommand('doctor', record.name)} --passphrase-file <file>`;
      case 'strength':
        return another;
      default:
        return `put ${shellWord(path)} back from a backup; without one: ${another}`;
    }
  };
  return stageFindings({ notes, stages: STAGES, path, failure, good, fix });
}

/** What the file is, without opening it; null if that cannot be determined. */
export async function describe(path: string): Promise<KeyDescription | null> {
  try {
    const content = await readFileOrNull(path);
    return content === null ? null : await inspectKey(content);
  } catch (error) {
    asFound(error);
    return null;
  }
}

/** The mode of a file, for people. */
export async function modeOf(path: string): Promise<string> {
  if (!hasFileModes()) return 'this platform has no file modes';
  const stats = await stat(path).catch(() => null);
  return stats === null ? 'unknown' : `mode ${octal(stats.mode)}`;
}

async function publicHalf(
  files: KeyFiles,
  record: KeyRecord,
  failure: DeribitKeysError | null,
): Promise<{ readonly finding: Finding; readonly key: PublicKey | null }> {
  const notes = notesOn(record.name);
  // derived from a private key that is another's, it would be another's again
  const isOwn =
    record.signer === null &&
    (failure === null ||
      isDeribitKeysError(failure, 'ERR_PASSPHRASE_REQUIRED', 'ERR_PASSPHRASE_WRONG', 'ERR_PERMISSIONS'));
  const fix = isOwn
    ? `openssl pkey -in ${shellWord(files.privateKey)} -pubout -out ${shellWord(files.publicKey)}`
    : `put ${shellWord(files.publicKey)} back from a backup`;
  const bad = (detail: string) => ({ finding: notes.bad('public-key', detail, fix), key: null });
  try {
    const content = await readFileOrNull(files.publicKey);
    if (content === null) return bad(`there is no file ${files.publicKey}`);
    const key = await parsePublicKey(content);
    const found = fingerprint(key);
    if (found !== record.fingerprint) return bad(`${files.publicKey} is another key's (fingerprint ${found})`);
    return { finding: notes.good('public-key', 'the public half beside it is its own'), key };
  } catch (error) {
    return bad(`${files.publicKey}: ${asFound(error).message}`);
  }
}

/** The stages of opening a private key, in order: after one that fails, the others cannot be checked. */
export const STAGES = ['file', 'permissions', 'format', 'passphrase', 'strength', 'record-matches'] as const;
export type Stage = (typeof STAGES)[number];

const STAGE_OF: Partial<Readonly<Record<ErrorCode, Stage>>> = {
  ERR_PERMISSIONS: 'permissions',
  ERR_KEY_UNREADABLE: 'format',
  ERR_PASSPHRASE_REQUIRED: 'passphrase',
  ERR_PASSPHRASE_WRONG: 'passphrase',
  ERR_KEY_UNSUPPORTED: 'strength',
  ERR_KEY_INVALID: 'strength',
  ERR_KEY_MISMATCH: 'record-matches',
};

async function stageOf(error: DeribitKeysError, path: string): Promise<Stage> {
  const stage = STAGE_OF[error.code] ?? 'file';
  if (stage !== 'format') return stage;
  return (await readFileOrNull(path).catch(() => null)) === null ? 'file' : 'format';
}

/**
 * A finding for each of `stages`: good up to the one at which `failure` struck, skipped behind it. A passphrase that was
 * not given is no fault: that stage is skipped, too.
 */
export async function stageFindings(opening: {
  readonly notes: Notes;
  readonly stages: readonly Stage[];
  readonly path: string;
  readonly failure: DeribitKeysError | null;
  readonly good: (stage: Stage) => Finding;
  readonly fix: (stage: Stage, failure: DeribitKeysError) => string;
}): Promise<Finding[]> {
  const { notes, stages, path, failure, good, fix } = opening;
  if (failure === null) return stages.map(good);
  const failed = await stageOf(failure, path);
  const at = stages.indexOf(failed);
  return stages.map((stage, place) => {
    if (place < at) return good(stage);
    if (place > at) return notes.skipped(stage, `not checked: see "${failed}"`);
    const found = failure.code === 'ERR_PASSPHRASE_REQUIRED' ? notes.skipped : notes.bad;
    return found(stage, failure.message, fix(stage, failure));
  });
}
