import { setTimeout as delay } from 'node:timers/promises';
import { describeSpoiltText, type SecretLike, toSecret } from '../crypto/secret.js';
import { DeribitKeysError, isDeribitKeysError, usageError } from '../errors.js';
import { isRecord } from '../util/checks.js';
import { type Account, type Call, type CallOptions, call } from './auth.js';
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

/** Returns the six digits that answer a challenge, or rejects. */
export type SecondFactor = (challenge: SecondFactorChallenge) => Promise<string>;

/** The options of a call that may require a second factor. */
export interface SecondFactorOptions extends CallOptions {
  readonly secondFactor?: SecondFactor | undefined;
  /** Called with sentences for the user, such as why a call waits. */
  readonly onNote?: ((text: string) => void) | undefined;
}

/** One code, and three more where it is refused. */
const MAX_ATTEMPTS = 4;

/**
 * Sends a request in the account's name, and proves the second factor where the exchange wants it: its challenge is a successful
 * result, which is answered by the same request with `authorization_data` and `challenge` added. A refused code
 * (13668) starts over with a new challenge, up to four codes in all.
 *
 * @throws `ERR_SECOND_FACTOR_REQUIRED` (nothing was done) where there is no provider or the account has only hardware keys;
 *   `ERR_SECOND_FACTOR_REFUSED` with `rpc` for the last refusal; and as the provider and {@link call} do
 */
export async function withSecondFactor(
  account: Account,
  { secondFactor, onNote, ...request }: Call & SecondFactorOptions,
): Promise<unknown> {
  const { method, params, signal } = request;
  let refusal: DeribitKeysError | null = null;
  let result = await call(account, request);
  for (let attempt = 1; ; attempt += 1) {
    const challenge = readChallenge(method, result);
    if (challenge === null) return result;
    if (attempt > MAX_ATTEMPTS) throw refusal ?? endless(method);
    const retryable = attempt < MAX_ATTEMPTS;
    const { securityKeys } = challenge;
    const provider = providerFor(method, securityKeys, secondFactor);
    const note = (text: string) => onNote?.(text);
    const reason = refusal === null ? null : reasonOf(refusal);
    const code = await provider({ method, attempt, reason, refusal, retryable, securityKeys, note, signal });
    if (signal?.aborted) throw interruptedError(`the second factor for ${method}`, { maybeSent: false });
    const answer = { ...params, authorization_data: code, challenge: challenge.text };
    try {
      result = await call(account, { ...request, params: answer });
      refusal = null;
    } catch (error) {
      if (!isRefusedCode(error) || !retryable) throw error;
      refusal = error;
      result = await call(account, request);
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

/** Null for a result that is no challenge. */
function readChallenge(method: string, result: unknown) {
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
    throw codeRequired(
      `${method} requires a hardware security key`,
      "add an authenticator app to the account's security keys, or do this on Deribit's web page",
    );
  }
  if (secondFactor !== undefined) return secondFactor;
  throw codeRequired(
    `${method} requires a second factor`,
    'give a code (--tfa-code), or the seed of your authenticator app (--tfa-secret-file, DERIBIT_TFA_SECRET)',
  );
}

function codeRequired(message: string, hint: string): DeribitKeysError {
  return new DeribitKeysError('ERR_SECOND_FACTOR_REQUIRED', message, { hint, maybeSent: false });
}

function endless(method: string): DeribitKeysError {
  return new DeribitKeysError(
    'ERR_SECOND_FACTOR_REFUSED',
    `the exchange answers each code for ${method} with a new challenge`,
    { hint: "check the clock, and try the code on Deribit's web page" },
  );
}

/** The options of {@link totpSecondFactor}. */
export interface TotpOptions {
  /** Milliseconds since the epoch. */
  readonly nowMs?: (() => number) | undefined;
  /** Resolves after so many milliseconds, or rejects when the signal fires. */
  readonly sleep?: ((ms: number, signal?: AbortSignal) => Promise<void>) | undefined;
}

const STEP_MS = 30_000;
/** What a prompt may be given wrong in form, for one challenge. */
const MAX_TYPOS = 3;

/**
 * Codes from the seed of an authenticator app (RFC 6238: SHA-1, 30 s, 6 digits), in base32 or in an `otpauth:` URI.
 * Spaces, hyphens, lower case and missing padding are accepted. The exchange accepts each code once, so no code is
 * returned twice: where the current one was used, the provider waits for the next one, with a note, and concurrent calls
 * take turns. A code that does not match is not repeated unless its time step passed on the way.
 * @throws `ERR_USAGE` for a text that is not a seed
 */
export function totpSecondFactor(seed: SecretLike, options: TotpOptions = {}): SecondFactor {
  const text = normaliseSeed(toSecret(seed).reveal());
  const nowMs = options.nowMs ?? Date.now;
  const sleep = options.sleep ?? sleepFor;
  let lastStep = Number.NEGATIVE_INFINITY;
  let lastTurn: Promise<unknown> = Promise.resolve();

  const nextCode = async ({ reason, refusal, note, signal }: SecondFactorChallenge): Promise<string> => {
    let step = stepOf(nowMs());
    if (refusal !== null && reason === 'tfa_code_not_matched' && step === lastStep) throw refusal;
    if (step <= lastStep) {
      const waitMs = (lastStep + 1) * STEP_MS - nowMs();
      note(`the current code was used already: waiting ${Math.ceil(waitMs / 1000)} s for the next one`);
      await sleep(waitMs, signal);
      step = Math.max(lastStep + 1, stepOf(nowMs()));
    }
    lastStep = step;
    const { TOTP, Secret: Seed } = await import('otpauth');
    return new TOTP({ secret: Seed.fromBase32(text) }).generate({ timestamp: step * STEP_MS });
  };

  return (challenge) => {
    const turn = lastTurn.then(() => nextCode(challenge));
    lastTurn = turn.catch(() => {});
    return turn;
  };
}

/**
 * One code that the user has at hand. It answers the first challenge; a second challenge is
 * `ERR_SECOND_FACTOR_REQUIRED`, a refused code rejects with its refusal.
 * @throws `ERR_USAGE` for anything but six digits
 */
export function singleCodeSecondFactor(code: SecretLike): SecondFactor {
  const digits = digitsOf(toSecret(code).reveal());
  if (digits === null) {
    throw usageError(
      'the second-factor code is not six digits',
      'copy it from the authenticator app; its seed has an option of its own',
    );
  }
  let used = false;
  return async (challenge) => {
    if (challenge.refusal !== null) throw challenge.refusal;
    if (used) {
      throw codeRequired(
        `${challenge.method} requires another second-factor code`,
        'a single code answers one request only: give the seed instead, so that each request gets its own code',
      );
    }
    used = true;
    return digits;
  };
}

/** Codes typed by a person. `ask` shows a question; an answer that is not six digits is asked for again. */
export function promptSecondFactor(
  ask: (question: string, challenge: SecondFactorChallenge) => Promise<string>,
): SecondFactor {
  return async (challenge) => {
    let question = questionFor(challenge);
    for (let typos = 0; typos <= MAX_TYPOS; typos += 1) {
      const digits = digitsOf(await ask(question, challenge));
      if (digits !== null) return digits;
      question = 'A code has six digits. Second-factor code: ';
    }
    throw codeRequired('no second-factor code was given', 'type the six digits that the authenticator app shows');
  };
}

function questionFor({ method, reason }: SecondFactorChallenge): string {
  if (reason === null) return `Second-factor code for ${method}: `;
  if (reason === 'used_tfa_code') return 'That code was used already. The next one, once the app shows it: ';
  if (reason === 'challenge_timeout') return 'That took too long. A fresh code: ';
  return 'That code was refused. Second-factor code: ';
}

function stepOf(timeMs: number): number {
  return Math.floor(timeMs / STEP_MS);
}

function digitsOf(text: string): string | null {
  const digits = text.replace(/\s/g, '');
  return /^\d{6}$/.test(digits) ? digits : null;
}

const SEED_HINT =
  'give the secret that Deribit showed when the authenticator app was set up: letters A to Z and digits 2 to 7';

/** What was given instead of a seed, where that is plain, as the end of a sentence. */
function describeNoSeed(text: string): string | null {
  if (digitsOf(text) !== null) return 'is a code of six digits: give it with --tfa-code instead';
  if (/^otpauth-migration:/i.test(text)) return 'is an export of Google Authenticator, which may hold many seeds';
  // spaces are allowed in a seed, but a second line is a second value
  return /^[A-Za-z2-7 =-]+$/.test(text) ? null : describeSpoiltText(text.replaceAll(' ', ''));
}

/** RFC 4648 §6 without padding; lengths that no number of whole bytes has are refused. */
function normaliseSeed(given: string): string {
  // zbarimg writes what it reads like this
  const seed = given.replace(/^\s*QR-Code:/, '');
  const isUri = /^\s*otpauth:/i.test(seed);
  const known = isUri ? null : describeNoSeed(seed.trim());
  if (known !== null) throw usageError(`the second-factor seed ${known}`, SEED_HINT);
  const text = (isUri ? seedInUri(seed.trim()) : seed).replace(/[\s-]/g, '').replace(/=+$/, '').toUpperCase();
  if (!/^[A-Z2-7]+$/.test(text) || [1, 3, 6].includes(text.length % 8)) {
    throw usageError(`the second-factor seed (${seed.length} characters) is not base32`, SEED_HINT);
  }
  return text;
}

/** The seed in an `otpauth:` URI, as password managers and QR codes hold it. @throws `ERR_USAGE` for codes of another kind */
function seedInUri(uri: string): string {
  const refuse = (why: string) =>
    usageError(
      `the otpauth: URI of the second factor ${why}`,
      'Deribit takes six digits that change every 30 seconds (TOTP, SHA-1): give its URI or its base32 seed',
    );
  if (!URL.canParse(uri)) throw refuse('cannot be parsed');
  const url = new URL(uri);
  const searchParams = new Map([...url.searchParams].map(([name, value]) => [name.toLowerCase(), value]));
  if (url.host.toLowerCase() !== 'totp') throw refuse('is not for time-based codes (otpauth://totp/…)');
  const isOther = (name: string, value: string) => (searchParams.get(name) ?? value).toUpperCase() !== value;
  if (isOther('digits', '6') || isOther('period', '30') || isOther('algorithm', 'SHA1')) {
    throw refuse('has a different number of digits, period or algorithm');
  }
  const secret = searchParams.get('secret') ?? '';
  if (secret === '') throw refuse('has no secret in it');
  return secret;
}

async function sleepFor(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch {
    throw interruptedError('waiting for the next code', { maybeSent: false });
  }
}
