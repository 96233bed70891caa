import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { ErrorCode } from '../../../src/errors.js';
import { afterFile } from '../../support/after-test.js';
import { errorOf } from '../../support/outcomes.js';

export { ENGINES, native, portable, REAL_ENGINES } from '../support.js';

/** A folder that is deleted after the last test of the file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-formats-'));
  afterFile(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Whether a program can be run here; tests that need it are skipped where not. */
export function hasProgram(name: string, argument: string): boolean {
  const found = spawnSync(name, [argument], { stdio: 'ignore' }).error === undefined;
  if (!found) process.stderr.write(`${name} is not installed: the tests that need it are skipped\n`);
  return found;
}

export const hasOpenssl = hasProgram('openssl', 'version');
export const hasSshKeygen = hasProgram('ssh-keygen', '-?');

/** Runs a program, which must succeed whether it reads its input or not, and returns its standard output. */
export function run(program: string, args: readonly string[], input: string | Uint8Array = ''): Buffer {
  const { status, stdout, stderr } = spawnSync(program, args, { input, maxBuffer: 64 * 1024 * 1024 });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}: ${stderr}`);
  return stdout;
}

/** Deribit's fingerprint of SPKI DER, by node:crypto. */
export function md5Fingerprint(spki: Uint8Array): string {
  return createHash('md5')
    .update(spki)
    .digest('hex')
    .replace(/..(?=.)/g, '$&:');
}

const fingerprints = new Map<string, string>();

/** The fingerprint that openssl computes for a private key file or text; of the same one it is asked for once. */
export function opensslFingerprint(key: string | Uint8Array, ...args: readonly string[]): string {
  const question = JSON.stringify([Buffer.from(key).toString('latin1'), args]);
  const answer =
    fingerprints.get(question) ?? md5Fingerprint(run('openssl', ['pkey', '-pubout', '-outform', 'DER', ...args], key));
  fingerprints.set(question, answer);
  return answer;
}

/** Expects a refusal with this code and a message that matches, with a hint. */
export async function expectRefusal(
  promise: Promise<unknown>,
  code: ErrorCode,
  message: string | RegExp,
): Promise<void> {
  const error = await errorOf(promise);
  expect(error.message).toMatch(message);
  expect(error.code).toBe(code);
  expect(error.hint).toMatch(/\S/);
}

/** Reads a file that a tool wrote. */
export function readText(folder: string, name: string): string {
  return readFileSync(join(folder, name), 'utf8');
}

/** Writes a file as ssh-keygen insists on: only readable by its owner. */
export function writeSecret(folder: string, name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content, { mode: 0o600 });
  return path;
}
