import { type Secret, toSecret } from '../../crypto/secret.js';
import { signerError } from '../../crypto/signer.js';
import { DeribitKeysError, usageError } from '../../errors.js';
import type { SecretProvider } from '../remote-key.js';
import { concurrencyLimit } from '../signer-kind.js';
import {
  CKF_LOGIN_REQUIRED,
  CKF_PROTECTED_AUTHENTICATION_PATH,
  CKF_SERIAL_SESSION,
  CKF_TOKEN_INITIALIZED,
  CKF_USER_PIN_COUNT_LOW,
  CKF_USER_PIN_FINAL_TRY,
  CKF_USER_PIN_INITIALIZED,
  CKF_USER_PIN_LOCKED,
  CKR_PIN_LOCKED,
  CKR_USER_ALREADY_LOGGED_IN,
  CKS_RO_USER_FUNCTIONS,
  CKS_RW_USER_FUNCTIONS,
  CKU_USER,
  type Cryptoki,
  ckrOf,
  type Handle,
  PIN_WRONG,
} from './cryptoki.js';

/** Which token: by its label, else its serial number; or by the number of its slot. */
export type TokenChoice =
  | { readonly token: string; readonly slot?: never }
  | { readonly slot: number; readonly token?: never };

/** A PIN, or a function that is called when it is needed. */
export type PinSource = SecretProvider;

/** A token, and the library that it is reached through. */
export interface Token {
  readonly cryptoki: Cryptoki;
  readonly slot: Handle;
  readonly label: string;
}

/** An open session of a token. */
export interface Session {
  readonly token: Token;
  readonly handle: Handle;
}

/** The number of a slot, which the library returns as a long integer of the machine. */
const slotNumber = (slot: Handle) => slot.readUIntLE(0, Math.min(slot.length, 6));

type SlotToken = ReturnType<typeof tokensOf>[number];

const isInitialised = ({ info }: SlotToken) => (info.flags & CKF_TOKEN_INITIALIZED) !== 0;

function tokensOf(cryptoki: Cryptoki) {
  return cryptoki.C_GetSlotList(true).map((slot) => {
    const info = cryptoki.C_GetTokenInfo(slot);
    return { slot, info, label: info.label.trimEnd(), serial: info.serialNumber.trim() };
  });
}

/** Without repetitions: a proxy of several modules may show one token in two slots. */
function distinct(tokens: readonly SlotToken[]): readonly SlotToken[] {
  return [...new Map(tokens.map((token) => [`${token.serial}\n${token.label}`, token])).values()];
}

/**
 * The token that `choice` names.
 * @throws `ERR_SIGNER` if it is not found, `ERR_USAGE` if several have the label
 */
export function findToken(cryptoki: Cryptoki, choice: TokenChoice): Token {
  const all = tokensOf(cryptoki);
  const tokens = all.filter(isInitialised);
  const byLabel = tokens.filter(({ slot, label }) =>
    choice.token === undefined ? slotNumber(slot) === choice.slot : label === choice.token,
  );
  const found = distinct(byLabel.length > 0 ? byLabel : tokens.filter(({ serial }) => serial === choice.token));
  const what = choice.token === undefined ? `in slot ${choice.slot}` : `"${choice.token}"`;
  const [first, second] = found;
  if (first === undefined) throw noToken(all, what);
  if (second !== undefined) {
    throw usageError(
      `there are ${found.length} tokens ${what}`,
      `name one by its serial number: ${found.map(({ serial }) => serial).join(', ')}`,
    );
  }
  return { cryptoki, slot: first.slot, label: first.label };
}

/** Why there is no such token: another is there, one is not initialised, or none is there at all. */
function noToken(all: readonly SlotToken[], what: string): DeribitKeysError {
  const labels = all.filter(isInitialised).map(({ label }) => `"${label}"`);
  if (labels.length > 0) return signerError(`there is no token ${what}`, `the module has ${labels.join(', ')}`);
  const [empty] = all.filter((token) => !isInitialised(token));
  if (empty === undefined) {
    return signerError(
      `there is no token ${what}: the module has none at all`,
      'plug it in, or set the module up as its documentation says; pkcs11-tool --module <file> -L lists its tokens',
    );
  }
  const slot = slotNumber(empty.slot);
  return signerError(
    `there is no token ${what}: the one in slot ${slot} is not initialised`,
    `initialise it, and set its user PIN: pkcs11-tool --module <file> --slot ${slot} --init-token --label <label>; ` +
      'pkcs11-tool --module <file> --token-label <label> --login --login-type so --init-pin',
  );
}

const infoOf = ({ cryptoki, slot }: Token) => cryptoki.C_GetTokenInfo(slot);

/** Whether the token supports the mechanism. */
export function hasMechanism({ cryptoki, slot }: Token, mechanism: number): boolean {
  return cryptoki.C_GetMechanismList(slot).includes(mechanism);
}

/** The PIN for C_Login: null if it is typed on the token's own keypad. */
export async function pinFor(token: Token, source: PinSource | undefined): Promise<Secret | null> {
  const { flags } = infoOf(token);
  if ((flags & CKF_PROTECTED_AUTHENTICATION_PATH) !== 0) return null;
  if (source !== undefined) return toSecret(typeof source === 'function' ? await source() : source);
  throw new DeribitKeysError('ERR_PASSPHRASE_REQUIRED', `the token "${token.label}" needs a PIN, and none was given`, {
    hint: 'use --pin-file <file> or DERIBIT_KEYS_PIN, or run this on a terminal',
  });
}

/**
 * Logs in if the token needs it. A login holds for all sessions of the process. A wrong PIN is tried only once.
 * @throws `ERR_PASSPHRASE_WRONG` with the tries left if the token reports them, `ERR_PASSPHRASE_REQUIRED`, `ERR_SIGNER` for
 *   a locked PIN
 */
export async function logIn({ token, handle }: Session, source: PinSource | undefined): Promise<void> {
  const { cryptoki } = token;
  const { flags } = infoOf(token);
  if ((flags & CKF_LOGIN_REQUIRED) === 0) return;
  const { state } = cryptoki.C_GetSessionInfo(handle);
  if (state === CKS_RO_USER_FUNCTIONS || state === CKS_RW_USER_FUNCTIONS) return;
  if ((flags & CKF_USER_PIN_LOCKED) !== 0) throw pinLocked(token);
  if ((flags & CKF_USER_PIN_INITIALIZED) === 0) {
    throw signerError(
      `the token "${token.label}" has no user PIN yet`,
      `set one: pkcs11-tool --module <file> --token-label "${token.label}" --login --login-type so --init-pin`,
    );
  }
  const pin = await pinFor(token, source);
  try {
    cryptoki.C_Login(handle, CKU_USER, pin?.reveal());
  } catch (cause) {
    if (ckrOf(cause) !== CKR_USER_ALREADY_LOGGED_IN) throw pinError(token, cause);
  }
}

function pinLocked(token: Token, cause?: unknown): DeribitKeysError {
  return signerError(
    `the PIN of the token "${token.label}" is locked`,
    'unlock it with the PIN of the security officer or the PUK, with the tools of its vendor',
    cause,
  );
}

/** What a failed C_Login means. */
export function pinError(token: Token, cause: unknown): DeribitKeysError {
  const code = ckrOf(cause);
  const { flags } = infoOf(token);
  if (code === CKR_PIN_LOCKED || (flags & CKF_USER_PIN_LOCKED) !== 0) return pinLocked(token, cause);
  if (code !== null && PIN_WRONG.has(code)) {
    const left =
      (flags & CKF_USER_PIN_FINAL_TRY) !== 0
        ? 'ONE try is left before the PIN is locked'
        : (flags & CKF_USER_PIN_COUNT_LOW) !== 0
          ? 'more than one try is left'
          : 'the token does not report how many tries are left';
    return new DeribitKeysError('ERR_PASSPHRASE_WRONG', `wrong PIN for the token "${token.label}": ${left}`, {
      hint: 'it was tried only once: check --pin-file or DERIBIT_KEYS_PIN',
      cause,
    });
  }
  return tokenError(token, 'refused the login', cause);
}

/** Any other failure, by its name in PKCS#11. */
export function tokenError(token: Token, what: string, cause: unknown): DeribitKeysError {
  if (cause instanceof DeribitKeysError) return cause;
  const name = ckrOf(cause) !== null && cause instanceof Error ? cause.message : 'no PKCS#11 error';
  return signerError(
    `the token "${token.label}" ${what} (${name})`,
    'see the documentation of the module for this code, and check the token',
    cause,
  );
}

/** @throws `ERR_SIGNER` */
export function openSession(token: Token, flags: number): Session {
  try {
    return { token, handle: token.cryptoki.C_OpenSession(token.slot, flags) };
  } catch (error) {
    throw tokenError(token, 'opens no session', error);
  }
}

/** Closes a session, which may be closed already. */
export function closeSession({ token, handle }: Session): void {
  try {
    token.cryptoki.C_CloseSession(handle);
  } catch {
    // it is closed either way
  }
}

/** The size of the thread pool of Node.js. */
const SESSIONS = 4;

/** The sessions of one token. Each operation has its own; one stays open, because the login ends with the last. */
export type SessionPool = ReturnType<typeof sessionPool>;

/** @param first an open session, which the pool takes over */
export function sessionPool(first: Session) {
  const { token } = first;
  const { maxSessionCount } = infoOf(token);
  const limited = concurrencyLimit(maxSessionCount > 0 ? Math.min(SESSIONS, maxSessionCount) : SESSIONS);
  const idle = [first];
  let closed = false;
  return {
    /** Runs `work` with its own session, which is closed if it fails: an operation may be half done in it. */
    use: <T>(work: (session: Session) => Promise<T>): Promise<T> =>
      limited(async () => {
        const session = idle.pop() ?? {
          token,
          handle: token.cryptoki.C_OpenSession(token.slot, CKF_SERIAL_SESSION),
        };
        try {
          const result = await work(session);
          if (closed) closeSession(session);
          else idle.push(session);
          return result;
        } catch (error) {
          closeSession(session);
          throw error;
        }
      }),
    /** Closes the idle sessions now, and those in use when they are done. */
    close(): void {
      closed = true;
      for (const session of idle.splice(0)) closeSession(session);
    },
  };
}
