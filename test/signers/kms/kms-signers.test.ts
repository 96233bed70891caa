import { inspect } from 'node:util';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { awsKmsSigner, generateInAwsKms } from '../../../src/signers/kms/aws-kms-signer.js';
import { azureKeyVaultSigner, generateInAzureKeyVault } from '../../../src/signers/kms/azure-key-vault-signer.js';
import { gcpKmsSigner, generateInGcpKms } from '../../../src/signers/kms/gcp-kms-signer.js';
import {
  type Answer,
  awsStandIn,
  azureStandIn,
  cloudEnvironment,
  type Fault,
  GCP_RING,
  GCP_VERSION,
  gcpError,
  gcpStandIn,
  newPair,
  pairOf,
  pemOf,
  RSA,
  type StandIn,
  signWith,
  verifies,
} from '../stand-ins.js';
import { bytes, load, noCloudSdk } from '../support.js';

const message = bytes('1792000000000\nnonce\n');

interface Service {
  readonly server: StandIn;
  open(options?: object): ReturnType<typeof awsKmsSigner>;
  /** Makes the key that `open` opens one that is … */
  disabled(): void;
  missing(): void;
  wrongType(): void;
  /** The service's own form of a refusal. */
  refuse(kind: 'credentials' | 'forbidden' | 'throttled' | 'internal'): Answer;
  isSign(path: string, target: string): boolean;
  /** An answer to a request to sign, with these bytes. */
  signed(signature: Buffer): Answer;
}

async function aws(type: 'ed25519' | 'rsa' = 'ed25519'): Promise<Service & Awaited<ReturnType<typeof awsStandIn>>> {
  const world = await awsStandIn(type);
  const key = world.keys.get('k-1');
  if (key === undefined) throw new Error('no key');
  const refusals = {
    credentials: ['UnrecognizedClientException', 400],
    forbidden: ['AccessDeniedException', 400],
    throttled: ['ThrottlingException', 400],
    internal: ['KMSInternalException', 500],
  } as const;
  return {
    ...world,
    open: (options = {}) => awsKmsSigner({ keyId: 'alias/bot', endpoint: world.server.url, load, ...options }),
    disabled: () => {
      key.state = 'Disabled';
    },
    missing: () => world.aliases.clear(),
    wrongType: () => {
      key.spec = 'ECC_NIST_P256';
    },
    refuse: (kind) => {
      const [name, status] = refusals[kind];
      return { status, headers: { 'x-amzn-errortype': name }, body: { __type: name, message: 'refused' } };
    },
    isSign: (_path, target) => target === 'TrentService.Sign',
    signed: (signature) => ({ body: { Signature: signature.toString('base64') } }),
  };
}

async function gcp(type: 'ed25519' | 'rsa' = 'ed25519'): Promise<Service & Awaited<ReturnType<typeof gcpStandIn>>> {
  const world = await gcpStandIn(type);
  const key = world.versions.get(GCP_VERSION);
  if (key === undefined) throw new Error('no key');
  const refusals = {
    credentials: 'UNAUTHENTICATED',
    forbidden: 'PERMISSION_DENIED',
    throttled: 'RESOURCE_EXHAUSTED',
    internal: 'INTERNAL',
  };
  return {
    ...world,
    open: (options = {}) => gcpKmsSigner({ keyId: GCP_VERSION, endpoint: world.server.url, load, ...options }),
    disabled: () => {
      key.state = 'DISABLED';
    },
    missing: () => world.versions.clear(),
    wrongType: () => {
      key.algorithm = 'EC_SIGN_P256_SHA256';
    },
    refuse: (kind) => gcpError(refusals[kind], 'refused'),
    isSign: (path) => path.endsWith(':asymmetricSign'),
    signed: (signature) => ({ body: { name: GCP_VERSION, signature: signature.toString('base64') } }),
  };
}

async function azure(_type: 'rsa' = 'rsa'): Promise<Service & Awaited<ReturnType<typeof azureStandIn>>> {
  const world = await azureStandIn();
  cloudEnvironment(world.server.url);
  const key = world.keys.get('bot/v1');
  if (key === undefined) throw new Error('no key');
  const refusals = {
    credentials: [401, 'Unauthorized'],
    forbidden: [403, 'ForbiddenByRbac'],
    throttled: [429, 'Throttled'],
    internal: [500, 'InternalServerError'],
  } as const;
  return {
    ...world,
    open: (options = {}) => azureKeyVaultSigner({ keyId: `${world.server.url}/keys/bot`, load, ...options }),
    disabled: () => {
      key.enabled = false;
    },
    missing: () => world.keys.clear(),
    wrongType: () => {
      key.kty = 'EC';
    },
    refuse: (kind) => {
      const [status, code] = refusals[kind];
      return { status, headers: { 'retry-after': '0' }, body: { error: { code, message: 'refused' } } };
    },
    isSign: (path) => path.endsWith('/sign'),
    signed: (signature) => ({ body: { kid: 'x', value: signature.toString('base64url') } }),
  };
}

const SERVICES = [
  { name: 'AWS KMS', start: aws, type: 'ed25519' },
  { name: 'Google Cloud KMS', start: gcp, type: 'ed25519' },
  { name: 'Azure Key Vault', start: azure, type: 'rsa' },
] as const;

beforeEach(() => cloudEnvironment());

/** A fault of the requests to sign only. */
const whenSigning =
  (service: Service, answer: Answer): Fault =>
  ({ path, headers }) =>
    service.isSign(path, String(headers['x-amz-target'])) ? answer : null;

describe.skipIf(noCloudSdk)('a signer for a cloud service, with its official SDK', () => {
  it.each([
    ['AWS KMS', 'ed25519', aws, { MessageType: 'RAW', SigningAlgorithm: 'ED25519_SHA_512' }],
    ['AWS KMS', 'rsa', aws, { MessageType: 'RAW', SigningAlgorithm: 'RSASSA_PKCS1_V1_5_SHA_256' }],
    ['Google Cloud KMS', 'ed25519', gcp, {}],
    ['Google Cloud KMS', 'rsa', gcp, {}],
    ['Azure Key Vault', 'rsa', azure, { alg: 'RS256' }],
  ] as const)('%s signs with %s', async (_name, type, start, sent) => {
    const service = await (start as (type: 'ed25519' | 'rsa') => Promise<Service>)(type);
    const signer = await service.open();
    expect(signer.algorithm).toBe(type);
    expect(verifies(pemOf(pairOf(type).publicKey), message, await signer.sign(message))).toBe(true);
    expect(service.server.requests.at(-1)?.body).toMatchObject(sent);
    // proved once when opened: one challenge was signed before
    const signs = service.server.requests.filter(
      ({ path, headers }) =>
        headers.authorization !== undefined && service.isSign(path, String(headers['x-amz-target'])),
    );
    expect(signs).toHaveLength(2);
  });

  it.each(SERVICES)(
    '$name: a key that is disabled is named, with the command that enables it',
    async ({ name, start }) => {
      const service = await start();
      service.disabled();
      await expect(service.open()).rejects.toMatchObject({
        code: 'ERR_SIGNER',
        message: expect.stringMatching(new RegExp(`in ${name} is disabled, deleted or not ready`)),
        hint: expect.stringContaining('enable it'),
      });
    },
  );

  it.each(SERVICES)('$name: a key that is missing is named', async ({ name, start }) => {
    const service = await start();
    service.missing();
    await expect(service.open()).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringContaining(`${name} has no key `),
      hint: expect.stringContaining('--key-id'),
    });
  });

  it.each(SERVICES)('$name: a key of a wrong type is named', async ({ name, start }) => {
    const service = await start();
    service.wrongType();
    await expect(service.open()).rejects.toMatchObject({
      code: 'ERR_KEY_UNSUPPORTED',
      message: expect.stringMatching(
        new RegExp(`in ${name} cannot sign for Deribit \\((ECC_NIST_P256|EC_SIGN_P256|EC: )`),
      ),
      hint: expect.stringMatching(/^use /),
    });
  });

  const REFUSALS = [
    ['credentials', /does not accept the credentials/, /login/],
    ['forbidden', /does not allow these credentials/, /kms:Sign|signerVerifier|Crypto User/],
    ['throttled', /limits the rate of requests/, /quotas|limits/],
    ['internal', /is not available at the moment/, /try again later/],
  ] as const;
  it.each(
    SERVICES.flatMap(({ name, start }) => REFUSALS.map(([kind, text, hint]) => ({ name, start, kind, text, hint }))),
  )('$name: what is refused for $kind is named', async ({ name, start, kind, text, hint }) => {
    const service = await start();
    service.server.fault = ({ path }) => (path === '/msi' ? null : service.refuse(kind));
    const error = await service.open().catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringMatching(new RegExp(`^${name}.*${text.source}`)),
      hint: expect.stringMatching(hint),
    });
    expect(inspect(error, { depth: 9 })).not.toMatch(/aws-secret-canary|PRIVATE KEY|e30\.e30|Bearer e/);
  });

  it.each(SERVICES)('$name: permission to see the key but not to sign is named', async ({ name, start }) => {
    const service = await start();
    service.server.fault = whenSigning(service, service.refuse('forbidden'));
    await expect(service.open()).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringMatching(new RegExp(`^${name} does not allow`)),
    });
  });

  it.each(SERVICES)(
    '$name: no answer within the time is named, and so is a service out of reach',
    async ({ name, start }) => {
      const service = await start();
      service.server.fault = () => ({ instead: 'silence' });
      await expect(service.open({ timeoutMs: 200 })).rejects.toMatchObject({
        code: 'ERR_SIGNER',
        message: `${name} did not answer within 200 ms`,
        hint: expect.stringContaining('--timeout'),
      });
      await service.server.close();
      const error = await service.open({ timeoutMs: 1_500 }).catch((reason: unknown) => reason);
      expect(error).toMatchObject({
        code: 'ERR_SIGNER',
        message: expect.stringMatching(/cannot be reached|did not answer|does not accept the credentials/),
      });
    },
  );

  it.each(SERVICES)('$name: a signal ends opening and signing with ERR_INTERRUPTED', async ({ start }) => {
    const service = await start();
    const { signal } = (() => {
      const controller = new AbortController();
      setImmediate(() => controller.abort());
      return controller;
    })();
    service.server.fault = () => ({ instead: 'silence' });
    await expect(service.open({ signal })).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    service.server.fault = null;
    const later = new AbortController();
    const signer = await service.open({ signal: later.signal });
    service.server.fault = () => ({ instead: 'silence' });
    const signing = signer.sign(message);
    later.abort();
    await expect(signing).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  });

  it.each(SERVICES)(
    '$name: a signature of another key, one in DER, and none at all are each found out',
    async ({ start, type }) => {
      const service = await start();
      service.server.fault = whenSigning(service, service.signed(signWith(newPair(type), message)));
      await expect(service.open()).rejects.toMatchObject({
        code: 'ERR_SIGNER',
        message: expect.stringContaining('its public key does not verify'),
      });
      const raw = Buffer.alloc(type === 'rsa' ? 256 : 64, 1);
      service.server.fault = whenSigning(service, service.signed(Buffer.concat([Buffer.of(3, 66, 0), raw])));
      await expect(service.open()).rejects.toMatchObject({
        code: 'ERR_SIGNER',
        message: expect.stringMatching(/returned a signature of \d+ bytes instead of (64|256)/),
      });
      service.server.fault = null;
      const signer = await service.open();
      service.server.fault = whenSigning(service, service.signed(raw));
      await expect(signer.sign(message)).rejects.toMatchObject({
        code: 'ERR_SIGNER',
        message: expect.stringContaining('the key opened here does not verify'),
      });
    },
  );

  it.each(SERVICES)('$name: a missing SDK is named', async ({ start }) => {
    const service = await start();
    const missing = (name: string) => Promise.reject(new Error(`Cannot find package '${name}'`));
    await expect(service.open({ load: missing })).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringMatching(/needs the package @(aws-sdk|google-cloud|azure)\/\S+, which is not installed/),
    });
  });
});

describe.skipIf(noCloudSdk)('awsKmsSigner', () => {
  it('stays with the key that its alias named when it was opened', async () => {
    const service = await aws();
    const signer = await service.open();
    expect(signer.keyId).toMatch(/^arn:aws:kms:.*key\/k-1$/);
    const other = newPair('ed25519');
    service.keys.set('k-2', { spec: 'ECC_NIST_EDWARDS25519', usage: 'SIGN_VERIFY', state: 'Enabled', pair: other });
    service.aliases.set('alias/bot', 'k-2');
    expect(verifies(pemOf(pairOf('ed25519').publicKey), message, await signer.sign(message))).toBe(true);
    const again = await service.open();
    expect(again.publicKey.equals(signer.publicKey)).toBe(false);
  });

  it('names a key that waits for its deletion, and one of another usage', async () => {
    const service = await aws('rsa');
    const key = service.keys.get('k-1');
    if (key === undefined) throw new Error('no key');
    key.usage = 'ENCRYPT_DECRYPT';
    await expect(service.open()).rejects.toMatchObject({ code: 'ERR_KEY_UNSUPPORTED' });
    key.state = 'PendingDeletion';
    await expect(service.open()).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringContaining('pending deletion'),
    });
  });

  it('takes the region from an ARN, and names a region that is missing', async () => {
    const service = await aws();
    vi.stubEnv('AWS_REGION', undefined);
    vi.stubEnv('AWS_CONFIG_FILE', '/nonexistent');
    await expect(service.open()).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringMatching(/region/i),
      hint: expect.stringContaining('--region'),
    });
    const keyId = 'arn:aws:kms:eu-central-1:111122223333:key/k-1';
    const signer = await service.open({ keyId });
    expect(signer.keyId).toBe(keyId);
    expect(service.server.requests.at(-1)?.headers.authorization).toContain('/eu-central-1/kms/');
  });

  it('refuses a message that KMS does not take, before it is sent', async () => {
    const service = await aws();
    const signer = await service.open();
    await expect(signer.sign(new Uint8Array(4097))).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringContaining('at most 4096 bytes'),
    });
  });
});

describe.skipIf(noCloudSdk)('gcpKmsSigner', () => {
  it('wants the name of a version, and says how to complete that of a key', async () => {
    const open = (keyId: string) => gcpKmsSigner({ keyId, load });
    const key = `${GCP_RING}/cryptoKeys/bot`;
    await expect(open(key)).rejects.toMatchObject({
      code: 'ERR_USAGE',
      hint: `add the version: ${key}/cryptoKeyVersions/1`,
    });
    await expect(open('bot')).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });

  it('refuses an endpoint that is not encrypted', async () => {
    await expect(gcpKmsSigner({ keyId: GCP_VERSION, endpoint: 'http://kms.example', load })).rejects.toMatchObject({
      code: 'ERR_USAGE',
    });
  });
});

describe.skipIf(noCloudSdk)('azureKeyVaultSigner', () => {
  it('stays with the version that it was opened with', async () => {
    const service = await azure();
    const signer = await service.open();
    expect(signer.keyId).toBe(`${service.server.url}/keys/bot/v1`);
    service.keys.set('bot/v2', { kty: 'RSA', ops: ['sign'], enabled: true, pair: newPair('rsa') });
    service.latest.set('bot', 'v2');
    expect(verifies(pemOf(RSA.publicKey), message, await signer.sign(message))).toBe(true);
    expect(service.server.requests.at(-1)?.path).toBe('/keys/bot/v1/sign');
  });

  it('names a key that has expired, and one that must not sign', async () => {
    const service = await azure();
    service.keys.set('bot/v1', { kty: 'RSA', ops: ['sign'], enabled: true, expires: 1_700_000_000, pair: RSA });
    await expect(service.open()).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringContaining('expired 2023'),
    });
    service.keys.set('bot/v1', { kty: 'RSA', ops: ['encrypt'], enabled: true, pair: RSA });
    await expect(service.open()).rejects.toMatchObject({ code: 'ERR_KEY_UNSUPPORTED' });
  });

  it('refuses an identifier of something else', async () => {
    for (const keyId of ['bot', 'https://v.vault.azure.net/secrets/bot', 'http://v.vault.azure.net/keys/bot']) {
      await expect(azureKeyVaultSigner({ keyId, load })).rejects.toMatchObject({ code: 'ERR_USAGE' });
    }
  });
});

describe.skipIf(noCloudSdk)('generating a key in a cloud service', () => {
  it.each([
    ['ed25519', undefined, 'ECC_NIST_EDWARDS25519'],
    ['rsa', 2048, 'RSA_2048'],
  ] as const)('AWS KMS makes %s under an alias, and refuses one that exists', async (type, bits, spec) => {
    const { server, keys } = await aws();
    const options = { endpoint: server.url, load, type, bits };
    const made = await generateInAwsKms({ ...options, keyId: 'alias/new' });
    expect(made).toMatchObject({ algorithm: type, keyId: expect.stringContaining(':key/k-2') });
    expect(keys.get('k-2')).toMatchObject({ spec, usage: 'SIGN_VERIFY' });
    await expect(generateInAwsKms({ ...options, keyId: 'alias/new' })).rejects.toMatchObject({
      code: 'ERR_NAME_TAKEN',
    });
    await expect(generateInAwsKms({ ...options, keyId: 'k-9' })).rejects.toMatchObject({ code: 'ERR_USAGE' });
    expect(keys.size).toBe(2);
  });

  it('AWS KMS: a key that was made, and failed to get its alias, is named', async () => {
    const { server } = await aws();
    server.fault = ({ headers }) =>
      headers['x-amz-target'] === 'TrentService.CreateAlias'
        ? {
            status: 400,
            headers: { 'x-amzn-errortype': 'AccessDeniedException' },
            body: { message: 'no kms:CreateAlias' },
          }
        : null;
    await expect(generateInAwsKms({ keyId: 'alias/new', endpoint: server.url, load })).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      hint: expect.stringMatching(/the new key arn:\S+k-2 exists: .*schedule-key-deletion --key-id k-2/),
    });
  });

  it.each([
    ['ed25519', undefined, 'EC_SIGN_ED25519'],
    ['rsa', 2048, 'RSA_SIGN_PKCS1_2048_SHA256'],
  ] as const)('Google Cloud KMS makes %s and waits until it is ready', async (type, bits, algorithm) => {
    const { server, versions } = await gcp();
    const options = { endpoint: server.url, load, type, bits, keyId: `${GCP_RING}/cryptoKeys/new` };
    const made = await generateInGcpKms(options);
    expect(made).toMatchObject({ algorithm: type, keyId: `${GCP_RING}/cryptoKeys/new/cryptoKeyVersions/1` });
    expect(versions.get(made.keyId)).toMatchObject({ algorithm });
    await expect(generateInGcpKms(options)).rejects.toMatchObject({ code: 'ERR_NAME_TAKEN' });
    await expect(generateInGcpKms({ ...options, keyId: 'new' })).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });

  it('Azure Key Vault makes RSA, never a new version of a key that exists, and no Ed25519', async () => {
    const { server, keys } = await azure();
    const made = await generateInAzureKeyVault({ keyId: `${server.url}/keys/new`, load, type: 'rsa', bits: 2048 });
    expect(made.keyId).toBe(`${server.url}/keys/new/v9`);
    expect(keys.get('new/v9')).toMatchObject({ ops: ['sign', 'verify'] });
    const taken = generateInAzureKeyVault({ keyId: `${server.url}/keys/bot`, load, type: 'rsa' });
    await expect(taken).rejects.toMatchObject({ code: 'ERR_NAME_TAKEN' });
    await expect(generateInAzureKeyVault({ keyId: `${server.url}/keys/e`, load })).rejects.toMatchObject({
      code: 'ERR_USAGE',
      hint: 'use --type rsa',
    });
  });
});
