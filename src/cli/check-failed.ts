/** Ends a command with exit code 1 when its result, printed already, says that something is wrong. */
export class CheckFailed extends Error {
  override readonly name = 'CheckFailed';
}

/** Ends a command with the exit code of a program that it ran. */
export class ExitWith extends Error {
  override readonly name = 'ExitWith';
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit code ${exitCode}`);
    this.exitCode = exitCode;
  }
}
