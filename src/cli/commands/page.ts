import { createHash } from 'node:crypto';
import { access, readFile, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isDeribitKeysError } from '../../errors.js';
import { explaining, fileError, outsideKeystore } from '../../keystore/file-errors.js';
import { createFile, replaceFile, requireRegular, statOrNull } from '../../keystore/files.js';
import { notEmpty } from '../options.js';
import { fields } from '../output.js';
import type { Define } from '../program.js';

const FILE_NAME = 'deribit-keys.html';

interface PageFlags {
  readonly out: string;
  readonly force?: true;
}

/** The folder of this package: the nearest one above this file that has a package.json. */
async function packageFolder(from: string): Promise<string> {
  try {
    await access(join(from, 'package.json'));
    return from;
  } catch (error) {
    if (dirname(from) === from) throw error;
    return packageFolder(dirname(from));
  }
}

async function readPage(): Promise<Buffer> {
  const path = join(await packageFolder(import.meta.dirname), 'dist', 'page', FILE_NAME);
  try {
    return await readFile(path);
  } catch (error) {
    throw fileError(error, 'read', path).with({
      hint: 'install deribit-keys again; in a clone of its repository, run: npm run build',
    });
  }
}

/** The file that `path` names, behind any links. @throws `ERR_KEYSTORE_IO` for a folder, a pipe or a device */
async function requireReplaceable(path: string): Promise<string> {
  if ((await statOrNull(path)) === null) return path;
  return explaining('replace', path, async () => {
    requireRegular(path, await stat(path));
    return realpath(path);
  });
}

async function writePage(content: Buffer, { out, force }: PageFlags): Promise<void> {
  if (force === true) {
    return outsideKeystore(async () => replaceFile(await requireReplaceable(out), content, 0o644));
  }
  try {
    await createFile(out, content, 0o644);
  } catch (error) {
    if (!isDeribitKeysError(error, 'ERR_NAME_TAKEN')) throw error;
    throw error.with({ hint: 'choose another file with --out <file>, or replace this one with --force' });
  }
}

export const define: Define = (command, { look }) => {
  command
    .option('--out <file>', 'where to write it; - for stdout', notEmpty, FILE_NAME)
    .option('--force', 'replace an existing file')
    .examples('page', 'page --out /media/usb/deribit-keys.html --force')
    .action(
      look(async (cx, flags: PageFlags) => {
        const content = await readPage();
        const toStdout = flags.out === '-';
        if (toStdout && !cx.out.json) {
          cx.host.stdout.write(content);
          return;
        }
        if (!toStdout) await writePage(content, flags);
        const page = {
          file: toStdout ? null : flags.out,
          bytes: content.length,
          sha256: createHash('sha256').update(content).digest('hex'),
          ...(toStdout ? { content: content.toString('utf8') } : {}),
        };
        cx.out.result(page, () => fields(Object.entries(page)));
        cx.out.note('Open it in a browser: it works offline and sends nothing.');
      }),
    );
};
