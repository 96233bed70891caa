import { DeribitKeysError, type ErrorDetails } from '../errors.js';

/** The largest input that is read, in bytes or characters: no key file is near it. */
export const MAX_KEY_INPUT = 64 * 1024;

/** `ERR_KEY_UNREADABLE`: these are not the bytes or the text of a key. */
export function unreadable(message: string, details?: ErrorDetails): DeribitKeysError {
  return new DeribitKeysError('ERR_KEY_UNREADABLE', message, {
    hint: 'the file may be damaged or cut short; export the key again with the tool that made it',
    ...details,
  });
}

/** `ERR_KEY_INVALID`: a key whose numbers cannot be right. */
export function invalid(message: string, details?: ErrorDetails): DeribitKeysError {
  return new DeribitKeysError('ERR_KEY_INVALID', message, {
    hint: 'do not use this key; make a new one with: deribit-keys generate <name>',
    ...details,
  });
}

/** `ERR_KEY_UNSUPPORTED`: a key of a kind or size that Deribit does not accept. */
export function unsupported(message: string, details?: ErrorDetails): DeribitKeysError {
  return new DeribitKeysError('ERR_KEY_UNSUPPORTED', message, {
    hint: 'Deribit accepts Ed25519 keys and RSA keys of at least 2048 bits; make one with: deribit-keys generate <name>',
    ...details,
  });
}

/** Refuses input over {@link MAX_KEY_INPUT} before any of it is read. */
export function requireSmall(input: string | Uint8Array, name: string): void {
  if (input.length > MAX_KEY_INPUT) {
    throw unreadable(`${name} is too large for a key: ${input.length}, at most ${MAX_KEY_INPUT}`, {
      hint: 'give the file that holds the key and nothing else',
    });
  }
}

/** The error for a key of an algorithm that Deribit does not accept; `what` names it ("EC key (P-256)"). */
export function refuseAlgorithm(what: string): DeribitKeysError {
  return unsupported(`${what}: Deribit accepts Ed25519 or RSA`);
}

/** The error for something well known that cannot be taken; `hint` says how to get a key out of it. */
export function refuseKind(what: string, hint: string): DeribitKeysError {
  return unsupported(what, { hint });
}

/** The error for a private key whose parts were not made for each other. */
export function notTogether(): DeribitKeysError {
  return invalid('private numbers do not belong together');
}
