import { RPC_CODES } from '../../deribit/rpc-codes.js';
import { DeribitKeysError, type ErrorCode } from '../../errors.js';
import { type Finding, notesOn } from './finding.js';

const MEANING: Readonly<Record<ErrorCode, string>> = {
  ERR_USAGE: 'the command or call was not as it must be: nothing was done',
  ERR_CANCELLED: 'a question was not answered with yes: nothing was done',
  ERR_INTERRUPTED: 'it was broken off from outside, by Ctrl-C for instance',
  ERR_KEY_UNREADABLE: 'a key file is missing, damaged, or no key at all',
  ERR_KEY_UNSUPPORTED: 'the key is of a kind or size that Deribit does not take',
  ERR_KEY_INVALID: "the key's numbers cannot be right: it must not be used",
  ERR_KEY_MISMATCH: 'a key file is not the one that belongs there',
  ERR_PASSPHRASE_REQUIRED: 'the private key is encrypted, and no passphrase was given',
  ERR_PASSPHRASE_WRONG: 'the passphrase does not open the private key',
  ERR_SIGNER: 'what holds the private key (an agent, a token, a service) did not sign',
  ERR_NAME_TAKEN: 'a key of that name exists: nothing is overwritten',
  ERR_NO_SUCH_NAME: 'the keystore has no key of that name; perhaps it is the wrong --keys-dir',
  ERR_RECORD_DAMAGED: 'a record of the keystore cannot be read',
  ERR_RECORD_NEWER: 'a record was written by a newer version of this program',
  ERR_PERMISSIONS: 'others can read a private key, or replace it',
  ERR_KEYSTORE_IO: 'the file system refused: a full disk, a read-only or missing folder',
  ERR_LOCKED: 'another command works on the same key',
  ERR_LOCK_LOST: 'another command took the key over: this one stopped',
  ERR_STATE: 'the key is not in a state that allows this',
  ERR_LISTEN: 'a port or socket to listen on is taken, or cannot be had',
  ERR_NETWORK: 'the exchange cannot be reached: name, network, proxy or TLS',
  ERR_TIMEOUT: 'no answer came in time',
  ERR_CONNECTION_CLOSED: 'the connection ended before the answer',
  ERR_PROTOCOL: 'what answered does not speak as the exchange does',
  ERR_TOKEN_STORE: 'the store that shares access tokens cannot be reached, or the package for it is missing',
  ERR_WRONG_ENVIRONMENT: 'the test exchange answered where production was expected, or the other way round',
  ERR_RPC: "the exchange refused; its own code stands in the error's rpc field",
  ERR_UNAUTHORIZED: 'the exchange did not take the login, or the login may not do this',
  ERR_NOT_ON_EXCHANGE: 'the account has no such API key',
  ERR_SECOND_FACTOR_REQUIRED: 'the exchange wants a second factor, and no code could be had',
  ERR_SECOND_FACTOR_REFUSED: 'the exchange did not take the second factor',
  ERR_NOT_SENT: 'a request was not sent, because no answer could have come within its timeout; nothing was changed',
  ERR_OUTCOME_UNKNOWN: 'a request was sent and no answer came: whether it was done is not known',
  ERR_PROOF_FAILED: 'the exchange recorded or did something else than it was asked for',
  ERR_CHECK_FAILED: 'a check found something wrong',
  ERR_INTERNAL: 'a mistake inside this program',
};

const isErrorCode = (text: string): text is ErrorCode => Object.hasOwn(MEANING, text);

/**
 * What an error means: one of this program's codes (`ERR_…`), or a number of Deribit's JSON-RPC.
 * @throws `ERR_USAGE` for text that is neither
 */
export function explainCode(text: string): Finding {
  const notes = notesOn(null);
  const own = text.toUpperCase();
  if (isErrorCode(own)) return notes.skipped('error', `${own}: ${MEANING[own]}`);
  if (/^-?\d{1,6}$/.test(text)) {
    const known = RPC_CODES.get(Number(text));
    if (known !== undefined) return notes.skipped('error', `Deribit's ${text} (${known.code} here)`, known.hint);
    return notes.skipped('error', `Deribit's ${text} is not one that this program knows: its message says more`);
  }
  throw new DeribitKeysError('ERR_USAGE', `a text of ${text.length} characters is no error code`, {
    hint: "give a number of Deribit's such as 13004, or a code of this program such as ERR_UNAUTHORIZED",
  });
}
