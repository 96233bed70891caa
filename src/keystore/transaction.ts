import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { DeribitKeysError } from '../errors.js';
import { appendLine } from './audit-log.js';
import {
  errnoOf,
  explaining,
  fileError,
  flushFolder,
  makePrivateFolder,
  namesIn,
  publish,
  readFileOrNull,
  statOrNull,
  TEMPORARY_SUFFIX,
  temporaryPath,
  writeFlushed,
} from './files.js';
import type { Lock } from './lock.js';
import { foldName } from './names.js';
import { requireOwnChange } from './permissions.js';

/*
 * Several files change together or not at all: a redo log.
 *
 *   stage    .<name>.<random>.tmp/   every new content and the list of steps, flushed      (a crash here: dropped)
 *   commit   rename to .<name>.commit/                                                     (the one decisive moment)
 *   apply    each step, so that doing it twice does no harm                                (a crash here: redone)
 *   forget   delete .<name>.commit/
 *
 * Where a step fails before anything old was touched (only new files were made, or lines added), what was made is taken
 * back, and the log goes back to where a crash would drop it.
 *
 * A log is carried out only where nobody but this user or root can have written it, and no step passes through a
 * symbolic link below the keystore.
 */

/** One step of a change. Paths are relative to the keystore; `create` never overwrites, `append` adds a line once. */
export type Step =
  | { readonly do: 'create'; readonly file: string; readonly content: string }
  | { readonly do: 'replace'; readonly file: string; readonly content: string }
  | { readonly do: 'append'; readonly file: string; readonly line: string }
  | { readonly do: 'move'; readonly from: string; readonly to: string }
  | { readonly do: 'delete'; readonly file: string };

type LoggedStep =
  | { readonly do: 'create' | 'replace'; readonly file: string; readonly staged: string }
  | Extract<Step, { do: 'append' | 'move' | 'delete' }>;

const LOG = 'steps.json';
const MAX_LOG_BYTES = 16 * 1024 * 1024;
const commitFolder = (root: string, name: string) => join(root, `.${foldName(name)}.commit`);

function inside(root: string, file: string): string {
  if (posix.normalize(file) === file && !file.startsWith('..') && !file.startsWith('/')) return join(root, file);
  throw new DeribitKeysError('ERR_STATE', `a step of an unfinished change names a path outside the keystore ${root}`);
}

/** The folders whose names a step changes, relative to the keystore; without the keystore itself. */
function foldersBelow(step: Step | LoggedStep): string[] {
  const files = step.do === 'move' ? [step.from, step.to] : [step.file];
  return files.map((file) => posix.dirname(file)).filter((folder) => folder !== '.');
}

/** Refuses a step that would pass through a symbolic link: it may lead out of the keystore. */
async function requireNoLinks(root: string, step: Step | LoggedStep): Promise<void> {
  for (const folder of foldersBelow(step)) {
    const parts = folder.split('/');
    for (const [index] of parts.entries()) {
      const path = inside(root, parts.slice(0, index + 1).join('/'));
      if (!(await statOrNull(path))?.isSymbolicLink()) continue;
      throw new DeribitKeysError('ERR_PERMISSIONS', `${path} is a symbolic link: nothing is written through it`, {
        hint: 'look where it leads; then put a folder of your own in its place, or delete it',
      });
    }
  }
}

async function isSameFile(a: string, b: string): Promise<boolean> {
  const [one, other] = await Promise.all([statOrNull(a), statOrNull(b)]);
  return one !== null && other !== null && one.ino === other.ino && one.dev === other.dev;
}

async function applyStep(root: string, folder: string, step: LoggedStep): Promise<void> {
  await requireNoLinks(root, step);
  switch (step.do) {
    case 'create': {
      const [staged, target] = [join(folder, step.staged), inside(root, step.file)];
      // what was staged goes only when every step was done
      if ((await statOrNull(staged)) === null || (await isSameFile(staged, target))) return;
      await makePrivateFolder(dirname(target));
      await publish(staged, target);
      return;
    }
    case 'replace': {
      const staged = join(folder, step.staged);
      if ((await statOrNull(staged)) !== null) await rename(staged, inside(root, step.file));
      return;
    }
    case 'append':
      return appendLine(inside(root, step.file), step.line, { once: true });
    case 'move': {
      const from = inside(root, step.from);
      if ((await statOrNull(from)) === null) return;
      await makePrivateFolder(dirname(inside(root, step.to)));
      await rename(from, inside(root, step.to));
      return;
    }
    case 'delete':
      await rm(inside(root, step.file), { force: true });
  }
}

/**
 * Whether what was begun can be taken back: nothing old was touched, and every new file is still known as ours by what is
 * staged. A change that another command left may be all but done, and its key in use: it is taken back only where one of
 * its names went to somebody else's file, before its record was there.
 */
async function canUndo(folder: string, begun: readonly LoggedStep[], error: unknown, fresh: boolean): Promise<boolean> {
  if (!fresh && errnoOf(error) !== 'EEXIST') return false;
  for (const step of begun) {
    if (step.do === 'append') continue;
    if (step.do !== 'create' || (await statOrNull(join(folder, step.staged))) === null) return false;
  }
  return true;
}

/** Takes back new files: those alone that are the staged ones. Then the log is dropped, at one moment. */
async function undo(root: string, folder: string, begun: readonly LoggedStep[]): Promise<void> {
  for (const step of begun) {
    if (step.do !== 'create') continue;
    const target = inside(root, step.file);
    if (await isSameFile(join(folder, step.staged), target)) await rm(target, { force: true });
  }
  const dropped = temporaryPath(folder);
  await rename(folder, dropped);
  await flushFolder(root);
  await rm(dropped, { recursive: true, force: true });
}

/** Does what was decided, then forgets the log. `fresh`: by the command that decided it. */
async function applyDecided(
  root: string,
  folder: string,
  steps: readonly LoggedStep[],
  { fresh }: { readonly fresh: boolean },
): Promise<void> {
  const begun: LoggedStep[] = [];
  try {
    await flushFolder(root);
    for (const step of steps) {
      begun.push(step);
      await applyStep(root, folder, step);
    }
    for (const touched of new Set([root, ...steps.flatMap(foldersBelow).map((below) => inside(root, below))])) {
      if ((await statOrNull(touched)) !== null) await flushFolder(touched);
    }
  } catch (error) {
    if (!(await canUndo(folder, begun, error, fresh))) throw unfinished(error, root);
    await undo(root, folder, begun);
    const last = begun.at(-1);
    if (errnoOf(error) === 'EEXIST' && last?.do === 'create') throw taken(last.file);
    throw fileError(error, 'finish the change in', root);
  }
  await rm(folder, { recursive: true, force: true });
}

function unfinished(error: unknown, root: string): DeribitKeysError {
  const { code, message } = fileError(error, 'finish the change in', root);
  const hint = 'the change is decided: mend that, and the next command on this keystore ends it';
  return new DeribitKeysError(code, message, { hint, cause: error });
}

function taken(file: string): DeribitKeysError {
  return new DeribitKeysError('ERR_NAME_TAKEN', `${file} exists already: nothing is overwritten`, {
    hint: 'take another name, or move that file away',
  });
}

/** Writes the contents and the list of steps to a new folder. */
async function stage(staging: string, steps: readonly Step[]): Promise<LoggedStep[]> {
  const logged: LoggedStep[] = [];
  await mkdir(staging, { mode: 0o700 });
  for (const [index, step] of steps.entries()) {
    if (step.do !== 'create' && step.do !== 'replace') {
      logged.push(step);
      continue;
    }
    const staged = String(index);
    await writeFlushed(join(staging, staged), step.content);
    logged.push({ do: step.do, file: step.file, staged });
  }
  await writeFlushed(join(staging, LOG), JSON.stringify(logged));
  await flushFolder(staging);
  return logged;
}

/**
 * Makes all `steps` happen or none, also through a crash: what is decided and not done is done by {@link finishChanges}.
 * @throws `ERR_NAME_TAKEN`, `ERR_LOCK_LOST`, `ERR_PERMISSIONS`, `ERR_KEYSTORE_IO`; nothing is changed then, unless the hint says that the
 *   change is decided
 */
export async function change(
  root: string,
  name: string,
  lock: Pick<Lock, 'check'>,
  steps: readonly Step[],
): Promise<void> {
  const folder = commitFolder(root, name);
  const staging = temporaryPath(folder);
  const logged = await explaining('write', staging, async () => {
    try {
      const staged = await stage(staging, steps);
      for (const step of steps) {
        await requireNoLinks(root, step);
        if (step.do === 'create' && (await statOrNull(inside(root, step.file))) !== null) throw taken(step.file);
      }
      await lock.check();
      await rename(staging, folder);
      return staged;
    } catch (error) {
      await rm(staging, { recursive: true, force: true }).catch(() => {});
      throw error;
    }
  });
  await applyDecided(root, folder, logged, { fresh: true });
}

const isText = (value: unknown): value is string => typeof value === 'string';

function isLoggedStep(value: unknown): value is LoggedStep {
  if (typeof value !== 'object' || value === null) return false;
  const { do: what, file, staged, line, from, to } = value as Record<string, unknown>;
  switch (what) {
    case 'create':
    case 'replace':
      return isText(file) && isText(staged) && /^\d{1,6}$/.test(staged);
    case 'append':
      return isText(file) && isText(line);
    case 'move':
      return isText(from) && isText(to);
    case 'delete':
      return isText(file);
    default:
      return false;
  }
}

function parseLog(folder: string, text: string): LoggedStep[] {
  let steps: unknown;
  try {
    steps = JSON.parse(text);
  } catch {
    steps = null;
  }
  if (Array.isArray(steps) && steps.every(isLoggedStep)) return steps;
  throw new DeribitKeysError(
    'ERR_STATE',
    `${join(folder, LOG)} is damaged: the change that it describes cannot be ended`,
    { hint: 'look at the files in that folder; when nothing in it is needed, delete it' },
  );
}

/** Whether a change of `name` is decided but not yet done. */
export async function hasUnfinishedChange(root: string, name: string): Promise<boolean> {
  return (await statOrNull(commitFolder(root, name))) !== null;
}

function noFolder(path: string): DeribitKeysError {
  return new DeribitKeysError('ERR_PERMISSIONS', `${path} is no folder of ours: what it leads to is not carried out`, {
    hint: 'look at what it is, then delete it',
  });
}

/**
 * Under the locks of all `names`: ends changes that were decided, drops what was only begun. Returns the folded names of
 * which one was ended.
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
    else await applyDecided(root, folder, parseLog(folder, log.toString('utf8')), { fresh: false });
  });
  return true;
}

/** Whether a name in the keystore's folder is one of ours that a dead command may have left. */
export function isLeftover(entry: string): boolean {
  return entry.startsWith('.') && entry.endsWith(TEMPORARY_SUFFIX);
}

const LEFTOVER = /^\.{1,2}(?<name>[a-z0-9_][a-z0-9_.-]*?)\.(?:commit|lock|json)\.[0-9a-f]{12}\.tmp$/i;

/** The folded name of the key that a leftover belongs to, or null where it cannot be told. */
export function ownerOfLeftover(entry: string): string | null {
  if (/\.(commit|lock)$/.test(entry)) return foldName(entry.slice(1, entry.lastIndexOf('.')));
  const owner = LEFTOVER.exec(entry)?.groups?.name;
  return owner === undefined ? null : foldName(owner);
}
