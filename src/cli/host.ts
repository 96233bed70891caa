import type { Readable, Writable } from 'node:stream';

/** A stream that may be a terminal. */
export type Output = Writable & { readonly isTTY?: boolean | undefined; readonly columns?: number | undefined };
export type Input = Readable & {
  readonly isTTY?: boolean | undefined;
  setRawMode?: ((raw: boolean) => unknown) | undefined;
};

/** What the program touches of the process that it runs in: a test gives its own. */
export interface Host {
  readonly stdin: Input;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Fires on Ctrl-C and its kin. */
  readonly signal: AbortSignal;
  /** From now on the process's signals go to `listener` and interrupt nothing; gives the function that ends that. */
  readonly takeSignals?: ((listener: (signal: NodeJS.Signals) => void) => () => void) | undefined;
  /** Loads an optional package; default: an ordinary import. */
  readonly load?: ((name: string) => Promise<unknown>) | undefined;
}
