import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DeribitKeysError } from '../errors.js';
import type { Sandbox } from '../sandbox/index.js';

/** The files of `sandbox --init`, ready to be used as the README does. */
export interface SandboxFolder {
  readonly stateFile: string;
  readonly caFile: string;
  /** The commands that set the environment, for `.` (source). */
  readonly envFile: string;
  readonly secretFile: string;
  readonly tfaSecretFile: string;
  readonly keysDir: string;
}

/**
 * Makes the folder, 0700, or takes the one of an earlier run.
 * @throws `ERR_USAGE` where files of that name are there that no sandbox wrote
 */
export function openSandboxFolder(folder: string): SandboxFolder {
  const path = (name: string) => resolve(folder, name);
  const files: SandboxFolder = {
    stateFile: path('state.json'),
    caFile: path('ca.pem'),
    envFile: path('env'),
    secretFile: path('secret.txt'),
    tfaSecretFile: path('tfa-secret.txt'),
    keysDir: path('keys'),
  };
  const { stateFile, envFile, secretFile, tfaSecretFile } = files;
  const inTheWay = [envFile, secretFile, tfaSecretFile].find((file) => existsSync(file));
  if (!existsSync(stateFile) && inTheWay !== undefined) {
    throw new DeribitKeysError('ERR_USAGE', `${inTheWay} exists, and no sandbox wrote it`, {
      hint: `name another folder: deribit-keys sandbox --init ${join(folder, 'sandbox')}`,
    });
  }
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw notWritable(folder, cause);
  }
  return files;
}

/** Writes what is only known once the sandbox runs. @throws `ERR_KEYSTORE_IO` */
export function writeSandboxFolder(files: SandboxFolder, sandbox: Sandbox): void {
  const { clientId, clientSecret, tfaSecret, wsUrl, caFile } = sandbox;
  const variables: Readonly<Record<string, string | null>> = {
    DERIBIT_KEYS_URL: wsUrl,
    DERIBIT_KEYS_DIR: files.keysDir,
    DERIBIT_KEYS_CA_FILE: caFile,
    DERIBIT_TFA_SECRET: tfaSecret,
    ADMIN_ID: clientId,
  };
  const lines = Object.entries(variables).flatMap(([name, value]) =>
    value === null ? [`unset ${name}`] : [`export ${name}=${quoted(value)}`],
  );
  writePrivately(files.secretFile, `${clientSecret}\n`);
  writePrivately(
    files.envFile,
    `# The sandbox of deribit-keys, for a POSIX shell: . ${files.envFile}\n${lines.join('\n')}\n`,
  );
  if (tfaSecret === null) rmSync(files.tfaSecretFile, { force: true });
  else writePrivately(files.tfaSecretFile, `${tfaSecret}\n`);
}

function writePrivately(file: string, text: string): void {
  try {
    rmSync(file, { force: true });
    writeFileSync(file, text, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    throw notWritable(file, cause);
  }
}

function notWritable(path: string, cause: unknown): DeribitKeysError {
  return new DeribitKeysError('ERR_KEYSTORE_IO', `${path} cannot be written`, {
    cause,
    hint: 'name a folder that you may write to',
  });
}

/** In single quotes of a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
