import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { run } from '../../src/cli/run.js';
import { afterTest } from './after-test.js';

/** What one run of the program gave. */
export interface CliResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout as the one JSON document that it must be. */
  json<T = Record<string, unknown>>(): T;
  /** The `error` of stderr's one JSON document. */
  error(): { code: string; message: string; hint?: string; rpc?: { code: number; message: string; data?: unknown } };
}

export interface CliOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly stdin?: string | Uint8Array;
  readonly signal?: AbortSignal;
  /** Loads optional packages. */
  readonly load?: (name: string) => Promise<unknown>;
  /** Called with all of stdout so far, each time that something is written. */
  readonly onStdout?: (text: string) => void;
}

/** Runs the program in this process, without a terminal. */
export async function cli(argv: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const written = { stdout: '', stderr: '' };
  const sink = (name: 'stdout' | 'stderr') =>
    new Writable({
      write(chunk, _encoding, done) {
        written[name] += String(chunk);
        if (name === 'stdout') options.onStdout?.(written.stdout);
        done();
      },
    });
  const stdin = new PassThrough();
  stdin.end(options.stdin ?? '');
  const exitCode = await run(argv, {
    stdin,
    stdout: sink('stdout'),
    stderr: sink('stderr'),
    env: { DERIBIT_KEYS_UNCERTAIN_MS: '100', ...options.env },
    signal: options.signal ?? new AbortController().signal,
    load: options.load,
  });
  const { stdout, stderr } = written;
  return {
    exitCode,
    stdout,
    stderr,
    json: <T>() => JSON.parse(stdout) as T,
    error: () => (JSON.parse(stderr) as { error: ReturnType<CliResult['error']> }).error,
  };
}

/** A new folder that is deleted after the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-test-'));
  afterTest(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
