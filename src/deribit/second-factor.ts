import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { type Account, type CallOptions, call } from './account.js';
import { isRecord } from './json-rpc.js';
import { interruptedError } from './network-errors.js';
import { fieldsOf, listOf } from './shapes.js';

/** A request of the exchange to prove a second factor, as a provider of codes sees it. */
export interface SecondFactorChallenge {
  /** The protected method. */
  readonly method: string;
  /** 1 for the first code of a call. */
  readonly attempt: number;
  /** Why the code before was refused: `tfa_code_not_matched`, `used_tfa_code`, `challenge_timeout`, …; null at first. */
  readonly reason: string | null;
  /** The refusal of the code before; a provider that has no better code throws it. */
  readonly refusal: DeribitKeysError | null;
  /** Whether another code may be given where this one is refused. */
  readonly retryable: boolean;
  /** Kinds of security keys that the account has; `tfa` is among them. */
  readonly securityKeys: readonly string[];
  /** Tells the user why it takes longer. */
  readonly note: (text: string) => void;
  readonly signal: AbortSignal | undefined;
}

/** Gives the six digits that answer a challenge, or rejects. */
export type SecondFactor = (challenge: SecondFactorChallenge) => Promise<string>;

export interface SecondFactorOptions extends CallOptions {
  readonly secondFactor?: SecondFactor | undefined;
  /** Called with sentences for the user, such as why a call waits. */
  readonly onNote?: ((text: string) => void) | undefined;
}

/** One code, and three more where it is refused. */
const MAX_ATTEMPTS = 4;

/**
 * Asks in the account's name, and proves the second factor where the exchange wants it: its challenge is a successful
 * result, which is answered by the same request with `authorization_data` and `challenge` added. A refused code
 * (13668) starts over with a new challenge, up to four codes in all.
 *
 * Throws `ERR_SECOND_FACTOR_REQUIRED` (nothing was done) where there is no provider or the account has hardware keys
 * only; `ERR_SECOND_FACTOR_REFUSED` with `rpc` for the last refusal; else as the provider and the transport do.
 */
export async function withSecondFactor(
  account: Account,
  method: string,
  params: Readonly<Record<string, unknown>> = {},
  options: SecondFactorOptions = {},
): Promise<unknown> {
  const { secondFactor, signal, onNote } = options;
  let refusal: DeribitKeysError | null = null;
  let result = await call(account, method, params, options);
  for (let attempt = 1; ; attempt += 1) {
    const challenge = readChallenge(method, result);
    if (challenge === null) return result;
    if (attempt > MAX_ATTEMPTS) throw refusal ?? endless(method);
    const retryable = attempt < MAX_ATTEMPTS;
    const { securityKeys } = challenge;
    const provider = providerFor(method, securityKeys, secondFactor);
    const note = (text: string) => onNote?.(text);
    const code = await provider({
      method,
      attempt,
      reason: refusal === null ? null : reasonOf(refusal),
      refusal,
      retryable,
      securityKeys,
      note,
      signal,
    });
    if (signal?.aborted) throw interruptedError(`the second factor for ${method}`, { maybeSent: false });
    const answer = { ...params, authorization_data: code, challenge: challenge.text };
    try {
      result = await call(account, method, answer, options);
      refusal = null;
    } catch (error) {
      if (!isRefusedCode(error) || !retryable) throw error;
      refusal = error;
      result = await call(account, method, params, options);
    }
  }
}

/** `data.reason` of a refused code. */
function reasonOf(refusal: DeribitKeysError): string {
  const data = refusal.rpc?.data;
  return isRecord(data) && typeof data.reason === 'string' ? data.reason : 'unknown';
}

function isRefusedCode(error: unknown): error is DeribitKeysError {
  return isDeribitKeysError(error, 'ERR_SECOND_FACTOR_REFUSED') && error.rpc?.code === 13668;
}

interface Challenge {
  readonly text: string;
  readonly securityKeys: readonly string[];
}

/** Null for a result that is no challenge. */
function readChallenge(method: string, result: unknown): Challenge | null {
  if (!isRecord(result) || result.security_key_authorization_required !== true) return null;
  const keys = listOf(method, result.security_keys ?? [], 'security_keys');
  const securityKeys = keys.map((key, i) => fieldsOf(method, key, `security_keys[${i}].`).string('type'));
  return { text: fieldsOf(method, result).string('challenge'), securityKeys };
}

function providerFor(
  method: string,
  securityKeys: readonly string[],
  secondFactor: SecondFactor | undefined,
): SecondFactor {
  if (securityKeys.length > 0 && !securityKeys.includes('tfa')) {
    throw new DeribitKeysError('ERR_SECOND_FACTOR_REQUIRED', `${method} wants a hardware security key`, {
      hint: "add an authenticator app to the account's security keys, or do this on Deribit's web page",
      maybeSent: false,
    });
  }
  if (secondFactor !== undefined) return secondFactor;
  throw new DeribitKeysError('ERR_SECOND_FACTOR_REQUIRED', `${method} wants a second factor`, {
    hint: 'give a code (--tfa-code), or the seed of your authenticator app (--tfa-secret-file, DERIBIT_TFA_SECRET)',
    maybeSent: false,
  });
}

function endless(method: string): DeribitKeysError {
  return new DeribitKeysError(
    'ERR_SECOND_FACTOR_REFUSED',
    `the exchange answers each code for ${method} with a new challenge`,
    {
      hint: "check the clock, and try the code on Deribit's web page",
    },
  );
}
