import type { Readable, Writable } from 'node:stream';

/** A stream that may be a terminal. */
export type Output = Writable & { readonly isTTY?: boolean | undefined; readonly columns?: number | undefined };
export type Input = Readable & {
  readonly isTTY?: boolean | undefined;
  setRawMode?: ((raw: boolean) => unknown) | undefined;
  ref?: (() => unknown) | undefined;
  unref?: (() => unknown) | undefined;
};

/** What the program uses of the process that it runs in: a test brings its own. */
export interface Host {
  readonly stdin: Input;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Opens the controlling terminal, or returns null if there is none; the same one each time. */
  readonly openTerminal?: (() => { readonly input: Input; readonly output: Output } | null) | undefined;
  /** Fires on SIGINT, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal;
  /** Sends the process's signals to `listener` instead, until the returned function is called. */
  readonly takeSignals?: ((listener: (signal: NodeJS.Signals) => void) => () => void) | undefined;
  /** How long the command may take to clean up after `signal` fires; after that the process is ended. */
  readonly setGrace?: ((ms: number) => void) | undefined;
  /** Loads an optional package instead of an ordinary import. */
  readonly load?: ((name: string) => Promise<unknown>) | undefined;
}
