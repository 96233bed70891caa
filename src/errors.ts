import { defined } from './util/defined.js';

/** Every reason for which this package fails on purpose. Stable: programs may branch on it. */
export type ErrorCode =
  // how it was called
  | 'ERR_USAGE'
  | 'ERR_CANCELLED'
  | 'ERR_INTERRUPTED'
  // key material
  | 'ERR_KEY_UNREADABLE'
  | 'ERR_KEY_UNSUPPORTED'
  | 'ERR_KEY_INVALID'
  | 'ERR_KEY_MISMATCH'
  | 'ERR_PASSPHRASE_REQUIRED'
  | 'ERR_PASSPHRASE_WRONG'
  | 'ERR_SIGNER'
  // the keystore
  | 'ERR_NAME_TAKEN'
  | 'ERR_NO_SUCH_NAME'
  | 'ERR_RECORD_DAMAGED'
  | 'ERR_RECORD_NEWER'
  | 'ERR_PERMISSIONS'
  | 'ERR_KEYSTORE_IO'
  | 'ERR_LOCKED'
  | 'ERR_LOCK_LOST'
  | 'ERR_STATE'
  // the network
  | 'ERR_LISTEN'
  | 'ERR_NETWORK'
  | 'ERR_TIMEOUT'
  | 'ERR_CONNECTION_CLOSED'
  | 'ERR_OUTCOME_UNKNOWN'
  | 'ERR_NOT_SENT'
  | 'ERR_PROTOCOL'
  | 'ERR_WRONG_ENVIRONMENT'
  | 'ERR_TOKEN_STORE'
  // the exchange
  | 'ERR_RPC'
  | 'ERR_UNAUTHORIZED'
  | 'ERR_NOT_ON_EXCHANGE'
  | 'ERR_SECOND_FACTOR_REQUIRED'
  | 'ERR_SECOND_FACTOR_REFUSED'
  | 'ERR_PROOF_FAILED'
  // the work itself
  | 'ERR_CHECK_FAILED'
  | 'ERR_INTERNAL';

/** An error of Deribit's JSON-RPC, as it arrived. */
export interface RpcFailure {
  readonly code: number;
  readonly message: string;
  readonly data?: unknown;
}

/** What a `DeribitKeysError` has beside its code and message. */
export interface ErrorDetails {
  /** What the user can do next: one sentence, or a command. */
  readonly hint?: string;
  readonly cause?: unknown;
  readonly rpc?: RpcFailure;
  /**
   * For a request that changes the exchange: whether it may have arrived although no answer did.
   * `false` means that it certainly was not handled.
   */
  readonly maybeSent?: boolean;
}

/** What `DeribitKeysError.with` changes. */
export interface ErrorContext extends Omit<ErrorDetails, 'cause'> {
  readonly code?: ErrorCode;
  readonly message?: string;
}

/** The longest message or hint: they may quote what the exchange or a file says, which has no such limit. */
const LONGEST = 8_000;

const CONTROLS = /[\p{Cc}\u2028\u2029]/gu;

/** A quoted text cannot begin another line of a log or steer a terminal: control characters are shown as escapes. */
function bounded(text: string, kept = ''): string {
  const short = text.length > LONGEST ? `${text.slice(0, LONGEST)} …` : text;
  return short.replace(CONTROLS, (character) => {
    const code = character.charCodeAt(0);
    if (character === kept) return character;
    if (character === '\n') return '\\n';
    return code <= 0xff ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`;
  });
}

/**
 * The one error class of this package. `message` is one sentence that names the thing and never holds a secret;
 * `code` is for programs, `hint` for people.
 */
export class DeribitKeysError extends Error {
  override readonly name = 'DeribitKeysError';
  readonly code: ErrorCode;
  readonly hint?: string;
  readonly rpc?: RpcFailure;
  readonly maybeSent?: boolean;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(bounded(message), details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    if (details.hint !== undefined) this.hint = bounded(details.hint, '\n');
    if (details.rpc !== undefined) this.rpc = details.rpc;
    if (details.maybeSent !== undefined) this.maybeSent = details.maybeSent;
  }

  /**
   * Returns an error that says more than this one, which becomes its cause. What is not named stays as it is here,
   * `rpc` and `maybeSent` included.
   */
  with({ code = this.code, message = this.message, ...details }: ErrorContext): DeribitKeysError {
    return new DeribitKeysError(code, message, {
      cause: this,
      ...defined({ hint: this.hint, rpc: this.rpc, maybeSent: this.maybeSent }),
      ...details,
    });
  }
}

/** Whether `error` is one of ours, with one of `codes` where any are given. */
export function isDeribitKeysError(error: unknown, ...codes: readonly ErrorCode[]): error is DeribitKeysError {
  return error instanceof DeribitKeysError && (codes.length === 0 || codes.includes(error.code));
}

/** Whether a request that failed with `error` certainly changed nothing on the exchange. */
export function certainlyNotDone(error: unknown): boolean {
  if (!isDeribitKeysError(error)) return false;
  if (error.maybeSent !== undefined) return !error.maybeSent;
  // an answer of the exchange says no; so do our own checks before anything is sent
  return (
    error.rpc !== undefined || isDeribitKeysError(error, 'ERR_USAGE', 'ERR_CANCELLED', 'ERR_SECOND_FACTOR_REQUIRED')
  );
}

/** `ERR_USAGE`: what a caller or a user gave cannot be used. It is thrown before anything is sent. */
export function usageError(message: string, hint?: string): DeribitKeysError {
  return new DeribitKeysError('ERR_USAGE', message, { maybeSent: false, ...defined({ hint }) });
}
