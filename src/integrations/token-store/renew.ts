import type { Credentials } from '../../deribit/auth.js';
import { type Login, refreshLogin } from '../../deribit/auth.js';
import type { Endpoint } from '../../deribit/endpoints.js';
import { isTransientRefusal } from '../../deribit/json-rpc.js';
import { type SignInContext, signIn } from '../../deribit/sign-in.js';
import type { Transport } from '../../deribit/transport.js';
import { isDeribitKeysError } from '../../errors.js';
import { defined } from '../../util/defined.js';
import type { StoredToken } from './token-store.js';

export interface RenewOptions extends SignInContext {
  /** Opens a transport over HTTP: a token issued there does not end with a connection. */
  readonly connect: (endpoint: Endpoint) => Promise<Transport>;
  readonly endpoint: Endpoint;
  /** Asked for only where a signature is needed. */
  readonly credentials: () => Promise<Credentials>;
  readonly scope?: string | undefined;
  readonly nowMs: () => number;
  /** Told how the token was renewed. */
  readonly onRenewed?: ((how: 'login' | 'refresh') => void) | undefined;
}

/** The session in which the processes of a fleet share one token: they count as one of Deribit's 16 sessions per key. */
const SHARED_SESSION = 'session:deribit_keys';

/** `scope` under the session that processes share, unless it names a session itself. */
export function sharedScope(scope: string | undefined): string {
  if (scope === undefined) return SHARED_SESSION;
  return /(^| )(session:|connection( |$))/.test(scope) ? scope : `${scope} ${SHARED_SESSION}`;
}

/**
 * Logs in for a token that outlives the process: by the refresh token of the expiring one where that is kept, else by
 * signature.
 * @throws as `login` does
 */
export async function renewToken(options: RenewOptions, expiring: StoredToken | null): Promise<StoredToken> {
  const { connect, endpoint, credentials, scope, nowMs, signal } = options;
  const transport = await connect(endpoint);
  try {
    const issuedAtMs = nowMs();
    const byRefresh = await refreshed(transport, expiring, defined({ signal }));
    const login = byRefresh ?? (await signed());
    options.onRenewed?.(byRefresh === null ? 'login' : 'refresh');
    return {
      accessToken: login.accessToken.reveal(),
      refreshToken: login.refreshToken.reveal(),
      issuedAtMs,
      expiresAtMs: issuedAtMs + login.expiresInS * 1_000,
      scope: login.scope,
    };
  } finally {
    await transport.close().catch(() => {});
  }

  async function signed(): Promise<Login> {
    return signIn(options, transport, await credentials(), scope);
  }
}

/** Null where there is no refresh token, or the exchange no longer accepts it. */
async function refreshed(
  transport: Transport,
  expiring: StoredToken | null,
  options: { readonly signal?: AbortSignal },
): Promise<Login | null> {
  if (expiring?.refreshToken == null) return null;
  try {
    const { Secret } = await import('../../crypto/secret.js');
    return await refreshLogin(transport, new Secret(expiring.refreshToken), options);
  } catch (error) {
    if (!isDeribitKeysError(error) || error.rpc === undefined || isTransientRefusal(error)) throw error;
    return null;
  }
}
