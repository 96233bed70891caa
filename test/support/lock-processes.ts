import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, vi } from 'vitest';
import { builtProgram, canRun } from './program.js';

/* Processes that take a lock, some in PID namespaces of their own, as containers have them. */

export const CONTAINER = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'] as const;
/** As `unshare` makes it without a /proc of its own: /proc shows the pids of the namespace outside. */
export const FOREIGN_PROC = ['unshare', '--pid', '--fork', '--kill-child'] as const;

/** Whether this user may make PID namespaces. */
export const canUnshare = (): Promise<boolean> => canRun(CONTAINER[0], ...CONTAINER.slice(1), 'true');

export interface WorkerOptions {
  readonly waitMs?: number;
  readonly leaseMs?: number;
  readonly rounds?: number;
  /** How far its own clock is ahead. */
  readonly aheadMs?: number;
}

/** What starts such processes; those that still run after a test are killed. */
export function lockProcesses() {
  const worker = builtProgram('test/support/lock-worker.ts');
  const running: { kill(signal: 'SIGKILL'): boolean }[] = [];
  afterEach(() => {
    for (const child of running.splice(0)) child.kill('SIGKILL');
  });

  /** A process that takes the lock `bot` of a folder; its lines of output, and how to answer them. */
  function startWorker(folder: string, within: readonly string[], options: WorkerOptions = {}) {
    const [command, ...words] = [...within, process.execPath, worker.path, folder, JSON.stringify(options)];
    const child = spawn(command as string, words, { stdio: ['pipe', 'pipe', 'inherit'] });
    running.push(child);
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
    });
    const ended = once(child, 'close').then(() => text.trim());
    const holds = vi.waitFor(() => expect(text).toContain('held'), { timeout: 60_000, interval: 5 });
    holds.catch(() => {});
    return { child, holds, ended, release: () => child.stdin.end() };
  }
  return { worker, running, startWorker };
}
