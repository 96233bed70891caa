import { Secret } from '../crypto/secret.js';
import { isDeribitKeysError } from '../errors.js';
import { defined } from '../util/defined.js';
import { buildAuthParams, type Credentials } from './auth-params.js';
import { clockCommand, describeOffset, type ExchangeClock, getTime, withClockCorrection } from './clock.js';
import { type Params, protocolError } from './json-rpc.js';
import { fieldsOf } from './shapes.js';
import type { RequestOptions, Transport } from './transport.js';

export { type AuthParams, type AuthParamsOptions, buildAuthParams, type Credentials } from './auth-params.js';

/** A token's life beyond this is not believed: its end could not be written as a date. A hundred years. */
const LONGEST_LIFE_S = 100 * 365 * 24 * 60 * 60;

/** A login that the exchange granted. */
export interface Login {
  readonly accessToken: Secret;
  readonly refreshToken: Secret;
  readonly expiresInS: number;
  /** As granted, which may be less than what was asked for: the exchange narrows a scope instead of refusing it. */
  readonly scope: string;
  readonly tokenType: string;
  /** Under a session scope only. */
  readonly sid: string | null;
  /** The caller's own, echoed. */
  readonly state: string | null;
  readonly enabledFeatures: readonly string[];
  readonly mandatoryTfaStatus: string | null;
}

/** How long a request may take, and what ends it: see {@link RequestOptions}. */
export type CallOptions = Pick<RequestOptions, 'signal' | 'timeoutMs'>;

/** The options of a login. */
export interface LoginOptions extends CallOptions {
  readonly scope?: string | undefined;
  readonly state?: string | undefined;
  /** The timestamp to sign. */
  readonly timestampMs?: number | undefined;
  /** The clock to take it from otherwise; milliseconds. */
  readonly nowMs?: (() => number) | undefined;
}

/**
 * Logs in by signature (`public/auth`). On a WebSocket the connection itself is authenticated from then on.
 * @throws `ERR_UNAUTHORIZED` where the exchange refuses, and as {@link buildAuthParams} and {@link Transport.request} do
 */
export async function login(
  transport: Transport,
  credentials: Credentials,
  options: LoginOptions = {},
): Promise<Login> {
  const { scope, state, timestampMs = options.nowMs?.() } = options;
  const params = await buildAuthParams(credentials, { timestampMs, scope, state });
  return authenticate(transport, { method: 'public/auth', params: { ...params }, ...options });
}

/**
 * Logs in by sending the shared secret of a symmetric key (`client_credentials`). Prefer {@link login}, which does not.
 * @throws `ERR_UNAUTHORIZED` where the exchange refuses, and as {@link Transport.request} does
 */
export async function loginWithClientSecret(
  transport: Transport,
  { clientId, clientSecret }: { readonly clientId: string; readonly clientSecret: Secret },
  { scope, state, ...options }: LoginOptions = {},
): Promise<Login> {
  const secret = { grant_type: 'client_credentials', client_id: clientId, client_secret: clientSecret.reveal() };
  const params = { ...secret, ...defined({ scope, state }) };
  return authenticate(transport, { method: 'public/auth', params, ...options });
}

/**
 * Trades a refresh token for a new pair (`public/auth`, `refresh_token`); where it is refused, sign again.
 * @throws `ERR_UNAUTHORIZED` where the exchange refuses, and as {@link Transport.request} does
 */
export async function refreshLogin(
  transport: Transport,
  refreshToken: Secret,
  { scope, state, ...options }: LoginOptions = {},
): Promise<Login> {
  const params = {
    grant_type: 'refresh_token',
    refresh_token: refreshToken.reveal(),
    ...defined({ scope, state }),
  };
  return authenticate(transport, { method: 'public/auth', params, ...options });
}

/** The arguments of {@link exchangeToken}. */
export interface ExchangeTokenOptions extends CallOptions {
  readonly refreshToken: Secret;
  /** The user id of the subaccount. */
  readonly subjectId: number;
  readonly scope?: string | undefined;
}

/**
 * Logs in to a subaccount (`public/exchange_token`).
 * @throws as {@link login} does, and `ERR_RPC` where there is no such subaccount
 */
export async function exchangeToken(
  transport: Transport,
  { refreshToken, subjectId, scope, ...options }: ExchangeTokenOptions,
): Promise<Login> {
  const params = { refresh_token: refreshToken.reveal(), subject_id: subjectId, ...defined({ scope }) };
  return authenticate(transport, { method: 'public/exchange_token', params, ...options });
}

/** The arguments of {@link forkToken}. */
export interface ForkTokenOptions extends CallOptions {
  /** Of a login with a session scope. */
  readonly refreshToken: Secret;
  readonly sessionName: string;
}

/**
 * Logs in to a new session (`public/fork_token`).
 * @throws as {@link login} does
 */
export async function forkToken(
  transport: Transport,
  { refreshToken, sessionName, ...options }: ForkTokenOptions,
): Promise<Login> {
  const params = { refresh_token: refreshToken.reveal(), session_name: sessionName };
  return authenticate(transport, { method: 'public/fork_token', params, ...options });
}

/**
 * Logs out (`private/logout`). The exchange does not answer on a WebSocket but closes it, which is the success; the
 * account cannot be used afterwards. With `invalidateToken` (the default) its tokens are void, too.
 */
export async function logout(
  account: Account,
  { invalidateToken = true, ...options }: CallOptions & { readonly invalidateToken?: boolean } = {},
): Promise<void> {
  try {
    await call(account, { method: 'private/logout', params: { invalidate_token: invalidateToken }, ...options });
  } catch (error) {
    const closed = isDeribitKeysError(error, 'ERR_CONNECTION_CLOSED') && error.maybeSent === true;
    if (!closed || account.transport.kind !== 'websocket') throw error;
  }
  await account.transport.close();
}

async function authenticate(transport: Transport, { method, params, signal, timeoutMs }: Call): Promise<Login> {
  const fields = fieldsOf(method, await transport.request(method, params, defined({ signal, timeoutMs })));
  const token = (name: string) => {
    const value = fields.string(name);
    if (!/^[\x21-\x7e]+$/.test(value)) throw protocolError(`the answer to ${method} holds an unusable ${name}`);
    return new Secret(value);
  };
  const expiresInS = fields.number('expires_in');
  if (!(expiresInS > 0)) throw protocolError(`the answer to ${method} holds tokens that have expired already`);
  return {
    accessToken: token('access_token'),
    refreshToken: token('refresh_token'),
    expiresInS: Math.min(expiresInS, LONGEST_LIFE_S),
    scope: fields.string('scope'),
    tokenType: fields.optionalString('token_type') ?? 'bearer',
    sid: fields.optionalString('sid'),
    state: fields.optionalString('state'),
    enabledFeatures: fields.strings('enabled_features'),
    mandatoryTfaStatus: fields.optionalString('mandatory_tfa_status'),
  };
}

/** Somebody who is logged in. */
export interface Account {
  readonly transport: Transport;
  /** Null on a WebSocket connection that has logged in: then the connection itself is the proof. */
  readonly accessToken: Secret | null;
}

/** The account of a login that was made over `transport`; over a WebSocket no token needs to be sent any more. */
export function accountOf(transport: Transport, login: { readonly accessToken: Secret }): Account {
  return { transport, accessToken: transport.kind === 'websocket' ? null : login.accessToken };
}

/** A request in an account's name. */
export interface Call extends CallOptions {
  readonly method: string;
  readonly params?: Params;
}

/**
 * Sends a request in the account's name. Resolves to its result, unchecked.
 * @throws `ERR_RPC`, `ERR_UNAUTHORIZED`, `ERR_NETWORK`, `ERR_TIMEOUT` …, as {@link Transport.request} does
 */
export function call(
  { transport, accessToken }: Account,
  { method, params, signal, timeoutMs }: Call,
): Promise<unknown> {
  return transport.request(method, params, defined({ signal, timeoutMs, accessToken: accessToken ?? undefined }));
}

/** What a login needs beside its credentials. */
export interface SignInContext {
  readonly clock: ExchangeClock;
  readonly signal?: AbortSignal;
  /** Told when the login was signed by the exchange's clock. */
  readonly onNote?: (note: string) => void;
}

interface SignInRequest {
  readonly transport: Transport;
  readonly credentials: Credentials;
  readonly scope?: string | undefined;
}

/**
 * Logs in by signature; where that is refused and the local clock is far off, once more by the exchange's clock, which
 * later logins of this context use from the start. The exchange's clock is not used where it is more than a day away.
 * @throws as {@link login} does
 */
export async function signIn(
  { clock, signal, onNote }: SignInContext,
  { transport, credentials, scope }: SignInRequest,
): Promise<Login> {
  const options = defined({ signal });
  return withClockCorrection({
    clock,
    attempt: () => login(transport, credentials, { ...options, scope, timestampMs: clock.timestampMs() }),
    read: () =>
      clock
        .read(() => getTime(transport, options))
        .catch((unread: unknown) => {
          if (isDeribitKeysError(unread, 'ERR_INTERRUPTED')) throw unread;
          return null;
        }),
    onCorrected: ({ offsetMs }) =>
      onNote?.(
        `the clock here is ${describeOffset(offsetMs)}: signed by the exchange's; set it with: ${clockCommand()}`,
      ),
  });
}
