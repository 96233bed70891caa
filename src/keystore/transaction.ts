import { lstat, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DeribitKeysError } from '../errors.js';
import { errnoOf, explaining, fileError } from './file-errors.js';
import {
  commitFolder,
  flushFolder,
  namesIn,
  readFileOrNull,
  statOrNull,
  TEMPORARY_SUFFIX,
  temporaryPath,
  writeFlushed,
} from './files.js';
import type { Lock } from './lock.js';
import { fileTaken, foldName } from './names.js';
import { requireKeptMode, requireOwnChange, requireSafeFolder } from './permissions.js';
import {
  applyStep,
  foldersBelow,
  inside,
  isSameFile,
  type LoggedStep,
  mergeAppends,
  parseSteps,
  requireNoLinks,
  type Step,
} from './steps.js';

/*
 * Several files change together or not at all: a redo log.
 *
 *   stage    .<name>.<random>.tmp/   every new content and the list of steps, flushed      (a crash here: dropped)
 *   commit   rename to .<name>.commit/                                                     (the one decisive moment)
 *   apply    each step, so that doing it twice does no harm                                (a crash here: redone)
 *   forget   delete .<name>.commit/
 *
 * If a step fails before anything old was touched (only new files were made, or lines added), what was made is removed
 * again, and the log is dropped.
 *
 * A log is carried out only if nobody but this user or root can have written it, and no step passes through a symbolic
 * link below the keystore.
 */

const LOG = 'steps.json';
const MAX_LOG_BYTES = 16 * 1024 * 1024;

/**
 * Whether what was started can be undone: nothing old was touched, and every new file is still known as ours by what is
 * staged. A change that another command left may be all but done, and its key in use: it is undone only if one of its names
 * went to another file before its record was there.
 */
async function canUndo(
  folder: string,
  { begun, error, fresh }: { readonly begun: readonly LoggedStep[]; readonly error: unknown; readonly fresh: boolean },
): Promise<boolean> {
  if (!fresh && errnoOf(error) !== 'EEXIST') return false;
  for (const step of begun) {
    if (step.do === 'append') continue;
    if (step.do !== 'create' || (await statOrNull(join(folder, step.staged))) === null) return false;
  }
  return true;
}

/** Removes new files, if they are the staged ones. Then the log is dropped. */
async function undo(root: string, folder: string, begun: readonly LoggedStep[]): Promise<void> {
  for (const step of begun) {
    if (step.do !== 'create') continue;
    const target = inside(root, step.file);
    if (await isSameFile(join(folder, step.staged), target)) await rm(target, { force: true });
  }
  await forget(root, folder, { flush: true });
}

/** Does what was decided, then drops the log. `fresh`: by the command that decided it. */
async function applyDecided(
  root: string,
  folder: string,
  { steps, fresh }: { readonly steps: readonly LoggedStep[]; readonly fresh: boolean },
): Promise<void> {
  const begun: LoggedStep[] = [];
  try {
    await flushFolder(root);
    for (const step of mergeAppends(steps)) {
      begun.push(step);
      await applyStep(root, folder, step);
    }
    for (const touched of new Set([root, ...steps.flatMap(foldersBelow).map((below) => inside(root, below))])) {
      if ((await statOrNull(touched)) !== null) await flushFolder(touched);
    }
  } catch (error) {
    if (!(await canUndo(folder, { begun, error, fresh }))) throw unfinished(error, root);
    await undo(root, folder, begun);
    const last = begun.at(-1);
    if (errnoOf(error) === 'EEXIST' && last?.do === 'create') throw fileTaken(last.file);
    throw fileError(error, 'finish the change in', root);
  }
  await forget(root, folder).catch(() => {
    // all is done: where the log cannot be dropped, the next command does the same again, which does no harm
  });
}

/** Drops the log of a change, at one moment. */
async function forget(root: string, folder: string, { flush = false } = {}): Promise<void> {
  const dropped = temporaryPath(folder);
  await rename(folder, dropped);
  if (flush) await flushFolder(root);
  await rm(dropped, { recursive: true, force: true });
}

function unfinished(error: unknown, root: string): DeribitKeysError {
  const { code, message } = fileError(error, 'finish the change in', root);
  const hint = 'the change is recorded: fix that, and the next command on this keystore finishes it';
  return new DeribitKeysError(code, message, { hint, cause: error });
}

/** How many files are written and flushed at the same time. */
const WRITERS = 16;

/** Writes the contents and the list of steps to a new folder. */
async function stage(staging: string, steps: readonly Step[]): Promise<readonly LoggedStep[]> {
  await mkdir(staging, { mode: 0o700 });
  const contents: { readonly path: string; readonly content: string }[] = [];
  const logged = steps.map((step, index): LoggedStep => {
    if (step.do !== 'create' && step.do !== 'replace') return step;
    const staged = String(index);
    contents.push({ path: join(staging, staged), content: step.content });
    return { do: step.do, file: step.file, staged };
  });
  contents.push({ path: join(staging, LOG), content: JSON.stringify(logged) });
  for (let at = 0; at < contents.length; at += WRITERS) {
    const batch = contents.slice(at, at + WRITERS).map(({ path, content }) => writeFlushed(path, content));
    // wait for all before a failure is reported: nothing may be written to a folder that is being removed
    for (const result of await Promise.allSettled(batch)) if (result.status === 'rejected') throw result.reason;
  }
  await flushFolder(staging);
  return logged;
}

const createsPrivateKey = (step: Step) =>
  step.do === 'create' && step.file.endsWith('.pem') && !step.file.endsWith('.pub.pem');

/** What a change is made in. */
interface ChangeContext {
  readonly root: string;
  /** The key whose lock is held, after which the log is named. */
  readonly name: string;
  readonly lock: Pick<Lock, 'check'>;
  /** Whether a file system that ignores modes is accepted, and a folder in which others can replace files. */
  readonly anyMode?: boolean | undefined;
}

/**
 * Makes all `steps` happen or none, also through a crash: what is decided and not done is done by {@link finishChanges}.
 * @throws `ERR_NAME_TAKEN`, `ERR_LOCK_LOST`, `ERR_PERMISSIONS`, `ERR_KEYSTORE_IO`; nothing is changed then, unless the
 *   hint says that the change is recorded
 */
export async function change(
  { root, name, lock, anyMode = false }: ChangeContext,
  steps: readonly Step[],
): Promise<void> {
  const folder = commitFolder(root, name);
  const staging = temporaryPath(folder);
  const logged = await explaining('write', staging, async () => {
    try {
      const staged = await stage(staging, steps);
      if (!anyMode) {
        for (const path of [staging, join(staging, LOG)]) requireKeptMode(path, await lstat(path), root);
        // after the modes: where they are not kept, a chmod changes nothing
        if (steps.some(createsPrivateKey)) requireSafeFolder(root);
      }
      for (const step of steps) {
        await requireNoLinks(root, step);
        if (step.do === 'create' && (await statOrNull(inside(root, step.file))) !== null) throw fileTaken(step.file);
      }
      await lock.check();
      await rename(staging, folder);
      return staged;
    } catch (error) {
      await rm(staging, { recursive: true, force: true }).catch(() => {});
      throw error;
    }
  });
  await applyDecided(root, folder, { steps: logged, fresh: true });
}

function noFolder(path: string): DeribitKeysError {
  const message = `${path} is not a folder of this keystore: what it leads to is not carried out`;
  const hint = 'inspect what it is, then delete it';
  return new DeribitKeysError('ERR_PERMISSIONS', message, { hint });
}

/**
 * Under the locks of all `names`: finishes changes that were decided, drops what was only begun. Returns the folded names
 * of which one was finished.
 * @throws `ERR_PERMISSIONS` for a change that another user may have prepared, `ERR_STATE`, `ERR_KEYSTORE_IO`
 */
export async function finishChanges(root: string, names: readonly string[]): Promise<ReadonlySet<string>> {
  const owners = new Set(names.map(foldName));
  for (const entry of await namesIn(root)) {
    if (isLeftover(entry) && owners.has(ownerOfLeftover(entry) ?? '')) {
      await rm(join(root, entry), { recursive: true, force: true }).catch(() => {});
    }
  }
  const finished = new Set<string>();
  for (const owner of owners) if (await finishChange(root, owner)) finished.add(owner);
  return finished;
}

async function finishChange(root: string, name: string): Promise<boolean> {
  const folder = commitFolder(root, name);
  const found = await statOrNull(folder);
  if (found === null) return false;
  if (!found.isDirectory()) throw noFolder(folder);
  requireOwnChange(folder, found);
  await explaining('finish the change in', root, async () => {
    const log = await readFileOrNull(join(folder, LOG), MAX_LOG_BYTES, (stats) => requireOwnChange(folder, stats));
    // the list goes only when all steps were done
    if (log === null) await rm(folder, { recursive: true, force: true });
    else await applyDecided(root, folder, { steps: parseSteps(join(folder, LOG), log.toString('utf8')), fresh: false });
  });
  return true;
}

/** Whether a name in the keystore's folder is one of ours that a dead command may have left. */
export function isLeftover(entry: string): boolean {
  return entry.startsWith('.') && entry.endsWith(TEMPORARY_SUFFIX);
}

const LEFTOVER = /^\.{1,2}(?<name>[a-z0-9_][a-z0-9_.-]*?)\.(?:commit|lock|json)\.[0-9a-f]{12}\.tmp$/i;

/** The folded name of the key that a leftover belongs to, or null if that is unknown. */
export function ownerOfLeftover(entry: string): string | null {
  if (/\.(commit|lock)$/.test(entry)) return foldName(entry.slice(1, entry.lastIndexOf('.')));
  const owner = LEFTOVER.exec(entry)?.groups?.name;
  return owner === undefined ? null : foldName(owner);
}
