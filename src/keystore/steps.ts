import { rename, rm } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { DeribitKeysError } from '../errors.js';
import { isRecord, isText } from '../util/checks.js';
import { appendLines } from './audit-log.js';
import { makePrivateFolder, publish, statOrNull } from './files.js';

/** One step of a change. Paths are relative to the keystore; `create` never overwrites, `append` adds a line once. */
export type Step =
  | { readonly do: 'create'; readonly file: string; readonly content: string }
  | { readonly do: 'replace'; readonly file: string; readonly content: string }
  | { readonly do: 'append'; readonly file: string; readonly line: string }
  | { readonly do: 'move'; readonly from: string; readonly to: string }
  | { readonly do: 'delete'; readonly file: string };

/** A step as the log has it: contents are staged in files of their own. */
export type LoggedStep =
  | { readonly do: 'create' | 'replace'; readonly file: string; readonly staged: string }
  | Extract<Step, { do: 'append' | 'move' | 'delete' }>;

/** @throws `ERR_STATE` for a path that leads out of the keystore */
export function inside(root: string, file: string): string {
  if (posix.normalize(file) === file && !file.startsWith('..') && !file.startsWith('/')) return join(root, file);
  throw new DeribitKeysError('ERR_STATE', `a step of an unfinished change names a path outside the keystore ${root}`);
}

/** The folders whose names a step changes, relative to the keystore; without the keystore itself. */
export function foldersBelow(step: Step | LoggedStep): string[] {
  const files = step.do === 'move' ? [step.from, step.to] : [step.file];
  return files.map((file) => posix.dirname(file)).filter((folder) => folder !== '.');
}

/** Refuses a step that would pass through a symbolic link: it may lead out of the keystore. */
export async function requireNoLinks(root: string, step: Step | LoggedStep): Promise<void> {
  for (const folder of foldersBelow(step)) {
    const parts = folder.split('/');
    for (const [index] of parts.entries()) {
      const path = inside(root, parts.slice(0, index + 1).join('/'));
      if (!(await statOrNull(path))?.isSymbolicLink()) continue;
      throw new DeribitKeysError('ERR_PERMISSIONS', `${path} is a symbolic link: nothing is written through it`, {
        hint: 'inspect where it leads; then put a folder of your own in its place, or delete it',
      });
    }
  }
}

/** Whether two names are those of one file. */
export async function isSameFile(a: string, b: string): Promise<boolean> {
  const [one, other] = await Promise.all([statOrNull(a), statOrNull(b)]);
  return one !== null && other !== null && one.ino === other.ino && one.dev === other.dev;
}

/** Does one step of the change that is staged in `folder`; doing it twice does no harm. */
export async function applyStep(root: string, folder: string, step: LoggedStep): Promise<void> {
  await requireNoLinks(root, step);
  switch (step.do) {
    case 'create': {
      const [staged, target] = [join(folder, step.staged), inside(root, step.file)];
      // what was staged goes only when every step was done
      if ((await statOrNull(staged)) === null || (await isSameFile(staged, target))) return;
      if (dirname(target) !== root) await makePrivateFolder(dirname(target));
      await publish(staged, target);
      return;
    }
    case 'replace': {
      const staged = join(folder, step.staged);
      if ((await statOrNull(staged)) !== null) await rename(staged, inside(root, step.file));
      return;
    }
    case 'append':
      return appendLines(inside(root, step.file), step.line.split('\n'), { once: true });
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

function isLoggedStep(value: unknown): value is LoggedStep {
  if (!isRecord(value)) return false;
  const { do: what, file, staged, line, from, to } = value;
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

/** Reads the log of a change. @throws `ERR_STATE` where it is damaged */
export function parseSteps(path: string, text: string): readonly LoggedStep[] {
  let steps: unknown;
  try {
    steps = JSON.parse(text);
  } catch {
    steps = null;
  }
  if (Array.isArray(steps) && steps.every(isLoggedStep)) return steps;
  throw new DeribitKeysError('ERR_STATE', `${path} is damaged: the change that it describes cannot be finished`, {
    hint: 'inspect the files in its folder; if nothing in it is needed, delete the folder',
  });
}

/** The same steps, with lines for the same file that follow each other as one step. */
export function mergeAppends(steps: readonly LoggedStep[]): readonly LoggedStep[] {
  const merged: LoggedStep[] = [];
  for (const step of steps) {
    const last = merged.at(-1);
    if (step.do === 'append' && last?.do === 'append' && last.file === step.file) {
      merged[merged.length - 1] = { ...last, line: `${last.line}\n${step.line}` };
    } else merged.push(step);
  }
  return merged;
}
