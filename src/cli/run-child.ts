import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Stream } from 'node:stream';
import { DeribitKeysError } from '../errors.js';
import type { Host } from './host.js';

/** A stream of this process is handed down as it is; another one is fed from a pipe. */
function handDown(own: Stream, given: Stream): 'inherit' | 'pipe' {
  return own === given ? 'inherit' : 'pipe';
}

/** As a shell counts it: the program's own exit code, or 128 and the number of the signal that ended it. */
function exitCodeOf(code: number | null, signal: NodeJS.Signals | null): number {
  return code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
}

/**
 * Runs a program with this one's streams, hands signals on to it, and waits for its end.
 *
 * An interrupt of the terminal reaches the whole foreground group, so that one is not sent a second time.
 * @throws `ERR_USAGE` where the program cannot be started
 */
export function runChild(
  host: Host,
  program: string,
  argv: readonly string[],
  env: Record<string, string>,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, argv, {
      env,
      stdio: [
        handDown(process.stdin, host.stdin),
        handDown(process.stdout, host.stdout),
        handDown(process.stderr, host.stderr),
      ],
    });
    if (child.stdin !== null) {
      host.stdin.pipe(child.stdin);
      // a program that reads no input is no error
      child.stdin.on('error', () => {});
    }
    child.stdout?.pipe(host.stdout, { end: false });
    child.stderr?.pipe(host.stderr, { end: false });

    const onSignal = (signal: NodeJS.Signals) => {
      const fromTerminal = signal === 'SIGINT' && host.stdin.isTTY === true;
      if (!fromTerminal) child.kill(signal);
    };
    const onAbort = () => onSignal('SIGTERM');
    const giveBack = host.takeSignals?.(onSignal);
    if (giveBack === undefined) host.signal.addEventListener('abort', onAbort);
    const settle = () => {
      giveBack?.();
      host.signal.removeEventListener('abort', onAbort);
    };
    child.on('error', (cause) => {
      settle();
      const missing = 'code' in cause && cause.code === 'ENOENT';
      const why = missing ? 'there is no such program' : 'it cannot be started';
      reject(new DeribitKeysError('ERR_USAGE', `cannot run ${program}: ${why}`, { cause }));
    });
    child.on('close', (code, signal) => {
      settle();
      resolve(exitCodeOf(code, signal));
    });
  });
}
