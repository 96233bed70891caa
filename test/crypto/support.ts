import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Engine } from '../../src/crypto/engine/engine.js';
import { engine as realNative } from '../../src/crypto/engine/native.js';
import { engine as realPortable } from '../../src/crypto/engine/portable.js';
import { generateKeyPair } from '../../src/crypto/generate.js';
import type { PrivateKey } from '../../src/crypto/keys.js';
import { loadPkcs8Pem } from '../../src/crypto/pem.js';
import type { DeribitKeysError, ErrorCode } from '../../src/errors.js';
import { engine as native, remembering } from '../support/engine.js';
import { errorOf } from '../support/outcomes.js';

const portable = remembering(realPortable);

export { native, portable };
/** Both engines, for `describe.each`. */
export const ENGINES: readonly Engine[] = [native, portable];
/** Both as users have them: their salts are random, and they remember nothing. */
export const REAL_ENGINES: readonly Engine[] = [realNative, realPortable];

export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function hex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'hex'));
}

/** The error with which `run` fails, which must be ours and have `code`. */
export async function failure(code: ErrorCode, run: () => unknown): Promise<DeribitKeysError> {
  const error = await errorOf(run);
  expect(error.code).toBe(code);
  expect(error.hint).toBeTruthy();
  return error;
}

const rsaKeys = new Map<number, Promise<PrivateKey>>();

/** A key file that another tool made; see `test/vectors/README.md`. */
export function keyFile(name: string): Uint8Array {
  return new Uint8Array(readFileSync(new URL(`../vectors/keys/${name}`, import.meta.url)));
}

/**
 * An RSA key that tests share to which any will do: the same one in all files of a worker, and stored for the longer ones,
 * since making one takes long.
 */
export function rsaKey(bits: 2048 | 3072 | 4096 = 2048): Promise<PrivateKey> {
  const make = () =>
    bits === 2048
      ? generateKeyPair({ type: 'rsa', bits }, native)
      : loadPkcs8Pem(new TextDecoder().decode(keyFile(`rsa-${bits}.pem`)), native);
  const key = rsaKeys.get(bits) ?? make();
  rsaKeys.set(bits, key);
  return key;
}

/** Whether `program` can be run here; tests that need it are skipped otherwise. */
export function has(program: string, ...versionArguments: readonly string[]): boolean {
  return spawnSync(program, versionArguments).status === 0;
}

/** A folder for one test's files, with openssl run in it. */
export function opensslFolder(): {
  readonly write: (name: string, data: string | Uint8Array) => void;
  readonly read: (name: string) => Uint8Array;
  readonly openssl: (...args: readonly string[]) => string;
  readonly remove: () => void;
} {
  const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-crypto-'));
  return {
    write: (name, data) => writeFileSync(join(folder, name), data),
    read: (name) => new Uint8Array(readFileSync(join(folder, name))),
    openssl: (...args) => execFileSync('openssl', args, { cwd: folder, encoding: 'utf8', stdio: 'pipe' }),
    remove: () => rmSync(folder, { recursive: true }),
  };
}
