import type { Signer } from '../../crypto/signer.js';
import { usageError } from '../../errors.js';
import { isText } from '../../util/checks.js';
import type { GenerateInKmsOptions, KmsSigner, KmsSignerOptions } from '../remote-key.js';
import type { OptionValues, SignerAccess, SignerKind } from '../signer-kind.js';
import { ALWAYS, fits, isTextOrNull, requireText, textOf } from '../signer-kind.js';

/** A cloud service, and a key that it keeps. */
export interface KmsLocation {
  readonly kind: 'kms';
  readonly provider: 'aws' | 'gcp' | 'azure';
  readonly region: string | null;
  readonly endpoint: string | null;
  /** The service's name of exactly this key and version. */
  readonly keyId: string;
}

export interface KmsTarget extends Omit<KmsLocation, 'keyId'> {
  /** gcp: the key ring. azure: the URL of the vault. aws: null. */
  readonly parent: string | null;
}

interface Provider {
  /** The id of a new key called `name`. */
  idOf(name: string, parent: string): string;
  /** What `parent` must be to make a key; null where the service has nothing like it. */
  readonly parentHint: string | null;
  /** The parent of a key. */
  parentOf(keyId: string): string | null;
  open(options: KmsOptions): Promise<KmsSigner>;
  generate(options: KmsOptions & GenerateInKmsOptions): Promise<KmsSigner>;
}

interface KmsOptions extends KmsSignerOptions {
  readonly keyId: string;
  readonly region: string | undefined;
  readonly endpoint: string | undefined;
}

/** No service allows a dot in the name of a key. */
const plainName = (name: string) => name.replaceAll('.', '-');

const PROVIDERS: Readonly<Record<KmsTarget['provider'], Provider>> = {
  aws: {
    idOf: (name) => `alias/${plainName(name)}`,
    parentHint: null,
    parentOf: () => null,
    open: async (options) => (await import('./aws-kms-signer.js')).awsKmsSigner(options),
    generate: async (options) => (await import('./aws-kms-signer.js')).generateInAwsKms(options),
  },
  gcp: {
    idOf: (name, parent) => `${parent}/cryptoKeys/${plainName(name)}`,
    parentHint: 'name the key ring: --parent projects/…/locations/…/keyRings/…',
    parentOf: (keyId) => keyId.replace(/\/cryptoKeys\/.*$/, ''),
    open: async (options) => (await import('./gcp-kms-signer.js')).gcpKmsSigner(options),
    generate: async (options) => (await import('./gcp-kms-signer.js')).generateInGcpKms(options),
  },
  azure: {
    idOf: (name, parent) => `${parent}/keys/${plainName(name).replaceAll('_', '-')}`,
    parentHint: 'name the vault: --parent https://<vault>.vault.azure.net',
    parentOf: (keyId) => (URL.canParse(keyId) ? new URL(keyId).origin : null),
    open: async (options) => (await import('./azure-key-vault-signer.js')).azureKeyVaultSigner(options),
    generate: async (options) => (await import('./azure-key-vault-signer.js')).generateInAzureKeyVault(options),
  },
};

const isProvider = (value: unknown): value is KmsTarget['provider'] =>
  typeof value === 'string' && Object.hasOwn(PROVIDERS, value);

const SERVICE = { provider: isProvider, region: isTextOrNull, endpoint: isTextOrNull };

function serviceFrom(values: OptionValues): Omit<KmsTarget, 'parent'> {
  const provider = requireText(values, 'provider');
  if (!isProvider(provider)) throw usageError(`--provider is one of ${Object.keys(PROVIDERS).join(', ')}`);
  const [region, endpoint] = [textOf(values, 'region'), textOf(values, 'endpoint')];
  if (region !== null && provider !== 'aws') throw usageError('--region goes with --provider aws', 'leave it out');
  if (endpoint !== null && provider === 'azure') {
    throw usageError('--endpoint does not go with --provider azure', 'leave it out: the id of the key names the vault');
  }
  return { kind: 'kms', provider, region, endpoint };
}

function optionsFor(
  { region, endpoint }: Pick<KmsTarget, 'region' | 'endpoint'>,
  keyId: string,
  { load, timeoutMs, signal }: SignerAccess,
): KmsOptions {
  return { keyId, region: region ?? undefined, endpoint: endpoint ?? undefined, load, timeoutMs, signal };
}

/** Keys in a cloud KMS. */
export const KMS_KIND: SignerKind<KmsLocation, KmsTarget> = {
  kind: 'kms',
  add: {
    command: 'add-kms',
    description: 'Use a key that AWS KMS, Google Cloud KMS or Azure Key Vault holds',
    examples: [
      '--provider aws --key-id alias/bot --region eu-central-1',
      '--provider gcp --key-id projects/p/locations/l/keyRings/r/cryptoKeys/bot/cryptoKeyVersions/1',
      '--provider azure --key-id https://desk.vault.azure.net/keys/bot',
    ],
  },
  make: {
    flag: '--in-kms',
    description: 'inside a cloud KMS',
    examples: ['--in-kms --provider aws --region eu-central-1'],
  },
  options: [
    { flags: '--provider <name>', description: 'aws, gcp or azure', required: ALWAYS },
    {
      flags: '--key-id <id>',
      description: 'aws: id, ARN or alias; gcp: the name of a version; azure: the identifier',
      on: ['add'],
      required: ['add'],
    },
    {
      flags: '--key-id <id>',
      description: 'the new key (aws: alias/…, default alias/<name>; gcp: …/cryptoKeys/…; azure: …/keys/…)',
      on: ['generate'],
    },
    {
      flags: '--parent <id>',
      description: 'where the new key belongs (gcp: the key ring; azure: the URL of the vault)',
      on: ['generate', 'rotate'],
    },
    { flags: '--region <name>', description: "aws: the region (default: that of an ARN, or the SDK's)" },
    { flags: '--endpoint <url>', description: 'aws, gcp: another endpoint, such as one in a private network' },
  ],
  isLocation: (value) => fits(value, 'kms', { ...SERVICE, keyId: isText }),
  isTarget: (value) => fits(value, 'kms', { ...SERVICE, parent: isTextOrNull }),
  describe: ({ provider, keyId }) => `kms ${provider}, ${keyId}`,
  describeTarget: ({ provider, parent }) => `the KMS of ${provider}${parent === null ? '' : ` (${parent})`}`,
  targetOf: ({ keyId, ...service }) => {
    // of an ARN, the region that the next key is made in as well
    const region = service.region ?? /^arn:[\w-]+:kms:([\w-]+):/.exec(keyId)?.[1] ?? null;
    return { ...service, region, parent: PROVIDERS[service.provider].parentOf(keyId) };
  },
  targetFrom(values) {
    const service = serviceFrom(values);
    const parent = textOf(values, 'parent')?.replace(/\/+$/, '') ?? null;
    const { parentHint } = PROVIDERS[service.provider];
    if (parentHint !== null && parent === null && textOf(values, 'keyId') === null) {
      throw usageError(`--provider ${service.provider} needs to know where a new key belongs`, parentHint);
    }
    return { ...service, parent };
  },
  requireType(type, { provider }) {
    if (type === 'rsa' || provider !== 'azure') return;
    throw usageError('Azure Key Vault has no Ed25519 keys', 'use --type rsa');
  },
  valuesOf(name, { provider, parent, region, endpoint }) {
    const id = PROVIDERS[provider].idOf(name, parent ?? '');
    const keyId = provider === 'gcp' ? `${id}/cryptoKeyVersions/1` : id;
    return { provider, keyId, region: region ?? undefined, endpoint: endpoint ?? undefined };
  },
  open: (location, access): Promise<Signer> =>
    PROVIDERS[location.provider].open(optionsFor(location, location.keyId, access)),
  async hold(values, access) {
    const service = serviceFrom(values);
    const signer = await PROVIDERS[service.provider].open(optionsFor(service, requireText(values, 'keyId'), access));
    return { publicKey: signer.publicKey, location: { ...service, keyId: signer.keyId } };
  },
  async generate({ key, target, values, access }) {
    const { parent: _parent, ...service } = target;
    const keyId = textOf(values, 'keyId') ?? PROVIDERS[target.provider].idOf(key.name, target.parent ?? '');
    const options = optionsFor(target, keyId, access);
    const signer = await PROVIDERS[target.provider].generate({ ...options, type: key.type, bits: key.bits });
    return {
      publicKey: signer.publicKey,
      location: { ...service, keyId: signer.keyId },
      recover: `the key is in the KMS: deribit-keys add-kms <name> --provider ${target.provider} --key-id ${signer.keyId}`,
    };
  },
};
