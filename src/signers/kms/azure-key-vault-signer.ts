import { createHash } from 'node:crypto';
import { publicKeyFromRsa } from '../../crypto/build-keys.js';
import { bytesToBigInt } from '../../crypto/bytes.js';
import { isLoopback } from '../../deribit/endpoints.js';
import { usageError } from '../../errors.js';
import { defined } from '../../util/defined.js';
import { loadOptionalPackage } from '../optional-package.js';
import type { GenerateInKmsOptions, KmsSigner, KmsSignerOptions, ServiceFailure } from '../remote-key.js';
import { DEFAULT_RSA_BITS, keyService } from '../remote-key.js';

/** The arguments of {@link azureKeyVaultSigner}. */
export interface AzureKeyVaultSignerOptions extends KmsSignerOptions {
  /** `https://<vault>.vault.azure.net/keys/<name>/<version>`; without the version: the current one. */
  readonly keyId: string;
  /** A credential of `@azure/identity`. Default: `DefaultAzureCredential`. */
  readonly credential?: object | undefined;
}

interface AzureKey {
  readonly id?: string;
  readonly keyType?: string;
  readonly keyOperations?: readonly string[];
  readonly key?: { readonly n?: Uint8Array; readonly e?: Uint8Array };
  readonly properties: { readonly enabled?: boolean; readonly notBefore?: Date; readonly expiresOn?: Date };
}

interface RequestOptions {
  readonly abortSignal: AbortSignal;
}

interface KeyClient {
  getKey(name: string, options: RequestOptions & { readonly version?: string }): Promise<AzureKey>;
  createRsaKey(name: string, options: RequestOptions & Readonly<Record<string, unknown>>): Promise<AzureKey>;
}

interface KeysSdk {
  readonly KeyClient: new (vaultUrl: string, credential: object, options: object) => KeyClient;
  readonly CryptographyClient: new (
    key: AzureKey,
    credential: object,
    options: object,
  ) => { sign(algorithm: 'RS256', digest: Uint8Array, options: RequestOptions): Promise<{ readonly result: unknown }> };
}

interface IdentitySdk {
  readonly DefaultAzureCredential: new () => object;
}

const KEY_PATH = /^\/keys\/([0-9A-Za-z-]{1,127})(?:\/([0-9A-Za-z]{1,64}))?\/?$/;

const STATUSES: Readonly<Record<number, ServiceFailure>> = {
  401: 'no-credentials',
  403: 'forbidden',
  404: 'missing',
  409: 'disabled',
  429: 'throttled',
};

const AZURE = keyService({
  name: 'Azure Key Vault',
  hints: {
    'no-credentials':
      'log in (az login), or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or use a managed identity',
    forbidden:
      'grant the role Key Vault Crypto User on this key (or get and sign in the access policy), and check the firewall of the vault',
    missing: 'check --key-id: az keyvault key list-versions --vault-name <vault> --name <key>',
    disabled:
      'see its state: az keyvault key show --id <id>; enable it: az keyvault key set-attributes --id <id> --enabled true',
    'wrong-type': 'use an RSA key of 2048, 3072 or 4096 bits with the operation sign; Azure has no Ed25519',
    throttled: 'wait and try again; see the service limits of Azure Key Vault',
    unreachable:
      'check the name of the vault in --key-id, the network and the proxy; or allow more time with --timeout',
    unavailable: 'try again later',
    other: 'read the answer of Azure in this message',
  },
  classify(error) {
    const { name, statusCode, message } = error as { name?: string; statusCode?: number; message?: string };
    const detail = (message ?? '').replace(/\s+/g, ' ').trim().slice(0, 300);
    if (/Authentication|Credential/.test(name ?? '')) return { failure: 'no-credentials', detail };
    if (/disabled key|expired key|not yet valid|KeyDisabled/i.test(detail)) return { failure: 'disabled', detail };
    if (statusCode !== undefined && statusCode >= 500) return { failure: 'unavailable', detail };
    if (statusCode === 400 && /not supported|not permitted|key (type|operation)/i.test(detail)) {
      return { failure: 'wrong-type', detail };
    }
    return { failure: STATUSES[statusCode ?? 0] ?? 'other', detail };
  },
});

interface KeyName {
  readonly vaultUrl: string;
  readonly name: string;
  readonly version: string | undefined;
  readonly loopback: boolean;
}

function parseKeyId(keyId: string): KeyName {
  const url = URL.canParse(keyId) ? new URL(keyId) : null;
  const [, name, version] = (url === null ? null : KEY_PATH.exec(url.pathname)) ?? [];
  const loopback = url !== null && isLoopback(url);
  if (url === null || name === undefined || !(url.protocol === 'https:' || (url.protocol === 'http:' && loopback))) {
    throw usageError(
      `"${keyId}" is not the identifier of a key of Azure Key Vault`,
      'use https://<vault>.vault.azure.net/keys/<name>/<version>',
    );
  }
  return { vaultUrl: url.origin, name, version, loopback };
}

/** The SDK's own packages and options. A server on loopback is a stand-in: no vault has such a name. */
async function openSdk({ credential: given, load }: AzureKeyVaultSignerOptions, { vaultUrl, loopback }: KeyName) {
  const purpose = 'a key in Azure Key Vault';
  const sdk = (await loadOptionalPackage('@azure/keyvault-keys', purpose, load)) as KeysSdk;
  const options = loopback ? { disableChallengeResourceVerification: true, allowInsecureConnection: true } : {};
  const credential = given ?? (await defaultCredential(purpose, load));
  return {
    keys: new sdk.KeyClient(vaultUrl, credential, options),
    cryptographyOf: (key: AzureKey) => new sdk.CryptographyClient(key, credential, options),
  };
}

async function defaultCredential(purpose: string, load: AzureKeyVaultSignerOptions['load']): Promise<object> {
  const identity = (await loadOptionalPackage('@azure/identity', purpose, load)) as IdentitySdk;
  return new identity.DefaultAzureCredential();
}

/**
 * A signer whose RSA key Azure Key Vault or Managed HSM keeps (RS256). It needs the optional packages
 * `@azure/keyvault-keys` and `@azure/identity`, takes credentials as `DefaultAzureCredential` finds them, and proves
 * itself once before it is returned. It stays with the version that it was opened with.
 * @throws `ERR_SIGNER` for credentials, permission, a missing, disabled or expired key, throttling, no answer;
 *   `ERR_KEY_UNSUPPORTED` for another kind of key; `ERR_USAGE` for the identifier; `ERR_INTERRUPTED`
 */
export async function azureKeyVaultSigner(options: AzureKeyVaultSignerOptions): Promise<KmsSigner> {
  const name = parseKeyId(options.keyId);
  const opened = await openSdk(options, name);
  const call = AZURE.calls(options.keyId, options);
  const version = defined({ version: name.version });
  const key = await call((abortSignal) => opened.keys.getKey(name.name, { abortSignal, ...version }));
  return openKey(key, opened, options);
}

async function openKey(
  key: AzureKey,
  { cryptographyOf }: Awaited<ReturnType<typeof openSdk>>,
  options: AzureKeyVaultSignerOptions,
): Promise<KmsSigner> {
  const { id = options.keyId, keyType = '', keyOperations, properties } = key;
  const { n, e } = key.key ?? {};
  if (!/^RSA(-HSM)?$/.test(keyType) || keyOperations?.includes('sign') === false) {
    throw AZURE.failed(id, 'wrong-type', `${keyType}: ${keyOperations?.join(', ') ?? ''}`);
  }
  const state = stateOf(properties);
  if (state !== null) throw AZURE.failed(id, 'disabled', state);
  if (n === undefined || e === undefined) throw AZURE.incomplete(`shows no public key for ${id}`);
  const publicKey = publicKeyFromRsa({ n: bytesToBigInt(n), e: bytesToBigInt(e) });
  const client = cryptographyOf(key);
  const call = AZURE.calls(id, options);
  const signer = await AZURE.signer(publicKey, id, async (message) => {
    const digest = createHash('sha256').update(message).digest();
    const { result } = await call((abortSignal) => client.sign('RS256', digest, { abortSignal }));
    return result;
  });
  return { ...signer, keyId: id };
}

function stateOf({ enabled, notBefore, expiresOn }: AzureKey['properties']): string | null {
  const now = Date.now();
  if (enabled === false) return 'disabled';
  if (expiresOn !== undefined && expiresOn.getTime() <= now) return `expired ${expiresOn.toISOString()}`;
  return notBefore !== undefined && notBefore.getTime() > now ? `not valid before ${notBefore.toISOString()}` : null;
}

/**
 * Makes an RSA key in Azure Key Vault, which is not exportable, and opens it. `keyId` has no version.
 * @throws `ERR_NAME_TAKEN` for a key that exists, `ERR_USAGE` for Ed25519, and what `azureKeyVaultSigner` does
 */
export async function generateInAzureKeyVault(
  options: AzureKeyVaultSignerOptions & GenerateInKmsOptions,
): Promise<KmsSigner> {
  const { keyId, type = 'ed25519', bits = DEFAULT_RSA_BITS } = options;
  if (type !== 'rsa') throw usageError('Azure Key Vault has no Ed25519 keys', 'use --type rsa');
  const name = parseKeyId(keyId);
  if (name.version !== undefined) {
    throw usageError('the version of a new key is chosen by Azure Key Vault', `use ${name.vaultUrl}/keys/${name.name}`);
  }
  const opened = await openSdk(options, name);
  const call = AZURE.calls(keyId, options);
  const taken = await call((abortSignal) =>
    opened.keys.getKey(name.name, { abortSignal }).catch((error: unknown) => {
      if ((error as { statusCode?: unknown }).statusCode === 404) return null;
      throw error;
    }),
  );
  // Azure would make a new version of it
  if (taken !== null) throw AZURE.nameTaken(keyId);
  const key = await call((abortSignal) =>
    opened.keys.createRsaKey(name.name, { abortSignal, keySize: bits, keyOps: ['sign', 'verify'], exportable: false }),
  );
  return openKey(key, opened, options);
}
