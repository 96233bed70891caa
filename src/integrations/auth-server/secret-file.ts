import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileError, makePrivateFolder, writeFlushed } from '../../keystore/files.js';

/** A file with a secret, as long as its maker runs. */
export interface SecretFile {
  readonly path: string;
  /** Deletes the file, where it still holds this secret. */
  remove(): Promise<void>;
}

/**
 * Writes `secret` into a new file (0600) at `path`, or under a name of its own in `folder`. It is deleted by `remove`,
 * and at the latest when the process exits. Throws `ERR_KEYSTORE_IO`, also where a file is there already.
 */
export async function createSecretFile(folder: string, path: string | undefined, secret: string): Promise<SecretFile> {
  const whole =
    path === undefined ? join(folder, `.auth-server.${randomBytes(4).toString('hex')}.secret`) : resolve(path);
  if (path === undefined) await makePrivateFolder(folder);
  await writeFlushed(whole, `${secret}\n`).catch((error: unknown) => {
    throw fileError(error, 'write the secret to', whole);
  });
  const onExit = () => rmSync(whole, { force: true });
  process.on('exit', onExit);
  return {
    path: whole,
    async remove() {
      process.off('exit', onExit);
      const content = await readFile(whole, 'utf8').catch(() => null);
      if (content === `${secret}\n`) await rm(whole, { force: true });
    },
  };
}
