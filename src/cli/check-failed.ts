import type { DeribitKeysError } from '../errors.js';

/** Ends a command with exit code 1 when its result, printed already, says that something is wrong. */
export class CheckFailed extends Error {
  override readonly name = 'CheckFailed';
}

/** Ends a command with the exit code of a program that it ran, or that it could not run, which is `told`. */
export class ExitWith extends Error {
  override readonly name = 'ExitWith';
  readonly exitCode: number;
  readonly told: DeribitKeysError | undefined;

  constructor(exitCode: number, told?: DeribitKeysError) {
    super(`exit code ${exitCode}`);
    this.exitCode = exitCode;
    this.told = told;
  }
}
