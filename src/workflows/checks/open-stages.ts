import type { DeribitKeysError, ErrorCode } from '../../errors.js';
import { readFileOrNull } from '../../keystore/files.js';
import type { Finding, Notes } from './finding.js';

/** The stages of opening a private key, in their order: one fails, and those behind it cannot be told. */
export type Stage = 'file' | 'permissions' | 'format' | 'passphrase' | 'strength' | 'record-matches';

const STAGE_OF: Partial<Readonly<Record<ErrorCode, Stage>>> = {
  ERR_PERMISSIONS: 'permissions',
  ERR_KEY_UNREADABLE: 'format',
  ERR_PASSPHRASE_REQUIRED: 'passphrase',
  ERR_PASSPHRASE_WRONG: 'passphrase',
  ERR_KEY_UNSUPPORTED: 'strength',
  ERR_KEY_INVALID: 'strength',
  ERR_KEY_MISMATCH: 'record-matches',
};

/** The stage at which opening the key in `path` failed with `error`. */
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
    if (place > at) return notes.skipped(stage, `not looked at: see "${failed}"`);
    const found = failure.code === 'ERR_PASSPHRASE_REQUIRED' ? notes.skipped : notes.bad;
    return found(stage, failure.message, fix(stage, failure));
  });
}
