import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';

/** How many API keys an account or subaccount can have, as Deribit documents it. */
export const DOCUMENTED_KEY_LIMIT = 8;

/**
 * How many more keys an account with `present` keys can have; null where that is unknown: an account with more keys than
 * documented has another limit, which only a refusal of the exchange tells.
 */
export function roomForKeys(present: number): number | null {
  return present > DOCUMENTED_KEY_LIMIT ? null : DOCUMENTED_KEY_LIMIT - present;
}

/** Whether the exchange refused to create a key because the account has too many. Its code is not documented: a guess. */
export function isKeyLimitRefusal(error: unknown): error is DeribitKeysError {
  if (!isDeribitKeysError(error) || error.rpc === undefined) return false;
  const { message, data } = error.rpc;
  const said = `${message} ${JSON.stringify(data ?? '')}`;
  return (
    /\bkeys?\b/i.test(said.replaceAll('_', ' ')) && /\b(max|maximum|limit|too many)\b/i.test(said.replaceAll('_', ' '))
  );
}

/** The error for an account that can have no more keys; `cause` is the refusal of the exchange, where it was asked. */
export function noRoom(what: string, cause?: DeribitKeysError): DeribitKeysError {
  const hint = 'remove one that is not needed: deribit-keys api-keys list, deribit-keys api-keys remove <which>';
  return cause === undefined
    ? new DeribitKeysError('ERR_STATE', what, { hint })
    : cause.with({ code: 'ERR_STATE', message: what, hint });
}
