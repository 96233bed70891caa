import type { DeribitKeysError } from '../../errors.js';
import { invalid, unsupported } from '../key-errors.js';

/** The error for a key of an algorithm that Deribit does not take; `what` names it ("EC key (P-256)"). */
export function refuseAlgorithm(what: string): DeribitKeysError {
  return unsupported(`${what}: Deribit takes Ed25519 or RSA`);
}

/** The error for something well known that cannot be taken; `hint` says how to get a key out of it. */
export function refuseKind(what: string, hint: string): DeribitKeysError {
  return unsupported(what, { hint });
}

/** The error for a private key whose parts were not made for each other. */
export function notTogether(): DeribitKeysError {
  return invalid('private numbers do not belong together');
}
