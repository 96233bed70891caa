import { Secret } from '../crypto/secret.js';
import type { Signer } from '../crypto/signer.js';
import { httpUrlOf, resolveEndpoint } from '../deribit/endpoints.js';
import { compareScopes, grantsNothingOf } from '../deribit/scope.js';
import { DeribitKeysError, usageError } from '../errors.js';
import type { KeyRecord } from '../keystore/record.js';
import type { StoredToken, TokenPurpose, TokenStore } from '../session/token-store.js';
import { defined } from '../util/defined.js';
import type { Context } from './context.js';
import type { TokenStoreOptions } from './options.js';

/** Where a stored key logs in to, over HTTP: a token issued there outlives the program. */
interface TokenSource {
  readonly record: KeyRecord;
  readonly clientId: string;
  /** The HTTP endpoint. */
  readonly url: string;
  readonly purpose: TokenPurpose;
  /** What it logs in with: it asks for the key's passphrase where it must. */
  credentials(): Promise<{ readonly clientId: string; readonly signer: Signer }>;
  /** Whether the exchange refuses the token: its key may have been disabled or removed. False where it does not say. */
  isRefused(token: StoredToken): Promise<boolean>;
  /** Logs in for one token, by the refresh token of the expiring one where there is one. */
  renew(expiring: StoredToken | null, onRenewed?: (how: 'login' | 'refresh') => void): Promise<StoredToken>;
}

/** How long the exchange may take to say whether it accepts a token. */
const PROOF_MS = 5_000;

interface TokenOptions {
  readonly scope?: string | undefined;
  /** Whether several processes share the token, so that it should belong to a session of their own. */
  readonly shared: boolean;
}

/** @throws `ERR_NO_SUCH_NAME`, `ERR_STATE` for a key that is not registered, `ERR_USAGE` for another endpoint than its own */
export async function tokenSource(cx: Context, name: string, { scope, shared }: TokenOptions): Promise<TokenSource> {
  const [{ requireClientId, withTransport }, { selectEndpoint }] = await Promise.all([
    import('../workflows/account/account.js'),
    import('../workflows/context.js'),
  ]);
  const record = await cx.store.read(name);
  const clientId = requireClientId(record);
  const endpoint = selectEndpoint(cx.target, record);
  const url = httpUrlOf(endpoint.url);
  const http = resolveEndpoint({ url, environment: endpoint.environment });
  const credentials = async () => {
    cx.login.attempt = { endpoint, clientId, record, secret: null };
    return { clientId, signer: await cx.workflow.signerOf(record) };
  };
  return {
    record,
    clientId,
    url,
    purpose: { clientId, fingerprint: record.fingerprint, url, scope: scope ?? null },
    credentials,
    async isRefused({ accessToken }) {
      const { isSpentToken } = await import('../session/failures.js');
      const options = { accessToken: new Secret(accessToken), timeoutMs: PROOF_MS };
      return withTransport(cx.workflow, http, (transport) =>
        // a scope that does not allow it has another answer than a token that is not valid
        transport.request('private/get_account_summary', { currency: 'BTC' }, options).then(() => false, isSpentToken),
      );
    },
    async renew(expiring, onRenewed) {
      const { renewToken, sharedScope } = await import('../session/token-store.js');
      const { connect, clock, nowMs, signal, onNote } = cx.workflow;
      return renewToken(
        {
          connect,
          clock,
          nowMs,
          onRenewed,
          endpoint: http,
          credentials,
          scope: shared ? sharedScope(scope) : scope,
          ...defined({ signal, onNote }),
        },
        expiring,
      );
    },
  };
}

/** The URL of the store that options or the environment name, and whether it was an argument; null where none is named. */
function storeNamed(cx: Context, { tokenStore, tokenStoreFile }: TokenStoreOptions) {
  const { DERIBIT_KEYS_TOKEN_STORE: inEnv, DERIBIT_KEYS_TOKEN_STORE_FILE: fileInEnv } = cx.host.env;
  if (tokenStore !== undefined) return { url: tokenStore, isArgument: true } as const;
  if (tokenStoreFile !== undefined) return { file: tokenStoreFile } as const;
  if (inEnv) return { url: inEnv, isArgument: false } as const;
  return fileInEnv ? ({ file: fileInEnv } as const) : null;
}

/** Whether tokens are shared through a store that options or the environment name. */
export const namesTokenStore = (cx: Context, flags: TokenStoreOptions): boolean => storeNamed(cx, flags) !== null;

/** The store that options or the environment name; null where the keystore's own file serves. */
export async function namedTokenStore(cx: Context, flags: TokenStoreOptions): Promise<TokenStore | null> {
  const { env } = cx.host;
  const named = storeNamed(cx, flags);
  if (named === null) return null;
  const { parseStoreKey, parseStoreUrl, redisTokenStore } = await import(
    '../integrations/token-store/redis-token-store.js'
  );
  const { readPrivateFile } = await import('../keystore/permissions.js');
  const readOwn = (file: string, what: string) => readPrivateFile(file, cx.permissions, { what });
  const url = 'file' in named ? (await readOwn(named.file, 'token-store URL')).toString('utf8').trim() : named.url;
  if ('url' in named && named.isArgument && parseStoreUrl(url).password !== '') {
    throw usageError(
      '--token-store holds a password, which other users can read in the list of processes',
      'put the URL into DERIBIT_KEYS_TOKEN_STORE, or into a file for --token-store-file',
    );
  }
  const keyFile = flags.tokenStoreKeyFile ?? (env.DERIBIT_KEYS_TOKEN_STORE_KEY_FILE || undefined);
  if (keyFile === undefined) {
    throw usageError(
      'the token store needs the key that its values are encrypted under',
      'make one with: (umask 077; openssl rand -out store.key 32), copy it to each host, and give it by --token-store-key-file',
    );
  }
  const key = parseStoreKey(await readOwn(keyFile, 'token-store key'), keyFile);
  const [ca, { load }] = [await cx.authorities(), cx.host];
  return redisTokenStore({ url, key, ca, ...defined({ load }) });
}

/** Says on stderr which words of the scope that was asked for the exchange left out. */
export function tellMissingScope(cx: Context, asked: string | undefined, granted: string): void {
  if (asked === undefined) return;
  const { missing } = compareScopes(asked, granted);
  if (missing.length > 0) cx.out.note(`note: the key does not allow ${missing.join(' ')}: the exchange left it out`);
}

/** @throws `ERR_UNAUTHORIZED` where nothing of the scope that was asked for was granted */
function requireSomeScope(name: string, asked: string | undefined, granted: string): void {
  if (asked === undefined || !grantsNothingOf(asked, granted)) return;
  throw new DeribitKeysError('ERR_UNAUTHORIZED', `the key "${name}" allows nothing of the scope ${asked}`, {
    hint: `ask for a scope that it allows; see: deribit-keys show ${name}`,
  });
}

/** A valid token of a key: from the store that is shared, else from the keystore's file, else (`cache: false`) a new one. */
export async function validToken(
  cx: Context,
  name: string,
  { cache, ...flags }: TokenStoreOptions & { readonly scope?: string | undefined; readonly cache: boolean },
): Promise<{ readonly source: TokenSource; readonly token: StoredToken }> {
  const { sharedToken } = await import('../session/token-store.js');
  const { fileTokenStore } = await import('../integrations/token-store/file-token-store.js');
  const named = cache ? await namedTokenStore(cx, flags) : null;
  const source = await tokenSource(cx, name, { scope: flags.scope, shared: named !== null });
  const { purpose, renew } = source;
  const { nowMs, signal } = cx.workflow;
  const store = named ?? fileTokenStore({ dir: cx.store.folder, name });
  try {
    let isNew = false;
    const renewed = (expiring: StoredToken | null) => {
      isNew = true;
      return renew(expiring);
    };
    const { tokenStoreAway: whenAway } = flags;
    const shared = { store, purpose, renew: renewed, nowMs, signal, whenAway, onNote: cx.out.note };
    let token = cache ? await sharedToken(shared) : await renewed(null);
    if (!isNew && (await source.isRefused(token))) token = await sharedToken({ ...shared, refused: token.accessToken });
    requireSomeScope(name, flags.scope, token.scope);
    tellMissingScope(cx, flags.scope, token.scope);
    return { source, token };
  } finally {
    await store.close();
  }
}
