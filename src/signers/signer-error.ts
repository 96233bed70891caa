import { DeribitKeysError } from '../errors.js';

/** `ERR_SIGNER`: a key that lives elsewhere cannot be had, or does not sign. */
export function signerError(message: string, hint: string, cause?: unknown): DeribitKeysError {
  return new DeribitKeysError('ERR_SIGNER', message, cause === undefined ? { hint } : { hint, cause });
}
