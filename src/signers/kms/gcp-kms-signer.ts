import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { parsePublicKey } from '../../crypto/formats/index.js';
import { isLoopback } from '../../deribit/endpoints.js';
import { isDeribitKeysError, usageError } from '../../errors.js';
import { defined } from '../../util/defined.js';
import { loadOptionalPackage } from '../optional-package.js';
import type { GenerateInKmsOptions, KmsSigner, KmsSignerOptions, ServiceFailure } from '../remote-key.js';
import { DEFAULT_RSA_BITS, keyService } from '../remote-key.js';

/** The arguments of {@link gcpKmsSigner}. */
export interface GcpKmsSignerOptions extends KmsSignerOptions {
  /** The version: `projects/…/locations/…/keyRings/…/cryptoKeys/…/cryptoKeyVersions/1`. */
  readonly keyId: string;
  /** Another endpoint, such as one of Private Service Connect. Default `https://cloudkms.googleapis.com`. */
  readonly endpoint?: string | undefined;
  /** A client of `@google-cloud/kms` that is set up already. Default: one with Application Default Credentials. */
  readonly client?: GcpKmsClient | undefined;
}

/** What the SDK's calls return: a promise that can be cancelled. */
export type GcpCall<T> = Promise<readonly [T, ...unknown[]]> & { cancel?(): void };

/** What is used of the SDK's `KeyManagementServiceClient`. */
export interface GcpKmsClient {
  getPublicKey(request: { name: string }): GcpCall<{ pem?: string | null; algorithm?: string | number | null }>;
  asymmetricSign(request: object): GcpCall<{ signature?: Uint8Array | string | null; name?: string | null }>;
  createCryptoKey(request: object): GcpCall<unknown>;
}

interface GcpSdk {
  readonly KeyManagementServiceClient: new (options: object) => GcpKmsClient;
}

/** `CryptoKeyVersionAlgorithm` by number, as the SDK returns it where it does not know the name. */
const ALGORITHMS: Readonly<Record<number, string>> = {
  5: 'RSA_SIGN_PKCS1_2048_SHA256',
  6: 'RSA_SIGN_PKCS1_3072_SHA256',
  7: 'RSA_SIGN_PKCS1_4096_SHA256',
  40: 'EC_SIGN_ED25519',
};
const VERSION_NAME =
  /^projects\/[^/]+\/locations\/[^/]+\/keyRings\/[\w-]+\/cryptoKeys\/[\w-]+\/cryptoKeyVersions\/\d+$/;
const KEY_NAME = /^(projects\/[^/]+\/locations\/[^/]+\/keyRings\/[\w-]+)\/cryptoKeys\/([\w-]{1,63})$/;
const GENERATION_POLL_MS = 500;
const GENERATION_LIMIT_MS = 60_000;

/** google.rpc.Code. */
const FAILURES: Readonly<Record<number, ServiceFailure>> = {
  4: 'timeout',
  5: 'missing',
  7: 'forbidden',
  8: 'throttled',
  9: 'disabled',
  13: 'unavailable',
  14: 'unavailable',
  16: 'no-credentials',
};

/** HTTP statuses, of an answer that carries no google.rpc.Status. */
const STATUSES: Readonly<Record<number, ServiceFailure>> = {
  401: 'no-credentials',
  403: 'forbidden',
  404: 'missing',
  429: 'throttled',
  500: 'unavailable',
  502: 'unavailable',
  503: 'unavailable',
  504: 'unavailable',
};

const GCP = keyService({
  name: 'Google Cloud KMS',
  hints: {
    'no-credentials':
      'set up Application Default Credentials: gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS',
    forbidden: 'grant roles/cloudkms.signerVerifier on this key to the account that is used',
    missing: 'check --key-id: gcloud kms keys versions list --key <key> --keyring <ring> --location <location>',
    disabled: 'enable it: gcloud kms keys versions enable <version> --key <key> --keyring <ring> --location <location>',
    'wrong-type': 'use a key of algorithm ec-sign-ed25519 or rsa-sign-pkcs1-2048-sha256, -3072-sha256, -4096-sha256',
    throttled: 'wait and try again; see the quotas of Cloud KMS in the Google Cloud console',
    unreachable: 'check the network, the proxy and --endpoint; or allow more time with --timeout',
    unavailable: 'try again later',
    other: 'read the answer of Google Cloud in this message',
  },
  classify(error) {
    const { code, status, message } = error as { code?: unknown; status?: unknown; message?: string };
    const detail = (message ?? '').replace(/\s+/g, ' ').slice(0, 300);
    if (/default credentials|invalid_grant|could not refresh|unauthorized_client/i.test(detail)) {
      return { failure: 'no-credentials', detail };
    }
    const grpc = typeof code === 'number' && code < 100 ? FAILURES[code] : undefined;
    const http = STATUSES[Number(status ?? code)];
    if (/is not enabled, current state is/i.test(detail)) return { failure: 'disabled', detail };
    if (/purpose/i.test(detail) && grpc !== 'missing') return { failure: 'wrong-type', detail };
    return { failure: grpc ?? http ?? 'other', detail };
  },
});

/**
 * A signer whose key Google Cloud KMS keeps: EC_SIGN_ED25519, or RSA_SIGN_PKCS1_*_SHA256. It needs the optional package
 * `@google-cloud/kms`, takes Application Default Credentials, and proves itself once before it is returned.
 * @throws `ERR_SIGNER` for credentials, permission, a missing or disabled key, throttling, no answer;
 *   `ERR_KEY_UNSUPPORTED` for another kind of key; `ERR_USAGE` for the name of something else; `ERR_INTERRUPTED`
 */
export async function gcpKmsSigner(options: GcpKmsSignerOptions): Promise<KmsSigner> {
  const { keyId } = options;
  if (!VERSION_NAME.test(keyId)) {
    throw usageError(
      `"${keyId}" is not the name of a key version of Google Cloud KMS`,
      KEY_NAME.test(keyId)
        ? `add the version: ${keyId}/cryptoKeyVersions/1`
        : 'use projects/…/locations/…/keyRings/…/cryptoKeys/…/cryptoKeyVersions/1',
    );
  }
  return openKey(await openClient(options), options);
}

async function openKey(client: GcpKmsClient, options: GcpKmsSignerOptions): Promise<KmsSigner> {
  const { keyId } = options;
  const call = callGcp(options);
  const { pem, algorithm: shown } = await call(() => client.getPublicKey({ name: keyId }));
  const algorithm = typeof shown === 'number' ? (ALGORITHMS[shown] ?? String(shown)) : (shown ?? '');
  if (!Object.values(ALGORITHMS).includes(algorithm)) throw GCP.failed(keyId, 'wrong-type', algorithm);
  if (typeof pem !== 'string') throw GCP.incomplete(`shows no public key for ${keyId}`);
  const publicKey = await parsePublicKey(pem);
  const signer = await GCP.signer(publicKey, keyId, async (message) => {
    const input =
      publicKey.algorithm === 'rsa'
        ? { digest: { sha256: createHash('sha256').update(message).digest() } }
        : { data: Buffer.from(message) };
    const { signature } = await call(() => client.asymmetricSign({ name: keyId, ...input }));
    return typeof signature === 'string' ? new Uint8Array(Buffer.from(signature, 'base64')) : signature;
  });
  return { ...signer, keyId };
}

/** Calls the SDK, whose promises are cancelled by a method of theirs. */
function callGcp(options: GcpKmsSignerOptions) {
  const call = GCP.calls(options.keyId, options);
  return async <T>(work: () => GcpCall<T>): Promise<T> => {
    const [answer] = await call((signal) => {
      const running = work();
      signal.addEventListener('abort', () => running.cancel?.(), { once: true });
      return running;
    });
    return answer;
  };
}

/** @throws `ERR_USAGE` for an endpoint that is no URL or not encrypted */
async function openClient({ endpoint, client, load }: GcpKmsSignerOptions): Promise<GcpKmsClient> {
  if (client !== undefined) return client;
  const sdk = (await loadOptionalPackage('@google-cloud/kms', 'a key in Google Cloud KMS', load)) as GcpSdk;
  // over HTTP instead of gRPC: it goes through the proxies that the other services go through
  const options = { fallback: true };
  if (endpoint === undefined) return new sdk.KeyManagementServiceClient(options);
  const url = URL.canParse(endpoint) ? new URL(endpoint) : null;
  if (url === null || !(url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url)))) {
    throw usageError(
      `the endpoint "${endpoint}" is not an https: URL`,
      'use one such as https://cloudkms.googleapis.com',
    );
  }
  const protocol = url.protocol.slice(0, -1);
  const port = url.port === '' ? (protocol === 'https' ? 443 : 80) : Number(url.port);
  return new sdk.KeyManagementServiceClient({ ...options, apiEndpoint: url.hostname, port, protocol });
}

/**
 * Makes a key in Google Cloud KMS, named `projects/…/locations/…/keyRings/…/cryptoKeys/<new>`, and opens its first
 * version. The account also needs cloudkms.cryptoKeys.create.
 * @throws `ERR_NAME_TAKEN` for a key that exists, `ERR_USAGE` for another name, and what `gcpKmsSigner` does
 */
export async function generateInGcpKms(options: GcpKmsSignerOptions & GenerateInKmsOptions): Promise<KmsSigner> {
  const { keyId, type = 'ed25519', bits = DEFAULT_RSA_BITS, signal } = options;
  const [, parent, cryptoKeyId] = KEY_NAME.exec(keyId) ?? [];
  if (parent === undefined) {
    throw usageError(
      `"${keyId}" cannot be the name of a new key of Google Cloud KMS`,
      'use projects/…/locations/…/keyRings/…/cryptoKeys/<new name>; the ring must exist',
    );
  }
  const client = await openClient(options);
  const algorithm = type === 'rsa' ? `RSA_SIGN_PKCS1_${bits}_SHA256` : 'EC_SIGN_ED25519';
  const cryptoKey = { purpose: 'ASYMMETRIC_SIGN', versionTemplate: { algorithm } };
  await callGcp(options)(
    () =>
      client.createCryptoKey({ parent, cryptoKeyId, cryptoKey }).catch((error: unknown) => {
        const { code, status } = error as { code?: unknown; status?: unknown };
        if (code !== 6 && Number(status ?? code) !== 409) throw error;
        throw GCP.nameTaken(keyId);
      }) as GcpCall<unknown>,
  );
  const version = { ...options, keyId: `${keyId}/cryptoKeyVersions/1` };
  for (const startMs = performance.now(); ; ) {
    try {
      return await openKey(client, version);
    } catch (error) {
      const pending = isDeribitKeysError(error) && error.message.includes('PENDING_GENERATION');
      if (!pending || performance.now() - startMs > GENERATION_LIMIT_MS) throw error;
    }
    await sleep(GENERATION_POLL_MS, undefined, defined({ signal }));
  }
}
