import { spawn } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, inject } from 'vitest';

declare module 'vitest' {
  export interface ProvidedContext {
    /** A folder for the programs that tests of this run bundle. */
    readonly bundles: string;
  }
}

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Packages that are loaded from their own files: with them in the bundle, every start of the program parses them. */
const SEPARATE = ['undici', 'yaml'] as const;

/** Writes `path` by `write` under another name first: another worker may write the same file. */
async function writeOnce(path: string, write: (unfinished: string) => unknown): Promise<void> {
  if (existsSync(path)) return;
  const unfinished = `${path}.${process.pid}`;
  await write(unfinished);
  if (!existsSync(path)) renameSync(unfinished, path);
}

/** The bundle of a program, made from its sources once in a run of the suite. */
async function bundle(entryPoint: string): Promise<string> {
  const shared = inject('bundles');
  const outfile = join(shared, `${basename(entryPoint, '.ts')}.cjs`);
  const separate = SEPARATE.map((name) => [name, join(shared, name)] as const);
  for (const [name, path] of separate) {
    await writeOnce(path, (unfinished) => cpSync(join(root, 'node_modules', name), unfinished, { recursive: true }));
  }
  await writeOnce(outfile, (unfinished) =>
    build({
      absWorkingDir: root,
      entryPoints: [entryPoint],
      outfile: unfinished,
      bundle: true,
      platform: 'node',
      target: 'node20',
      format: 'cjs',
      define: { 'import.meta.dirname': '__dirname' },
      alias: {
        '#engine': join(root, 'src/crypto/engine/native.ts'),
        '#platform': join(root, 'src/deribit/platform/node.ts'),
        ...Object.fromEntries(separate),
      },
      external: separate.flatMap(([, path]) => [path, `${path}/*`]),
      supported: { 'dynamic-import': false },
      minifyWhitespace: true,
      logLevel: 'error',
    }),
  );
  return outfile;
}

/** Puts a program as it stands at `path`. */
export async function installProgram(path: string, entryPoint = 'src/cli/main.ts'): Promise<void> {
  const bundled = await bundle(entryPoint);
  mkdirSync(dirname(path), { recursive: true });
  copyFileSync(bundled, path);
}

/** The program of this file's tests, as a process of its own runs it: made before them, deleted after them. */
export function builtProgram(entryPoint?: string): { readonly path: string } {
  const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-program-'));
  const path = join(folder, 'deribit-keys.cjs');
  beforeAll(() => installProgram(path, entryPoint));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return { path };
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
