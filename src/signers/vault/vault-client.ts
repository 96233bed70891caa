import { readFile } from 'node:fs/promises';
import type { Agent } from 'undici';
import { type Secret, toSecret } from '../../crypto/secret.js';
import { signerError } from '../../crypto/signer.js';
import { isLoopback } from '../../deribit/endpoints.js';
import { usageError } from '../../errors.js';
import { isRecord, parseJsonObject } from '../../util/checks.js';
import { defined } from '../../util/defined.js';
import { keyService, type SecretProvider, type ServiceCallOptions } from '../remote-key.js';

/** How to log in to Vault. `mount` is the path of the auth method; default: its name. */
export type VaultAuth =
  | { readonly method: 'token'; readonly token: SecretProvider }
  | {
      readonly method: 'approle';
      readonly roleId: string;
      readonly secretId?: SecretProvider | undefined;
      readonly mount?: string | undefined;
    }
  | {
      readonly method: 'kubernetes';
      readonly role: string;
      /** The service account's token; default: the file that Kubernetes mounts, read at each login. */
      readonly jwt?: SecretProvider | undefined;
      readonly mount?: string | undefined;
    }
  /** `address` is a Vault Agent or Proxy with `use_auto_auth_token`, which adds the token. */
  | { readonly method: 'agent' };

/** How Vault is reached. */
export interface VaultOptions extends ServiceCallOptions {
  /** Such as `https://vault.internal:8200`. Plain HTTP only to loopback. */
  readonly address: string;
  readonly auth: VaultAuth;
  readonly namespace?: string | undefined;
  /** PEM of the authorities that are trusted for this server, instead of the public ones. */
  readonly ca?: string | undefined;
}

interface VaultRequest {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: object | undefined;
}

export type VaultClient = ReturnType<typeof vaultClient>;

const SERVICE_ACCOUNT_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';
const MAX_ANSWER_BYTES = 1024 * 1024;
/** A login is repeated before its token has lived this part of its lease. */
const LEASE_USED = 0.8;
/** Node's default of 250 ms for each address is too short for a distant server. */
const ADDRESS_ATTEMPT_MS = 2_500;

export const VAULT = keyService({
  name: 'Vault',
  hints: {
    'no-credentials':
      'get a new token (vault login) and pass it in VAULT_TOKEN or --vault-token-file; for another auth method check its role',
    forbidden: 'the token needs a policy with read on <mount>/keys/<key> and update on <mount>/sign/<key>',
    missing: 'check --key, --mount and the namespace: vault list <mount>/keys',
    disabled:
      'allow this version again (min_decryption_version, min_encryption_version), or use a newer one under another name',
    'wrong-type': 'use a transit key of type ed25519 or rsa-2048, rsa-3072, rsa-4096, without derived',
    throttled: 'wait and try again; the quota is set in Vault (sys/quotas/rate-limit)',
    unreachable:
      'check the address, the network and, for a private authority, --vault-ca-file of add-vault; or allow more time with --timeout',
    unavailable: 'check vault status: it may be sealed or on standby; try again once it is active',
    other: 'read the answer of Vault in this message, and its log',
  },
  classify: (error) => ({ failure: 'other', detail: error instanceof Error ? error.message : undefined }),
});

/** The address without a trailing slash. @throws `ERR_USAGE` for no URL, one with a login, or plain HTTP beyond loopback */
function checkVaultAddress(address: string): string {
  const url = URL.canParse(address) ? new URL(address) : null;
  const refuse = (why: string, hint: string) => usageError(`the address of Vault ${why}`, hint);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw refuse('is not an https: URL', 'use the form of VAULT_ADDR, such as https://vault.internal:8200');
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw refuse('has a login, a query or a fragment', 'keep only scheme, host and port');
  }
  if (url.protocol === 'http:' && !isLoopback(url)) {
    throw refuse(`would send the token to ${url.host} unencrypted`, 'use https:, or a Vault Agent on loopback');
  }
  return url.href.replace(/\/+$/, '').replace(/\/v1$/, '');
}

interface Answer {
  readonly status: number;
  readonly location: string;
  readonly body: Readonly<Record<string, unknown>>;
}

const record = (value: unknown): Readonly<Record<string, unknown>> => (isRecord(value) ? value : {});

/** Vault's own words for a refusal, on one line. */
function wordsOf({ status, body }: Answer): string {
  const errors = Array.isArray(body.errors) ? body.errors.filter((line) => typeof line === 'string') : [];
  const words = errors
    .join('; ')
    .replace(/[\s\p{Cc}]+/gu, ' ')
    .trim()
    .slice(0, 300);
  return words === '' ? `HTTP status ${status}` : words;
}

/** A client of one Vault server. Nothing is sent yet. @throws `ERR_USAGE` for the address */
export function vaultClient(options: VaultOptions) {
  const address = checkVaultAddress(options.address);
  const { host } = new URL(address);
  const { auth, namespace, ca } = options;
  let opening: Promise<{ readonly request: typeof import('undici').request; readonly dispatcher: Agent }> | null = null;
  const undici = () => {
    opening ??= import('undici').then(({ Agent, request }) => {
      // only what is named here: no proxy of the environment, no redirect
      const connect = { autoSelectFamilyAttemptTimeout: ADDRESS_ATTEMPT_MS, ...defined({ ca }) };
      return { request, dispatcher: new Agent({ connect }) };
    });
    return opening;
  };
  let session: { readonly token: Secret; readonly untilMs: number } | null = null;

  const send = async (
    key: string,
    { method, path, body: sent, token }: VaultRequest & { readonly token?: Secret | undefined },
  ): Promise<Answer> => {
    const call = VAULT.calls(key, options);
    return call(async (signal) => {
      const { request, dispatcher } = await undici();
      const response = await request(`${address}/v1/${path}`, {
        method,
        dispatcher,
        signal,
        headers: {
          // required by agents that guard against requests forged through a browser
          'x-vault-request': 'true',
          ...defined({
            'x-vault-namespace': namespace,
            'x-vault-token': token?.reveal(),
            'content-type': sent === undefined ? undefined : 'application/json',
          }),
        },
        body: sent === undefined ? null : JSON.stringify(sent),
      });
      const text = await readText(response.body);
      const location = response.headers.location;
      const body = record(parseJsonObject(text));
      return { status: response.statusCode, location: typeof location === 'string' ? location : '', body };
    });
  };

  const logIn = async (key: string): Promise<Secret | undefined> => {
    if (auth.method === 'agent') return undefined;
    if (auth.method === 'token') return readSecret(auth.token);
    if (session !== null && performance.now() < session.untilMs) return session.token;
    const mount = encodePath(auth.mount ?? auth.method);
    const body = await loginBody(auth);
    const answer = await send(key, { method: 'POST', path: `auth/${mount}/login`, body });
    if (answer.status === 400 || answer.status === 403 || answer.status === 404) {
      throw VAULT.failed(key, 'no-credentials', `${auth.method}: ${wordsOf(answer)}`);
    }
    requireSuccess(key, host, answer);
    const { client_token, lease_duration } = record(answer.body.auth);
    if (typeof client_token !== 'string') throw notVault(host);
    const leaseMs = typeof lease_duration === 'number' && lease_duration > 0 ? lease_duration * 1000 : Infinity;
    session = { token: toSecret(client_token), untilMs: performance.now() + leaseMs * LEASE_USED };
    return session.token;
  };

  /** Vault answers 403 for a token that is not valid and for one that lacks a policy: looking up the token itself shows which. */
  const explainForbidden = async (key: string, answer: Answer, token: Secret | undefined) => {
    const self =
      token === undefined
        ? null
        : await send(key, { method: 'GET', path: 'auth/token/lookup-self', token }).catch(() => null);
    const failure = /invalid token/.test(wordsOf(answer)) || self?.status === 403 ? 'no-credentials' : 'forbidden';
    return VAULT.failed(key, failure, wordsOf(answer));
  };

  return {
    /** The server, as messages name it. */
    host,
    /**
     * One request for the key `key`, with a token; a token that has expired is replaced once.
     * @returns the answer's `data`, or null for 404 to a GET
     * @throws `ERR_SIGNER`, `ERR_KEY_UNSUPPORTED`, `ERR_INTERRUPTED`
     */
    async ask(key: string, vaultRequest: VaultRequest): Promise<Answer['body'] | null> {
      let token = await logIn(key);
      let answer = await send(key, { ...vaultRequest, token });
      if (answer.status === 403 && auth.method !== 'agent') {
        const before = token?.reveal();
        session = null;
        token = await logIn(key);
        // a token that was revoked, or a file whose token was renewed
        if (token?.reveal() !== before) answer = await send(key, { ...vaultRequest, token });
      }
      if (answer.status === 403) throw await explainForbidden(key, answer, token);
      if (answer.status === 404 && vaultRequest.method === 'GET' && /^(HTTP status|$)/.test(wordsOf(answer)))
        return null;
      requireSuccess(key, host, answer);
      return record(answer.body.data);
    },
    async close(): Promise<void> {
      await (await opening)?.dispatcher.close();
    },
  };
}

/** @throws `ERR_SIGNER` for any status but 2xx */
function requireSuccess(key: string, host: string, answer: Answer): void {
  const { status, location } = answer;
  if (status >= 200 && status < 300) return;
  const detail = wordsOf(answer);
  if (status >= 300 && status < 400) {
    const target = URL.canParse(location) ? new URL(location).origin : 'another address';
    throw signerError(`Vault at ${host} redirects to ${target}: it is not followed`, `use the address ${target}`);
  }
  throw VAULT.failed(key, failureOf(status, detail), detail);
}

function failureOf(status: number, detail: string) {
  if (status === 404) return 'missing';
  if (status === 429) return 'throttled';
  if (status >= 500 || status === 412 || status === 472 || status === 473) return 'unavailable';
  if (/less than the minimum|disallowed by policy|version .*(not found|too old)|soft.?deleted/i.test(detail)) {
    return 'disabled';
  }
  return /not support|unsupported|key type/i.test(detail) ? 'wrong-type' : 'other';
}

function notVault(host: string) {
  return signerError(`what answers on ${host} does not speak the API of Vault`, 'check the address, as in VAULT_ADDR');
}

async function readSecret(source: SecretProvider): Promise<Secret> {
  const secret = toSecret(typeof source === 'function' ? await source() : source);
  // a header cannot hold more, and undici would name the value
  if (/^[\x21-\x7e]+$/.test(secret.reveal())) return secret;
  throw signerError(
    'the token of Vault is empty or has characters that no token has',
    'pass the token and nothing else',
  );
}

async function loginBody(auth: Exclude<VaultAuth, { method: 'token' | 'agent' }>): Promise<object> {
  if (auth.method === 'approle') {
    const secretId = auth.secretId === undefined ? undefined : await readSecret(auth.secretId);
    return { role_id: auth.roleId, ...defined({ secret_id: secretId?.reveal() }) };
  }
  const jwt = await readSecret(auth.jwt ?? serviceAccountToken);
  return { role: auth.role, jwt: jwt.reveal() };
}

async function serviceAccountToken(): Promise<string> {
  try {
    return (await readFile(SERVICE_ACCOUNT_TOKEN, 'utf8')).trim();
  } catch (cause) {
    throw signerError(
      `there is no service account token at ${SERVICE_ACCOUNT_TOKEN}`,
      'run this in a pod with automountServiceAccountToken, or use another auth method',
      cause,
    );
  }
}

/** Each segment of a path, encoded. */
export function encodePath(path: string): string {
  return path.split('/').filter(Boolean).map(encodeURIComponent).join('/');
}

async function readText(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) throw new Error('the answer is larger than 1 MiB');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
