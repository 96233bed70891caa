import type { DeribitKeysError, ErrorCode } from '../errors.js';

/** What a script may rely on. */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  keyMaterial: 3,
  network: 4,
  refused: 5,
  secondFactor: 6,
  interrupted: 130,
} as const;

const BY_CODE: Readonly<Record<ErrorCode, number>> = {
  ERR_USAGE: EXIT.usage,
  ERR_CANCELLED: EXIT.failed,
  ERR_INTERRUPTED: EXIT.interrupted,
  ERR_KEY_UNREADABLE: EXIT.keyMaterial,
  ERR_KEY_UNSUPPORTED: EXIT.keyMaterial,
  ERR_KEY_INVALID: EXIT.keyMaterial,
  ERR_KEY_MISMATCH: EXIT.keyMaterial,
  ERR_PASSPHRASE_REQUIRED: EXIT.keyMaterial,
  ERR_PASSPHRASE_WRONG: EXIT.keyMaterial,
  ERR_SIGNER: EXIT.keyMaterial,
  ERR_NO_SUCH_NAME: EXIT.keyMaterial,
  ERR_RECORD_DAMAGED: EXIT.keyMaterial,
  ERR_RECORD_NEWER: EXIT.keyMaterial,
  ERR_PERMISSIONS: EXIT.keyMaterial,
  ERR_NAME_TAKEN: EXIT.failed,
  ERR_KEYSTORE_IO: EXIT.failed,
  ERR_LOCKED: EXIT.failed,
  ERR_LOCK_LOST: EXIT.failed,
  ERR_STATE: EXIT.failed,
  ERR_WRONG_ENVIRONMENT: EXIT.failed,
  ERR_PROOF_FAILED: EXIT.failed,
  ERR_CHECK_FAILED: EXIT.failed,
  ERR_INTERNAL: EXIT.failed,
  ERR_LISTEN: EXIT.failed,
  ERR_NETWORK: EXIT.network,
  ERR_TIMEOUT: EXIT.network,
  ERR_CONNECTION_CLOSED: EXIT.network,
  ERR_NOT_SENT: EXIT.network,
  ERR_OUTCOME_UNKNOWN: EXIT.network,
  ERR_PROTOCOL: EXIT.network,
  ERR_TOKEN_STORE: EXIT.network,
  ERR_RPC: EXIT.refused,
  ERR_UNAUTHORIZED: EXIT.refused,
  ERR_NOT_ON_EXCHANGE: EXIT.refused,
  ERR_SECOND_FACTOR_REQUIRED: EXIT.secondFactor,
  ERR_SECOND_FACTOR_REFUSED: EXIT.secondFactor,
};

/** The exit code for an error's code. */
export function exitCodeOf(code: ErrorCode): number {
  return BY_CODE[code];
}

/** Ends a command with exit code 1 when its result, printed already, says that something is wrong. */
export class CheckFailed extends Error {
  override readonly name = 'CheckFailed';
}

/** Ends a command with an exit code of its child program; `told` is the error if the program could not be run. */
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
