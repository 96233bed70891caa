import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/cli.js';
import { builtProgram, runProcess } from '../support/program.js';

const HTML = '<!doctype html>\n<title>page</title>\n';

describe('page', () => {
  const program = builtProgram();
  let folder: string;
  /** The built page stands in `dist/page` of the package; the bundle of these tests lies in a folder of its own. */
  const inPackage = () => join(dirname(program.path), 'dist', 'page', 'deribit-keys.html');
  beforeEach(() => {
    folder = temporaryFolder();
    writeFileSync(join(dirname(program.path), 'package.json'), '{}');
    mkdirSync(dirname(inPackage()), { recursive: true });
    writeFileSync(inPackage(), HTML);
  });
  const page = (...args: readonly string[]) =>
    runProcess(process.execPath, [program.path, 'page', ...args], { cwd: folder });

  it('writes the page of the package into the current folder, and prints its size and SHA-256', async () => {
    const { exitCode, stdout, stderr } = await page('--json');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const sha256 = createHash('sha256').update(HTML).digest('hex');
    expect(JSON.parse(stdout)).toEqual({ file: 'deribit-keys.html', bytes: HTML.length, sha256 });
    expect(readFileSync(join(folder, 'deribit-keys.html'), 'utf8')).toBe(HTML);
    expect(statSync(join(folder, 'deribit-keys.html')).mode & 0o600).toBe(0o600);
  });

  it('says so for people, too', async () => {
    const { stdout, stderr } = await page('--out', 'other.html');
    expect(stdout).toMatch(/^file {4}other\.html\nbytes {3}\d+\nsha256 {2}[0-9a-f]{64}\n$/);
    expect(stderr).toMatch(/browser/);
  });

  it('goes to stdout as -', async () => {
    const { exitCode, stdout } = await page('--out', '-');
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: HTML });
    expect(existsSync(join(folder, '-'))).toBe(false);
  });

  it('does not replace a file unless it is forced', async () => {
    writeFileSync(join(folder, 'deribit-keys.html'), 'mine');
    const { exitCode, stdout, stderr } = await page('--json');
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(JSON.parse(stderr).error).toMatchObject({
      code: 'ERR_NAME_TAKEN',
      hint: 'choose another file with --out <file>, or replace this one with --force',
    });
    expect(readFileSync(join(folder, 'deribit-keys.html'), 'utf8')).toBe('mine');
    expect((await page('--force')).exitCode).toBe(0);
    expect(readFileSync(join(folder, 'deribit-keys.html'), 'utf8')).toBe(HTML);
  });

  it('does not replace a pipe or a device, even if it is forced, and writes behind a link', async () => {
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    mkdirSync(join(folder, 'folder'));
    for (const out of [pipe, '/dev/null', 'folder']) {
      const { exitCode, stderr } = await page('--force', '--out', out, '--json');
      expect(exitCode).toBe(1);
      expect(JSON.parse(stderr).error.message).toMatch(/not a regular file$/);
    }
    expect(statSync(pipe).isFIFO()).toBe(true);
    writeFileSync(join(folder, 'target.html'), 'old');
    symlinkSync('target.html', join(folder, 'link.html'));
    expect((await page('--force', '--out', 'link.html')).exitCode).toBe(0);
    expect(lstatSync(join(folder, 'link.html')).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(folder, 'target.html'), 'utf8')).toBe(HTML);
  });

  it('says what to do where the page was not built', async () => {
    rmSync(inPackage());
    const { exitCode, stderr } = await page('--json');
    expect(exitCode).toBe(1);
    expect(JSON.parse(stderr).error.hint).toMatch(/npm run build/);
    expect(existsSync(join(folder, 'deribit-keys.html'))).toBe(false);
  });
});
