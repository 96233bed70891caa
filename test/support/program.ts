import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Bundles a program as it stands into `folder`, and gives the path of the bundle. */
async function bundle(folder: string, entryPoint: string): Promise<string> {
  const outfile = join(folder, 'deribit-keys.cjs');
  await build({
    absWorkingDir: root,
    entryPoints: [entryPoint],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    define: { 'import.meta.dirname': '__dirname' },
    alias: {
      '#engine': join(root, 'src/crypto/engine/native.ts'),
      '#platform': join(root, 'src/deribit/platform/node.ts'),
    },
    logLevel: 'error',
  });
  return outfile;
}

/** The program of this file's tests, as a process of its own runs it: made before them, deleted after them. */
export function builtProgram(entryPoint = 'src/cli/main.ts'): { readonly path: string } {
  const made = { folder: '', path: '' };
  beforeAll(async () => {
    made.folder = mkdtempSync(join(tmpdir(), 'deribit-keys-program-'));
    made.path = await bundle(made.folder, entryPoint);
  });
  afterAll(() => rmSync(made.folder, { recursive: true, force: true }));
  return made;
}

/** How a process ended. */
export interface ProcessEnd {
  /** Null where a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProcessOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdin?: string;
  /** Called once it runs. */
  readonly onStart?: (pid: number) => void;
  /** Called with all of stderr so far, each time that something is written. */
  readonly onStderr?: (text: string, pid: number) => void;
}

/** Runs a program to its end, with nothing of our environment but the path. */
export function runProcess(
  command: string,
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<ProcessEnd> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', ...options.env },
      stdio: 'pipe',
      // without a controlling terminal nobody is asked
      detached: true,
    });
    const written = { stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      written.stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      written.stderr += text;
      if (child.pid !== undefined) options.onStderr?.(written.stderr, child.pid);
    });
    child.stdin.on('error', () => {});
    child.stdin.end(options.stdin ?? '');
    child.on('error', reject);
    child.on('close', (exitCode, signal) => resolve({ exitCode, signal, ...written }));
    if (child.pid !== undefined) options.onStart?.(child.pid);
  });
}

/** Whether a command can be run here. */
export async function canRun(command: string, ...args: readonly string[]): Promise<boolean> {
  try {
    return (await runProcess(command, args)).exitCode === 0;
  } catch {
    return false;
  }
}
