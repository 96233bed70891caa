import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Stream } from 'node:stream';
import { DeribitKeysError, usageError } from '../../errors.js';
import { ExitWith } from '../exit-codes.js';
import { scopeText, type TokenStoreOptions } from '../options.js';
import type { Define, Host } from '../program.js';
import { withoutOwnSecrets } from '../secret-sources.js';
import { namesTokenStore, validToken } from '../token.js';

/** A stream of this process is handed down as it is; another one is fed from a pipe. */
function handDown(own: Stream, given: Stream): 'inherit' | 'pipe' {
  return own === given ? 'inherit' : 'pipe';
}

/** As a shell answers: 127 for a program that is not found, 126 for one that cannot be executed. */
function cannotRun(program: string, cause: unknown): ExitWith {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown';
  const missing = code === 'ENOENT';
  const why = missing
    ? 'there is no such program, or the interpreter that its first line names is missing'
    : `it cannot be executed (${code})`;
  const hint = missing ? 'name its path, or a program in PATH' : 'name a program that you may execute';
  const told = new DeribitKeysError('ERR_USAGE', `cannot run ${program}: ${why}`, { cause, hint });
  return new ExitWith(missing ? 127 : 126, told);
}

/** A program that is run, with its arguments and its environment. */
interface Program {
  readonly program: string;
  readonly argv: readonly string[];
  readonly env: Record<string, string>;
}

/** Some of what can go wrong is thrown here, some comes as the child's `error`. */
function start(host: Host, { program, argv, env }: Program): ChildProcess {
  try {
    return spawn(program, argv, {
      env,
      stdio: [
        handDown(process.stdin, host.stdin),
        handDown(process.stdout, host.stdout),
        handDown(process.stderr, host.stderr),
      ],
    });
  } catch (cause) {
    throw cannotRun(program, cause);
  }
}

/** Not by `child.kill`: after that, Deno reports the signal as the end of a child that handled it and exited. */
function signalTo({ pid, exitCode, signalCode }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined || exitCode !== null || signalCode !== null) return;
  try {
    process.kill(pid, signal);
  } catch {
    // it has just ended, or belongs to another user
  }
}

/**
 * Runs a program with this one's streams, hands signals on to it, and waits for its end.
 *
 * An interrupt of the terminal reaches the whole foreground group, so that one is not sent a second time.
 * @throws an {@link ExitWith} where the program cannot be started
 */
function runChild(host: Host, called: Program): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = start(host, called);
    if (child.stdin !== null) {
      host.stdin.pipe(child.stdin);
      // a program that reads no input is no error
      child.stdin.on('error', () => {});
    }
    child.stdout?.pipe(host.stdout, { end: false });
    child.stderr?.pipe(host.stderr, { end: false });

    const onSignal = (signal: NodeJS.Signals) => {
      const fromTerminal = signal === 'SIGINT' && host.stdin.isTTY === true;
      if (!fromTerminal) signalTo(child, signal);
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
      reject(cannotRun(called.program, cause));
    });
    child.on('close', (code, signal) => {
      settle();
      // as a shell counts it: the program's own exit code, or 128 and the number of the signal that ended it
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}

/** Returns the environment for a program that we run with a token; `url` is the HTTP endpoint. */
export function childEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  { accessToken, clientId, url }: { readonly accessToken: string; readonly clientId: string; readonly url: string },
): Record<string, string> {
  return {
    ...withoutOwnSecrets(env),
    DERIBIT_ACCESS_TOKEN: accessToken,
    DERIBIT_CLIENT_ID: clientId,
    DERIBIT_URL: url,
  };
}

interface ExecFlags extends TokenStoreOptions {
  readonly scope?: string;
}

export const define: Define = (command, { look }) => {
  command
    .tokenStoreOptions()
    .argument('<name>')
    .argument('<command...>', 'program to run and its arguments, after --')
    .option('--scope <scope>', 'request this scope; "expires:SECONDS" in it sets the lifetime of the token', scopeText)
    .examples(
      'exec bot -- python3 bot.py',
      `exec bot -- sh -c 'curl -s -H "Authorization: Bearer $DERIBIT_ACCESS_TOKEN" "$DERIBIT_URL/private/get_subaccounts"'`,
    )
    .addHelpText(
      'after',
      `
The environment of the program holds, instead of our own secrets:
  DERIBIT_ACCESS_TOKEN  valid until it expires; it is not renewed
  DERIBIT_CLIENT_ID
  DERIBIT_URL           the HTTP endpoint, such as https://test.deribit.com/api/v2

deribit-keys passes signals on to the program and exits with its exit code, or with 128+n if signal n ended it. It exits
with 127 if there is no such program, and with 126 if the program cannot be executed.`,
    )
    .action(
      look(async (cx, name: string, words: readonly string[], flags: ExecFlags) => {
        const [program = '', ...argv] = words;
        if (program === '') {
          throw usageError(
            'the name of the program to run is empty',
            'name it after --, such as: deribit-keys exec bot -- python3 bot.py',
          );
        }
        const { source, token } = await validToken(cx, name, { ...flags, cache: namesTokenStore(cx, flags) });
        const { clientId, url } = source;
        const env = childEnvironment(cx.host.env, { accessToken: token.accessToken, clientId, url });
        const exitCode = await runChild(cx.host, { program, argv, env });
        if (exitCode !== 0) throw new ExitWith(exitCode);
      }),
    );
};
