import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Signer } from '../../crypto/signer.js';
import { type AuthParamsOptions, buildAuthParams } from '../../deribit/auth.js';
import { parseScope } from '../../deribit/scope.js';
import { DeribitKeysError } from '../../errors.js';
import { ManagedSession } from '../../session/managed-session.js';
import type { Session } from '../../session/session.js';
import { newBearer, presents } from './bearer.js';
import { type ListenAddress, listen } from './listen.js';
import { answer, Refusal, readJson, refusalOf, requireLocal } from './local-http.js';

/** A key that the server signs with. */
export interface ServedKey {
  readonly name: string;
  /** What to sign with at the moment: a rotation changes it. */
  credentials(): Promise<{ readonly clientId: string; readonly signer: Signer }>;
  /** Opens a session over HTTP, whose tokens are handed out. */
  open(): Promise<Session>;
}

export interface AuthServer {
  /** `http://127.0.0.1:PORT`, or `unix:PATH`. */
  readonly url: string;
  /** What clients present as `Authorization: Bearer`. */
  readonly secret: string;
  close(): Promise<void>;
}

/** Requests are small and local: what is not whole by then gives its connection back to others. */
const PATIENCE = {
  headersTimeout: 2_000,
  requestTimeout: 5_000,
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 1_000,
} as const;

/** What may be asked of signed parameters. A timestamp may not: signatures are good for now, not for later. */
const PARAMS = ['nonce', 'data', 'scope', 'state'] as const;
const LONGEST_TEXT = 1_024;

/**
 * Hands out signed `public/auth` parameters and valid access tokens to programs of this machine that present the secret.
 *
 *     POST /v1/<name>/auth-params   {nonce?, data?, scope?, state?}  ->  the parameters of `public/auth`
 *     POST /v1/<name>/token                                          ->  {accessToken, expiresAt, scope}
 *
 * Errors are `{"error": {"code", "message", "hint"?}}`: 400 for a bad request, 401 without the secret, 403 from a
 * browser or under a foreign `Host`, 404, 405, 413, 415; 502 where the exchange refuses or cannot be reached. Throws
 * `ERR_LISTEN` where the address cannot be had.
 */
export async function startAuthServer(keys: readonly ServedKey[], address: ListenAddress): Promise<AuthServer> {
  const secret = newBearer();
  const served = new Map(keys.map((key) => [key.name, { key, session: new ManagedSession(key.open) }]));

  async function handle(request: IncomingMessage): Promise<unknown> {
    requireLocal(request, address);
    if (!presents(request.headers.authorization, secret)) {
      throw new Refusal(401, 'ERR_UNAUTHORIZED', 'the bearer secret is missing or wrong');
    }
    const [, name, what] = /^\/v1\/([^/?]+)\/(auth-params|token)$/.exec(request.url ?? '') ?? [];
    const found = served.get(name ?? '');
    if (found === undefined) throw new Refusal(404, 'ERR_NO_SUCH_NAME', 'there is no such key or path here');
    if (request.method !== 'POST') throw new Refusal(405, 'ERR_USAGE', 'only POST is answered here');
    const body = await readJson(request);
    return what === 'token' ? tokenOf(found.session, body) : paramsOf(found.key, found.session, body);
  }

  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    handle(request).then(
      (value) => answer(response, 200, value),
      (error: unknown) => {
        const { status, document } = refusalOf(error);
        answer(response, status, document);
      },
    );
  }

  const server = createServer({ maxHeaderSize: 8_192, ...PATIENCE }, onRequest);
  server.maxConnections = 256;
  const url = await listen(server, address);
  return {
    url,
    secret,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await Promise.all([closed, ...[...served.values()].map(({ session }) => session.close())]);
    },
  };
}

async function tokenOf(session: ManagedSession, body: Readonly<Record<string, unknown>>): Promise<unknown> {
  requireKnown(body, []);
  const { accessToken, expiresAtMs, scope } = await (await session.get()).token();
  return { accessToken, expiresAt: new Date(expiresAtMs).toISOString(), scope };
}

/** Signed by the exchange's clock where a session has compared it with ours. */
async function paramsOf(
  key: ServedKey,
  session: ManagedSession,
  body: Readonly<Record<string, unknown>>,
): Promise<unknown> {
  requireKnown(body, PARAMS);
  const options: { -readonly [K in keyof AuthParamsOptions]: AuthParamsOptions[K] } = {};
  for (const name of PARAMS) {
    const value = body[name];
    if (value === undefined) continue;
    if (typeof value !== 'string' || value.length > LONGEST_TEXT) {
      throw new Refusal(400, 'ERR_USAGE', `"${name}" is not a text of at most ${LONGEST_TEXT} characters`);
    }
    options[name] = value;
  }
  if (options.scope !== undefined) parseScope(options.scope);
  options.timestampMs = Math.round(Date.now() + session.clockCorrectionMs);
  return buildAuthParams(await key.credentials(), options);
}

function requireKnown(body: Readonly<Record<string, unknown>>, known: readonly string[]): void {
  const unknown = Object.keys(body).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const hint = known.length === 0 ? 'send no fields' : `known are: ${known.join(', ')}`;
  throw new DeribitKeysError('ERR_USAGE', 'the body has a field that is not known here', { hint });
}
