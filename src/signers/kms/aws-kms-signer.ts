import { parsePublicKey } from '../../crypto/formats/index.js';
import { signerError } from '../../crypto/signer.js';
import { DeribitKeysError, usageError } from '../../errors.js';
import { defined } from '../../util/defined.js';
import { loadOptionalPackage } from '../optional-package.js';
import type { GenerateInKmsOptions, KmsSigner, KmsSignerOptions, ServiceFailure } from '../remote-key.js';
import { DEFAULT_RSA_BITS, keyService } from '../remote-key.js';

/** The arguments of {@link awsKmsSigner}. */
export interface AwsKmsSignerOptions extends KmsSignerOptions {
  /** A key id, key ARN, `alias/<name>` or alias ARN. */
  readonly keyId: string;
  /** Default: that of an ARN, else of the SDK's own settings. */
  readonly region?: string | undefined;
  /** Another endpoint, such as that of a VPC. Default: the region's. */
  readonly endpoint?: string | undefined;
  /** A client of `@aws-sdk/client-kms` that is set up already. Default: one with the SDK's credential chain. */
  readonly client?: AwsKmsClient | undefined;
}

/** What is used of the SDK's `KMSClient`. */
export interface AwsKmsClient {
  send(command: object, options?: { abortSignal?: AbortSignal }): Promise<unknown>;
}

interface AwsSdk {
  readonly KMSClient: new (config: object) => AwsKmsClient;
  readonly GetPublicKeyCommand: new (input: object) => object;
  readonly SignCommand: new (input: object) => object;
  readonly CreateKeyCommand: new (input: object) => object;
  readonly CreateAliasCommand: new (input: object) => object;
}

/** KMS takes no longer message in its raw form. */
const MAX_MESSAGE_BYTES = 4096;

const FAILURES: Readonly<Record<string, ServiceFailure>> = {
  CredentialsProviderError: 'no-credentials',
  TokenProviderError: 'no-credentials',
  ExpiredToken: 'no-credentials',
  ExpiredTokenException: 'no-credentials',
  UnrecognizedClientException: 'no-credentials',
  InvalidClientTokenId: 'no-credentials',
  InvalidSignatureException: 'no-credentials',
  IncompleteSignature: 'no-credentials',
  MissingAuthenticationToken: 'no-credentials',
  MissingAuthenticationTokenException: 'no-credentials',
  AccessDeniedException: 'forbidden',
  AccessDenied: 'forbidden',
  NotFoundException: 'missing',
  InvalidArnException: 'missing',
  DisabledException: 'disabled',
  KMSInvalidStateException: 'disabled',
  KeyUnavailableException: 'disabled',
  InvalidKeyUsageException: 'wrong-type',
  UnsupportedOperationException: 'wrong-type',
  ThrottlingException: 'throttled',
  Throttling: 'throttled',
  TooManyRequestsException: 'throttled',
  RequestLimitExceeded: 'throttled',
  LimitExceededException: 'throttled',
  KMSInternalException: 'unavailable',
  InternalFailure: 'unavailable',
  ServiceUnavailable: 'unavailable',
  ServiceUnavailableException: 'unavailable',
  DependencyTimeoutException: 'unavailable',
  TimeoutError: 'unreachable',
};

const AWS = keyService({
  name: 'AWS KMS',
  hints: {
    'no-credentials': 'see which credentials are used: aws sts get-caller-identity; for SSO: aws sso login',
    forbidden: 'allow kms:GetPublicKey and kms:Sign on this key, in the role and in the key policy',
    missing: 'check --key-id and --region: aws kms list-aliases',
    disabled: 'see its state: aws kms describe-key --key-id <id>; enable it: aws kms enable-key --key-id <id>',
    'wrong-type': 'use a key of usage SIGN_VERIFY and spec ECC_NIST_EDWARDS25519, RSA_2048, RSA_3072 or RSA_4096',
    throttled: 'wait and try again; see the quotas of AWS KMS in Service Quotas',
    unreachable: 'check the network, the proxy, --region and --endpoint; or allow more time with --timeout',
    unavailable: 'try again later',
    other: 'read the answer of AWS in this message',
  },
  classify(error) {
    const { name, message } = error instanceof Error ? error : { name: '', message: '' };
    const own = Object.hasOwn(FAILURES, name) ? FAILURES[name] : undefined;
    const failure = own ?? (/region is missing/i.test(message) ? 'missing' : 'other');
    return { failure, detail: `${name}: ${message}` };
  },
});

/**
 * A signer whose key AWS KMS keeps: of spec ECC_NIST_EDWARDS25519 (ED25519_SHA_512 over the message itself), or RSA
 * (RSASSA_PKCS1_V1_5_SHA_256). It needs the optional package `@aws-sdk/client-kms`, takes credentials as that finds
 * them, and proves itself once before it is returned. An alias is resolved once: the signer stays with that key.
 * @throws `ERR_SIGNER` for credentials, permission, a missing or disabled key, throttling, no answer;
 *   `ERR_KEY_UNSUPPORTED` for another kind of key; `ERR_INTERRUPTED`
 */
export async function awsKmsSigner(options: AwsKmsSignerOptions): Promise<KmsSigner> {
  const { sdk, client } = await openSdk(options);
  return openKey(sdk, client, options);
}

interface ShownKey {
  readonly KeyId?: string;
  readonly PublicKey?: Uint8Array;
  readonly KeySpec?: string;
  readonly KeyUsage?: string;
}

/** A function that sends a command for the key, and returns the answer. */
function sender(client: AwsKmsClient, options: AwsKmsSignerOptions) {
  const call = AWS.calls(options.keyId, options);
  return <T>(command: object) => call((abortSignal) => client.send(command, { abortSignal }) as Promise<T>);
}

async function openKey(sdk: AwsSdk, client: AwsKmsClient, options: AwsKmsSignerOptions): Promise<KmsSigner> {
  const { keyId } = options;
  const send = sender(client, options);
  const shown = await send<ShownKey>(new sdk.GetPublicKeyCommand({ KeyId: keyId }));
  const { PublicKey: der, KeySpec: spec = '', KeyUsage: usage, KeyId: arn = keyId } = shown;
  const rsa = /^RSA_(2048|3072|4096)$/.test(spec);
  if (usage !== 'SIGN_VERIFY' || (!rsa && spec !== 'ECC_NIST_EDWARDS25519')) {
    throw AWS.failed(keyId, 'wrong-type', `${spec}, ${usage}`);
  }
  if (!(der instanceof Uint8Array)) throw AWS.incomplete(`shows no public key for ${keyId}`);
  const signer = await AWS.signer(await parsePublicKey(der), keyId, async (message) => {
    if (message.length > MAX_MESSAGE_BYTES) {
      throw signerError(
        `AWS KMS signs messages of at most ${MAX_MESSAGE_BYTES} bytes, not of ${message.length}`,
        'shorten the data that is signed with the login',
      );
    }
    const command = new sdk.SignCommand({
      KeyId: arn,
      Message: message,
      MessageType: 'RAW',
      SigningAlgorithm: rsa ? 'RSASSA_PKCS1_V1_5_SHA_256' : 'ED25519_SHA_512',
    });
    return (await send<{ readonly Signature?: unknown }>(command)).Signature;
  });
  return { ...signer, keyId: arn };
}

async function openSdk({ keyId, region, endpoint, client, load }: AwsKmsSignerOptions) {
  const sdk = (await loadOptionalPackage('@aws-sdk/client-kms', 'a key in AWS KMS', load)) as AwsSdk;
  const where = region ?? /^arn:[\w-]+:kms:([\w-]+):/.exec(keyId)?.[1];
  const config = defined({ region: where, endpoint });
  return { sdk, client: client ?? withoutVersionWarning(() => new sdk.KMSClient(config)) };
}

/** The SDK warns on stderr of Node versions that it will leave: a program's output is not the place for that. */
function withoutVersionWarning<T>(work: () => T): T {
  const name = 'AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED';
  if (process.env[name] !== undefined) return work();
  process.env[name] = 'true';
  try {
    return work();
  } finally {
    delete process.env[name];
  }
}

/**
 * Makes a key in AWS KMS under the alias `keyId` (such as `alias/bot`), and opens it. The role also needs
 * kms:CreateKey and kms:CreateAlias.
 * @throws `ERR_NAME_TAKEN` for an alias that exists, `ERR_USAGE` for an id that is no alias, and what `awsKmsSigner` does
 */
export async function generateInAwsKms(options: AwsKmsSignerOptions & GenerateInKmsOptions): Promise<KmsSigner> {
  const { keyId, type = 'ed25519', bits = DEFAULT_RSA_BITS } = options;
  if (!/^alias\/(?!aws\/)[\w/-]{1,250}$/.test(keyId)) {
    throw usageError(`a new key of AWS KMS is named by an alias, not by "${keyId}"`, 'such as --key-id alias/bot');
  }
  const { sdk, client } = await openSdk(options);
  const send = sender(client, options);
  const taken = await send(new sdk.GetPublicKeyCommand({ KeyId: keyId }))
    .then(() => true)
    .catch((error: unknown) => {
      if (error instanceof DeribitKeysError && (error.cause as Error | undefined)?.name === 'NotFoundException')
        return false;
      throw error;
    });
  if (taken) throw AWS.nameTaken(keyId);
  const spec = type === 'rsa' ? `RSA_${bits}` : 'ECC_NIST_EDWARDS25519';
  const made = await send<{ readonly KeyMetadata?: { readonly KeyId?: string; readonly Arn?: string } }>(
    new sdk.CreateKeyCommand({ KeySpec: spec, KeyUsage: 'SIGN_VERIFY', Description: `deribit-keys ${keyId}` }),
  );
  const { KeyId: id, Arn: arn = id } = made.KeyMetadata ?? {};
  if (id === undefined || arn === undefined) throw AWS.incomplete('names no new key');
  try {
    await send(new sdk.CreateAliasCommand({ AliasName: keyId, TargetKeyId: id }));
    return await openKey(sdk, client, { ...options, keyId: arn });
  } catch (error) {
    if (!(error instanceof DeribitKeysError)) throw error;
    throw error.with({
      hint: `${error.hint}; the new key ${arn} exists: use it with add-kms, or aws kms schedule-key-deletion --key-id ${id}`,
    });
  }
}
