import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { DeribitKeysError } from '../errors.js';
import {
  errnoOf,
  explaining,
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

/*
 * Several files change together or not at all: a redo log.
 *
 *   stage    .<name>.<random>.tmp/   every new content and the list of steps, flushed      (a crash here: dropped)
 *   commit   rename to .<name>.commit/                                                     (the one decisive moment)
 *   apply    each step, so that doing it twice does no harm                                (a crash here: redone)
 *   forget   delete .<name>.commit/
 */

/** One step of a change. Paths are relative to the keystore; `create` and `copy` never overwrite. */
export type Step =
  | { readonly do: 'create'; readonly file: string; readonly content: string }
  | { readonly do: 'replace'; readonly file: string; readonly content: string }
  | { readonly do: 'copy'; readonly from: string; readonly to: string }
  | { readonly do: 'move'; readonly from: string; readonly to: string }
  | { readonly do: 'delete'; readonly file: string };

type LoggedStep =
  | { readonly do: 'create' | 'replace'; readonly file: string; readonly staged: string }
  | Extract<Step, { do: 'copy' | 'move' | 'delete' }>;

const LOG = 'steps.json';
const commitFolder = (root: string, name: string) => join(root, `.${foldName(name)}.commit`);

function inside(root: string, file: unknown): string {
  if (typeof file !== 'string' || posix.normalize(file) !== file || file.startsWith('..') || file.startsWith('/')) {
    throw new DeribitKeysError('ERR_STATE', `a step of an unfinished change names a path outside the keystore ${root}`);
  }
  return join(root, file);
}

/** The files whose names must be free before the change is decided. */
function mustBeFree(steps: readonly Step[]): string[] {
  return steps.flatMap((step) => (step.do === 'create' ? [step.file] : step.do === 'copy' ? [step.to] : []));
}

async function applyStep(root: string, folder: string, step: LoggedStep): Promise<void> {
  switch (step.do) {
    case 'create': {
      const [staged, target] = [join(folder, step.staged), inside(root, step.file)];
      await makePrivateFolder(dirname(target));
      await publish(staged, target).catch(async (error: unknown) => {
        const [there, ours] = await Promise.all([stat(target).catch(() => null), stat(staged).catch(() => null)]);
        // what was staged goes only when every step was done
        if (ours !== null && there?.ino !== ours.ino) throw error;
      });
      return;
    }
    case 'replace': {
      const staged = join(folder, step.staged);
      if ((await statOrNull(staged)) !== null) await rename(staged, inside(root, step.file));
      return;
    }
    case 'copy': {
      const to = inside(root, step.to);
      const content = (await statOrNull(to)) === null ? await readFileOrNull(inside(root, step.from)) : null;
      if (content === null) return;
      const temporary = temporaryPath(join(root, `.${foldName(posix.basename(step.to))}.commit`));
      await writeFlushed(temporary, content);
      try {
        await publish(temporary, to);
      } finally {
        await rm(temporary, { force: true });
      }
      return;
    }
    case 'move': {
      const from = inside(root, step.from);
      if ((await statOrNull(from)) === null) return;
      await makePrivateFolder(dirname(inside(root, step.to)));
      await rename(from, inside(root, step.to));
      return;
    }
    case 'delete':
      await rm(inside(root, step.file), { force: true });
      return;
    default:
      throw new DeribitKeysError('ERR_STATE', `an unfinished change in ${folder} has a step of an unknown kind`);
  }
}

/**
 * Does what was decided, then forgets the log. Where all that was to be done is new files, and one of their names is
 * not free after all, none of them stays.
 */
async function applyDecided(root: string, folder: string, steps: readonly LoggedStep[]): Promise<void> {
  try {
    for (const step of steps) await applyStep(root, folder, step);
    const folders = new Set([root]);
    for (const step of steps) {
      if (step.do === 'move' || step.do === 'copy') folders.add(dirname(inside(root, step.to)));
    }
    for (const touched of folders) if ((await statOrNull(touched)) !== null) await flushFolder(touched);
  } catch (error) {
    if (!steps.every((step) => step.do === 'create')) throw error;
    await undoCreates(root, folder, steps);
    if (errnoOf(error) === 'EEXIST') throw taken('a file of that name');
    throw error;
  }
  await rm(folder, { recursive: true, force: true });
}

/** Takes back a change of which a name was not free after all: only what it made itself. */
async function undoCreates(root: string, folder: string, steps: readonly LoggedStep[]): Promise<void> {
  for (const step of steps) {
    if (step.do !== 'create') continue;
    const target = inside(root, step.file);
    const [there, ours] = await Promise.all([stat(target).catch(() => null), stat(join(folder, step.staged))]);
    if (there?.ino === ours.ino) await rm(target, { force: true });
  }
  await rm(folder, { recursive: true, force: true });
}

function taken(file: string): DeribitKeysError {
  return new DeribitKeysError('ERR_NAME_TAKEN', `${file} exists already: nothing is overwritten`, {
    hint: 'take another name, or move that file away',
  });
}

/**
 * Makes all `steps` happen or none, also through a crash: what is decided and not done is done by {@link finishChange}.
 * @throws `ERR_NAME_TAKEN`, `ERR_LOCK_LOST`, `ERR_KEYSTORE_IO`; nothing is changed then.
 */
export async function change(root: string, name: string, lock: Lock, steps: readonly Step[]): Promise<void> {
  const staging = temporaryPath(commitFolder(root, name));
  const folder = commitFolder(root, name);
  const logged: LoggedStep[] = [];
  await explaining('write', staging, async () => {
    await mkdir(staging, { mode: 0o700 });
    try {
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
      for (const file of mustBeFree(steps)) {
        if ((await statOrNull(inside(root, file))) !== null) throw taken(file);
      }
      await lock.check();
      await rename(staging, folder);
      await flushFolder(root);
    } catch (error) {
      await rm(staging, { recursive: true, force: true }).catch(() => {});
      throw error;
    }
  });
  await explaining('finish the change in', root, () => applyDecided(root, folder, logged));
}

function parseLog(folder: string, text: string): LoggedStep[] {
  try {
    return JSON.parse(text) as LoggedStep[];
  } catch (error) {
    throw new DeribitKeysError(
      'ERR_STATE',
      `${join(folder, LOG)} is damaged: the change that it describes cannot be ended`,
      {
        cause: error,
        hint: 'look at the files in that folder; when nothing in it is needed, delete it',
      },
    );
  }
}

/** Whether a change of `name` is decided but not yet done. */
export async function hasUnfinishedChange(root: string, name: string): Promise<boolean> {
  return (await statOrNull(commitFolder(root, name))) !== null;
}

/** Under the lock of `name`: ends a change that was decided, drops what was only begun. Gives whether one was ended. */
export async function finishChange(root: string, name: string): Promise<boolean> {
  for (const entry of await namesIn(root)) {
    if (isLeftover(entry) && ownerOfLeftover(entry) === foldName(name)) {
      await rm(join(root, entry), { recursive: true, force: true }).catch(() => {});
    }
  }
  const folder = commitFolder(root, name);
  if ((await statOrNull(folder)) === null) return false;
  await explaining('finish the change in', folder, async () => {
    const log = await readFileOrNull(join(folder, LOG));
    // the list is the last thing deleted with its folder; without it all steps were done
    if (log === null) await rm(folder, { recursive: true, force: true });
    else await applyDecided(root, folder, parseLog(folder, log.toString('utf8')));
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
