import { changesNothing, isTransientRefusal } from '../deribit/json-rpc.js';
import { interruptedError } from '../deribit/network-errors.js';
import { DeribitKeysError, type ErrorCode, isDeribitKeysError } from '../errors.js';

/** Failures that may be over a little later. */
const PASSING: readonly ErrorCode[] = [
  'ERR_NETWORK',
  'ERR_TIMEOUT',
  'ERR_CONNECTION_CLOSED',
  'ERR_PROTOCOL',
  'ERR_OUTCOME_UNKNOWN',
  'ERR_NOT_SENT',
  // a signer that is elsewhere may be away for a while
  'ERR_SIGNER',
  'ERR_TOKEN_STORE',
];

/**
 * Whether another attempt to log in is pointless: a refusal, a wrong exchange, a key that cannot be used. Not final are
 * failures of the network, what the exchange says while it is busy, and a signer that does not answer.
 */
export function isFinal(error: unknown): boolean {
  return !isDeribitKeysError(error, ...PASSING) && !isTransientRefusal(error);
}

/** Whether nothing of what was tried can have worked, and no later moment is likely to be better: for the first login. */
export function isFinalAtFirst(error: unknown): boolean {
  const unreachable = isDeribitKeysError(error, 'ERR_NETWORK') && error.maybeSent === false;
  return isFinal(error) || isDeribitKeysError(error, 'ERR_SIGNER') || unreachable;
}

/** Whether the connection, or what came over it, failed. */
export function isCut(error: unknown): error is DeribitKeysError {
  return isDeribitKeysError(error, 'ERR_NETWORK', 'ERR_CONNECTION_CLOSED', 'ERR_PROTOCOL');
}

/** Whether a request was refused for its token (13009): it was not handled, and a new token may help. */
export function isSpentToken(error: unknown): boolean {
  return isDeribitKeysError(error) && error.rpc?.code === 13009;
}

/**
 * Whether the very same request may be sent again after what the exchange answered: it is busy (10028, 11051 …) and did
 * not handle it, or (10040, 13028 …) may have handled it but changed nothing by that.
 */
export function mayAskAgain(method: string, error: unknown): boolean {
  return isTransientRefusal(error) && ((error as DeribitKeysError).maybeSent !== true || changesNothing(method));
}

/**
 * What a request ends with that was under way when the connection was cut: `ERR_OUTCOME_UNKNOWN` where it may have been
 * handled; other errors pass unchanged.
 */
export function outcomeOf(method: string, error: unknown): unknown {
  if (!isCut(error) || error.maybeSent !== true) return error;
  return error.with({
    code: 'ERR_OUTCOME_UNKNOWN',
    message: `${method} may have been carried out: ${error.message}`,
    hint: 'check on the exchange before you send it again',
    maybeSent: true,
  });
}

/** The error that ends a session; anything but a `DeribitKeysError` is a mistake in this package. */
export function endOf(error: unknown, what: string): DeribitKeysError {
  if (error === null) return interruptedError(what, { maybeSent: false });
  if (isDeribitKeysError(error)) return error;
  return new DeribitKeysError('ERR_INTERNAL', 'something went wrong inside the session', { cause: error });
}

/** What a request ends with when its session is over; it was not sent. */
export function sessionOver(reason: DeribitKeysError | null): DeribitKeysError {
  if (reason !== null) {
    return reason.with({ message: `the session has ended: ${reason.message}`, maybeSent: false });
  }
  return new DeribitKeysError('ERR_CONNECTION_CLOSED', 'the session is closed', {
    hint: 'open another one',
    maybeSent: false,
  });
}

/** 13009 for a token that was just got: not a refused login, which would be final. */
export function uselessLogin(cause: unknown): DeribitKeysError {
  return new DeribitKeysError('ERR_CONNECTION_CLOSED', 'the exchange refused the login that it just granted', {
    cause,
  });
}

/** The request was not sent: no answer could have come within its timeout. */
export function notSent(what: string, why: string): DeribitKeysError {
  return new DeribitKeysError('ERR_NOT_SENT', `${what} was not sent: ${why}`, {
    hint: 'send less, allow more time, or try again a little later',
    maybeSent: false,
  });
}

/** There is no connection, and the request was not to wait for one. */
export function notConnected(what: string): DeribitKeysError {
  return new DeribitKeysError('ERR_CONNECTION_CLOSED', `there is no connection to send ${what}`, {
    hint: 'try again when the session is back, or let it wait in the queue',
    maybeSent: false,
  });
}
