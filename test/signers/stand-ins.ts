import {
  constants,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  privateEncrypt,
  sign,
  verify,
} from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { onTestFinished, vi } from 'vitest';
import { folder } from './support.js';

/*
 * Local servers that answer the documented requests of Vault and of the cloud services, with keys of node:crypto. They
 * refuse a request that the documentation does not allow, so that the signers are tested by what they send.
 */

export interface Pair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export const ED25519: Pair = generateKeyPairSync('ed25519');
export const RSA: Pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
export const pairOf = (type: 'ed25519' | 'rsa'): Pair => (type === 'rsa' ? RSA : ED25519);
export const pemOf = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }) as string;
const derOf = (key: KeyObject) => key.export({ type: 'spki', format: 'der' });
const made = new Map<number, Pair>();
/** Another pair than `pairOf`; an RSA key of each length is made once, since that takes long. */
export function newPair(type: 'ed25519' | 'rsa', bits = 2048): Pair {
  if (type === 'ed25519') return generateKeyPairSync('ed25519');
  const pair = made.get(bits) ?? generateKeyPairSync('rsa', { modulusLength: bits });
  made.set(bits, pair);
  return pair;
}
export const signWith = ({ privateKey }: Pair, message: Uint8Array): Buffer =>
  sign(privateKey.asymmetricKeyType === 'rsa' ? 'sha256' : null, message, privateKey);
/** RSASSA-PKCS1-v1_5 over a SHA-256 digest that is given. */
const signDigest = ({ privateKey }: Pair, digest: Buffer): Buffer => {
  const prefix = Buffer.from('3031300d060960864801650304020105000420', 'hex');
  // the private operation on a DigestInfo (RFC 8017 §9.2)
  return privateEncrypt({ key: privateKey, padding: constants.RSA_PKCS1_PADDING }, Buffer.concat([prefix, digest]));
};

export interface Request {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Instead of an answer: none at all, or a connection that is cut. */
  readonly instead?: 'silence' | 'cut';
}

/** What goes wrong with the next requests of a kind; a test sets it. */
export type Fault = (request: Request) => Answer | null;

export interface StandIn {
  readonly url: string;
  readonly requests: Request[];
  fault: Fault | null;
  close(): Promise<void>;
}

/** A server on loopback until the test ends. */
export async function serve(answer: (request: Request) => Answer): Promise<StandIn> {
  const requests: Request[] = [];
  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const url = new URL(incoming.url ?? '/', 'http://localhost');
      const text = Buffer.concat(chunks).toString();
      const request: Request = {
        method: incoming.method ?? '',
        path: decodeURIComponent(url.pathname),
        query: url.searchParams,
        headers: incoming.headers,
        body: text.startsWith('{') ? JSON.parse(text) : { text },
      };
      requests.push(request);
      send(response, standIn.fault?.(request) ?? answer(request));
    });
  });
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(close);
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const standIn: StandIn = { url, requests, fault: null, close };
  return standIn;
}

function send(response: ServerResponse, { status = 200, headers, body = {}, instead }: Answer): void {
  if (instead === 'cut') response.destroy();
  if (instead !== undefined) return;
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');

/** One key of the transit engine. */
export interface TransitKey {
  readonly type: string;
  readonly versions: Readonly<Record<number, Pair>>;
  readonly latest: number;
  readonly derived?: boolean;
  readonly minEncryption?: number;
}

export interface VaultWorld {
  readonly keys: Map<string, TransitKey>;
  /** Tokens that are valid; those in `weak` lack the policy. */
  readonly tokens: Set<string>;
  readonly weak: Set<string>;
  /** Adds this token where a request has none, as an agent does. */
  agentToken?: string;
  leaseS: number;
}

const forbidden: Answer = { status: 403, body: { errors: ['permission denied'] } };

/** HashiCorp Vault: the transit engine and three auth methods. */
export async function vaultStandIn(world: Partial<VaultWorld> = {}) {
  const vault: VaultWorld = {
    keys: new Map([['bot', { type: 'ed25519', versions: { 1: ED25519 }, latest: 1 }]]),
    tokens: new Set(['hvs.token']),
    weak: new Set(),
    leaseS: 3600,
    ...world,
  };
  let issued = 0;
  const logIn = (): Answer => {
    issued += 1;
    const client_token = `hvs.issued-${issued}`;
    vault.tokens.add(client_token);
    return { body: { auth: { client_token, lease_duration: vault.leaseS, renewable: true } } };
  };
  const server = await serve((request) => {
    const { method, path, headers, body } = request;
    if (headers['x-vault-request'] !== 'true') return { status: 412, body: { errors: ['missing header'] } };
    if (path === '/v1/auth/approle/login') {
      const right = body.role_id === 'role' && body.secret_id === 'secret-id';
      return right ? logIn() : { status: 400, body: { errors: ['invalid role or secret ID'] } };
    }
    if (path === '/v1/auth/kubernetes/login') {
      return body.role === 'bots' && body.jwt === 'e30.e30.sig' ? logIn() : forbidden;
    }
    const token = text(headers['x-vault-token']) || (vault.agentToken ?? '');
    if (!vault.tokens.has(token)) return { status: 403, body: { errors: ['permission denied', 'invalid token'] } };
    if (path === '/v1/auth/token/lookup-self') return { body: { data: { id: 'hidden' } } };
    if (vault.weak.has(token)) return forbidden;
    const [, mount, action, name = ''] = /^\/v1\/(.+)\/(keys|sign)\/([^/]+)$/.exec(path) ?? [];
    if (mount !== 'transit') {
      return { status: 404, body: { errors: [`no handler for route "${path.slice(4)}". route entry not found.`] } };
    }
    const key = vault.keys.get(name);
    if (action === 'keys' && method === 'POST') {
      if (key === undefined) {
        const [, bits] = /^rsa-(\d+)$/.exec(text(body.type)) ?? [];
        const pair = bits === undefined ? newPair('ed25519') : newPair('rsa', Number(bits));
        vault.keys.set(name, { type: text(body.type), versions: { 1: pair }, latest: 1 });
      }
      return { body: { data: {} } };
    }
    if (action === 'keys')
      return key === undefined ? { status: 404, body: { errors: [] } } : { body: showKey(name, key) };
    if (key === undefined) return { status: 400, body: { errors: ['signing key not found'] } };
    const { versions, latest, minEncryption = 0, type } = key;
    const version = body.key_version === undefined ? latest : Number(body.key_version);
    const pair = versions[version];
    if (version < minEncryption || pair === undefined) {
      return {
        status: 400,
        body: { errors: ['requested version for signing is less than the minimum encryption key version'] },
      };
    }
    const message = Buffer.from(text(body.input), 'base64');
    if (type !== 'ed25519' && (body.signature_algorithm !== 'pkcs1v15' || body.hash_algorithm !== 'sha2-256')) {
      const pss = { key: pair.privateKey, padding: 6, saltLength: 32 };
      return { body: { data: { signature: `vault:v${version}:${sign('sha256', message, pss).toString('base64')}` } } };
    }
    return { body: { data: { signature: `vault:v${version}:${signWith(pair, message).toString('base64')}` } } };
  });
  return { server, vault };
}

function showKey(name: string, { type, versions, latest, derived = false }: TransitKey) {
  const keys = Object.entries(versions).map(([version, { publicKey }]) => {
    const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url').toString('base64');
    const public_key = type === 'ed25519' ? raw : pemOf(publicKey);
    return [version, { name: type, public_key, creation_time: '2026-01-01T00:00:00Z' }] as const;
  });
  const signs = /^(ed25519|rsa-|ecdsa-)/.test(type);
  return {
    data: { name, type, latest_version: latest, derived, supports_signing: signs, keys: Object.fromEntries(keys) },
  };
}

/** One key of AWS KMS, by its id. */
export interface AwsKey {
  spec: string;
  usage: string;
  state: 'Enabled' | 'Disabled' | 'PendingDeletion';
  pair: Pair;
}

const ARN = 'arn:aws:kms:eu-central-1:111122223333:key/';
const awsError = (type: string, message: string, status = 400): Answer => ({
  status,
  headers: { 'x-amzn-errortype': type },
  body: { __type: type, message },
});

/** AWS KMS: the JSON 1.1 protocol, its targets under `TrentService`. */
export async function awsStandIn(type: 'ed25519' | 'rsa' = 'ed25519') {
  const spec = type === 'rsa' ? 'RSA_2048' : 'ECC_NIST_EDWARDS25519';
  const keys = new Map<string, AwsKey>([['k-1', { spec, usage: 'SIGN_VERIFY', state: 'Enabled', pair: pairOf(type) }]]);
  const aliases = new Map([['alias/bot', 'k-1']]);
  const server = await serve(({ headers, body }) => {
    const target = text(headers['x-amz-target']).replace('TrentService.', '');
    if (!text(headers.authorization).startsWith('AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/')) {
      return awsError('UnrecognizedClientException', 'The security token included in the request is invalid.');
    }
    if (target === 'CreateKey') {
      const id = `k-${keys.size + 1}`;
      const [, bits] = /^RSA_(\d+)$/.exec(text(body.KeySpec)) ?? [];
      const pair = bits === undefined ? newPair('ed25519') : newPair('rsa', Number(bits));
      keys.set(id, { spec: text(body.KeySpec), usage: text(body.KeyUsage), state: 'Enabled', pair });
      return { body: { KeyMetadata: { KeyId: id, Arn: ARN + id } } };
    }
    if (target === 'CreateAlias') {
      if (aliases.has(text(body.AliasName))) return awsError('AlreadyExistsException', 'it exists');
      aliases.set(text(body.AliasName), text(body.TargetKeyId));
      return { body: {} };
    }
    const named = text(body.KeyId);
    const id = aliases.get(named) ?? named.replace(ARN, '');
    const key = keys.get(id);
    if (key === undefined) return awsError('NotFoundException', `Key '${named}' does not exist`);
    if (key.state === 'Disabled') return awsError('DisabledException', `${ARN}${id} is disabled.`);
    if (key.state === 'PendingDeletion')
      return awsError('KMSInvalidStateException', `${ARN}${id} is pending deletion.`);
    if (target === 'GetPublicKey') {
      if (key.spec === 'SYMMETRIC_DEFAULT') return awsError('UnsupportedOperationException', '');
      const PublicKey = derOf(key.pair.publicKey).toString('base64');
      return { body: { KeyId: ARN + id, PublicKey, KeySpec: key.spec, KeyUsage: key.usage } };
    }
    const message = Buffer.from(text(body.Message), 'base64');
    const wanted = key.spec.startsWith('RSA') ? 'RSASSA_PKCS1_V1_5_SHA_256' : 'ED25519_SHA_512';
    if (target !== 'Sign' || body.SigningAlgorithm !== wanted || body.MessageType !== 'RAW' || message.length > 4096) {
      return awsError('ValidationException', 'not what the documentation says');
    }
    const Signature = signWith(key.pair, message).toString('base64');
    return { body: { KeyId: ARN + id, Signature, SigningAlgorithm: wanted } };
  });
  return { server, keys, aliases };
}

export const GCP_RING = 'projects/p/locations/europe-west3/keyRings/bots';
export const GCP_VERSION = `${GCP_RING}/cryptoKeys/bot/cryptoKeyVersions/1`;

export interface GcpKey {
  algorithm: string;
  state: string;
  pair: Pair;
}

const GCP_STATUS: Readonly<Record<string, number>> = {
  INVALID_ARGUMENT: 400,
  FAILED_PRECONDITION: 400,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  RESOURCE_EXHAUSTED: 429,
  INTERNAL: 500,
  UNAVAILABLE: 503,
};
export const gcpError = (status: string, message: string): Answer => ({
  status: GCP_STATUS[status] ?? 500,
  body: { error: { code: GCP_STATUS[status], message, status } },
});

/** Google Cloud KMS over its REST API (v1). */
export async function gcpStandIn(type: 'ed25519' | 'rsa' = 'ed25519') {
  const algorithm = type === 'rsa' ? 'RSA_SIGN_PKCS1_2048_SHA256' : 'EC_SIGN_ED25519';
  const versions = new Map<string, GcpKey>([[GCP_VERSION, { algorithm, state: 'ENABLED', pair: pairOf(type) }]]);
  const server = await serve(({ method, path, query, headers, body }) => {
    if (!text(headers.authorization).startsWith('Bearer ')) return gcpError('UNAUTHENTICATED', 'no credentials');
    const name = path.replace('/v1/', '').replace(/(\/publicKey|:asymmetricSign)$/, '');
    if (method === 'POST' && name === `${GCP_RING}/cryptoKeys`) {
      const version = `${name}/${query.get('cryptoKeyId')}/cryptoKeyVersions/1`;
      if (versions.has(version)) return gcpError('ALREADY_EXISTS', `${version} already exists.`);
      const wanted = text((body.versionTemplate as { algorithm?: unknown } | undefined)?.algorithm);
      const number = Number((body.versionTemplate as { algorithm?: unknown } | undefined)?.algorithm);
      const made =
        { 5: 'RSA_SIGN_PKCS1_2048_SHA256', 6: 'RSA_SIGN_PKCS1_3072_SHA256', 40: 'EC_SIGN_ED25519' }[number] ?? wanted;
      const bits = Number(/\d{4}/.exec(made)?.[0]);
      const pair = made === 'EC_SIGN_ED25519' ? newPair('ed25519') : newPair('rsa', bits);
      versions.set(version, { algorithm: made, state: 'PENDING_GENERATION', pair });
      return { body: { name: version } };
    }
    const key = versions.get(name);
    if (key === undefined) return gcpError('NOT_FOUND', `CryptoKeyVersion ${name} not found.`);
    if (key.state !== 'ENABLED') {
      const { state } = key;
      if (state === 'PENDING_GENERATION') key.state = 'ENABLED';
      return gcpError('FAILED_PRECONDITION', `${name} is not enabled, current state is: ${state}.`);
    }
    if (path.endsWith('/publicKey'))
      return { body: { name, pem: pemOf(key.pair.publicKey), algorithm: key.algorithm } };
    const { sha256 } = (body.digest ?? {}) as { sha256?: unknown };
    const rsa = key.algorithm.startsWith('RSA_');
    if (rsa !== (sha256 !== undefined) || rsa === (body.data !== undefined)) {
      return gcpError('INVALID_ARGUMENT', rsa ? 'digest is required' : 'data is required');
    }
    const signature = rsa
      ? signDigest(key.pair, Buffer.from(text(sha256), 'base64'))
      : signWith(key.pair, Buffer.from(text(body.data), 'base64'));
    return { body: { name, signature: signature.toString('base64') } };
  });
  return { server, versions };
}

export interface AzureKey {
  kty: string;
  ops: readonly string[];
  enabled: boolean;
  expires?: number;
  pair: Pair;
}

const azureError = (status: number, code: string, message: string): Answer => ({
  status,
  body: { error: { code, message } },
});

/** Azure Key Vault's keys, and beside it the endpoint of a managed identity (App Service). */
export async function azureStandIn() {
  const ops = ['sign', 'verify'];
  const keys = new Map<string, AzureKey>([['bot/v1', { kty: 'RSA', ops, enabled: true, pair: RSA }]]);
  const latest = new Map([['bot', 'v1']]);
  const server = await serve(({ method, path, query, headers, body }) => {
    if (path === '/msi') {
      if (headers['x-identity-header'] !== 'identity-secret')
        return { status: 400, body: { error: 'invalid_request' } };
      const expires_on = String(Math.floor(Date.now() / 1000) + 3600);
      return {
        body: { access_token: 'e30.e30.AAAA', expires_on, resource: query.get('resource'), token_type: 'Bearer' },
      };
    }
    if (headers.authorization !== 'Bearer e30.e30.AAAA') {
      const challenge =
        'Bearer authorization="https://login.microsoftonline.com/tenant", resource="https://vault.azure.net"';
      return { ...azureError(401, 'Unauthorized', 'AKV10000: no token'), headers: { 'www-authenticate': challenge } };
    }
    const [, name = '', given = '', action] = /^\/keys\/([^/]+)(?:\/([^/]*))?(?:\/(\w+))?$/.exec(path) ?? [];
    if (given === 'create') {
      const {
        kty = 'RSA',
        key_size = 2048,
        key_ops = [],
      } = body as { kty?: string; key_size?: number; key_ops?: string[] };
      keys.set(`${name}/v9`, { kty, ops: key_ops, enabled: true, pair: newPair('rsa', key_size) });
      latest.set(name, 'v9');
      return { body: bundle(name, 'v9') };
    }
    const version = given === '' ? (latest.get(name) ?? '') : given;
    const key = keys.get(`${name}/${version}`);
    if (key === undefined) return azureError(404, 'KeyNotFound', `A key with (name/id) ${name} was not found.`);
    if (method === 'GET') return { body: bundle(name, version) };
    if (!key.enabled) return azureError(403, 'Forbidden', 'Operation sign is not allowed on a disabled key.');
    if (action !== 'sign' || body.alg !== 'RS256') return azureError(400, 'BadParameter', 'not supported');
    const digest = Buffer.from(text(body.value), 'base64url');
    return { body: { kid: idOf(name, version), value: signDigest(key.pair, digest).toString('base64url') } };
  });
  const idOf = (name: string, version: string) => `${server.url}/keys/${name}/${version}`;
  const bundle = (name: string, version: string) => {
    const key = keys.get(`${name}/${version}`);
    if (key === undefined) throw new Error(`no key ${name}/${version}`);
    const { n, e } = key.pair.publicKey.export({ format: 'jwk' });
    const { kty, ops: key_ops, enabled, expires } = key;
    return {
      key: { kid: idOf(name, version), kty, key_ops, n, e },
      attributes: { enabled, ...(expires === undefined ? {} : { exp: expires }) },
    };
  };
  return { server, keys, latest };
}

/** Credentials as each SDK finds them: environment variables, a file, a managed identity. */
export function cloudEnvironment(identityUrl = 'http://127.0.0.1:9'): void {
  const file = join(folder(), 'service-account.json');
  const account = {
    type: 'service_account',
    project_id: 'p',
    private_key_id: 'k',
    private_key: RSA.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    client_email: 'bot@p.iam.gserviceaccount.com',
    client_id: '1',
    token_uri: 'https://oauth2.googleapis.com/token',
  };
  writeFileSync(file, JSON.stringify(account), { mode: 0o600 });
  const env = {
    AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
    AWS_SECRET_ACCESS_KEY: 'aws-secret-canary',
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_REGION: 'eu-central-1',
    GOOGLE_APPLICATION_CREDENTIALS: file,
    IDENTITY_ENDPOINT: `${identityUrl}/msi`,
    IDENTITY_HEADER: 'identity-secret',
    AZURE_TOKEN_CREDENTIALS: 'ManagedIdentityCredential',
  };
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  onTestFinished(() => void vi.unstubAllEnvs());
}

/** Whether `signature` is what Deribit takes: Ed25519, or RSASSA-PKCS1-v1_5 with SHA-256. */
export function verifies(pem: string, message: Uint8Array, signature: Uint8Array): boolean {
  const key = createPublicKey(pem);
  return verify(key.asymmetricKeyType === 'rsa' ? 'sha256' : null, message, key, signature);
}
