/** Ends a command with exit code 1 when its result, printed already, says that something is wrong. */
export class CheckFailed extends Error {
  override readonly name = 'CheckFailed';
}
