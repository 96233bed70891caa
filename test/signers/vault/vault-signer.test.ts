import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { generateInVault, vaultSigner } from '../../../src/signers/vault/vault-signer.js';
import {
  ED25519,
  newPair,
  pairOf,
  pemOf,
  RSA,
  type TransitKey,
  type VaultWorld,
  vaultStandIn,
  verifies,
} from '../stand-ins.js';
import { bytes } from '../support.js';

const token = { method: 'token', token: 'hvs.token' } as const;
const keyOf = (type: 'ed25519' | 'rsa', more: Partial<TransitKey> = {}): TransitKey => ({
  type: type === 'rsa' ? 'rsa-2048' : 'ed25519',
  versions: { 1: pairOf(type) },
  latest: 1,
  ...more,
});

async function world(options: Partial<VaultWorld> & { key?: TransitKey } = {}) {
  const { key, ...more } = options;
  const { server, vault } = await vaultStandIn(more);
  if (key !== undefined) vault.keys.set('bot', key);
  const open = (auth: Parameters<typeof vaultSigner>[0]['auth'] = token, extra: object = {}) =>
    vaultSigner({ address: server.url, key: 'bot', auth, ...extra });
  return { server, vault, open };
}

describe('vaultSigner', () => {
  it.each(['ed25519', 'rsa'] as const)('signs with a transit key of type %s', async (type) => {
    const { server, open } = await world({ key: keyOf(type) });
    const signer = await open();
    expect(signer).toMatchObject({ algorithm: type, version: 1 });
    const message = bytes('1\n2\n');
    expect(verifies(pemOf(pairOf(type).publicKey), message, await signer.sign(message))).toBe(true);
    const { path, body } = server.requests.at(-1) ?? {};
    expect(path).toBe('/v1/transit/sign/bot');
    const forRsa = { signature_algorithm: 'pkcs1v15', hash_algorithm: 'sha2-256' };
    const input = Buffer.from(message).toString('base64');
    expect(body).toEqual({ input, key_version: 1, ...(type === 'rsa' ? forRsa : {}) });
    await signer.close();
  });

  it('stays with the version that it was opened with, when the key is rotated in Vault', async () => {
    const { vault, open } = await world();
    const signer = await open();
    vault.keys.set('bot', keyOf('ed25519', { versions: { 1: ED25519, 2: newPair('ed25519') }, latest: 2 }));
    const message = bytes('x');
    expect(verifies(pemOf(ED25519.publicKey), message, await signer.sign(message))).toBe(true);
    expect((await open(token, { version: 1 })).publicKey.equals(signer.publicKey)).toBe(true);
    expect((await open()).publicKey.equals(signer.publicKey)).toBe(false);
  });

  it('logs in by AppRole and Kubernetes, once for many signatures, and again when the lease has expired', async () => {
    const { server, vault, open } = await world();
    const logins = () => server.requests.filter(({ path }) => path.endsWith('/login')).length;
    const approle = { method: 'approle', roleId: 'role', secretId: async () => 'secret-id' } as const;
    const signer = await open(approle);
    await Promise.all([1, 2, 3].map((n) => signer.sign(bytes(`${n}`))));
    expect(logins()).toBe(1);
    vault.tokens.clear();
    await signer.sign(bytes('after the token was revoked'));
    expect(logins()).toBe(2);
    await (await open({ method: 'kubernetes', role: 'bots', jwt: 'e30.e30.sig' })).sign(bytes('x'));
    expect(logins()).toBe(3);
    vault.leaseS = 0.0001;
    const shortLived = await open(approle);
    const before = logins();
    await shortLived.sign(bytes('x'));
    expect(logins()).toBeGreaterThan(before);
  });

  it('lets a Vault Agent add the token, and sends the header that agents ask for', async () => {
    const { server, open } = await world({ agentToken: 'hvs.token' });
    await (await open({ method: 'agent' })).sign(bytes('x'));
    expect(server.requests.every(({ headers }) => headers['x-vault-token'] === undefined)).toBe(true);
    expect(server.requests.every(({ headers }) => headers['x-vault-request'] === 'true')).toBe(true);
  });

  it('reads a token again when Vault refuses the one before, as a renewed file has another', async () => {
    const { server, vault, open } = await world();
    let current = 'hvs.token';
    const signer = await open({ method: 'token', token: () => current });
    vault.tokens.delete('hvs.token');
    vault.tokens.add('hvs.renewed');
    const signing = signer.sign(bytes('x'));
    current = 'hvs.renewed';
    await signing;
    expect(server.requests.at(-1)?.headers['x-vault-token']).toBe('hvs.renewed');
  });

  it('sends the namespace', async () => {
    const { server, open } = await world();
    await open(token, { namespace: 'desk/' });
    expect(server.requests[0]?.headers['x-vault-namespace']).toBe('desk/');
  });

  it.each([
    ['http://vault.internal:8200', /unencrypted/],
    ['vault.internal:8200', /not an https: URL/],
    ['https://user:secret-canary@vault.internal', /has a login/],
  ])('refuses the address %s', async (address, message) => {
    const error = await vaultSigner({ address, key: 'bot', auth: token }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'ERR_USAGE', message: expect.stringMatching(message) });
    expect(inspect(error)).not.toContain('secret-canary');
  });
});

describe('what vaultSigner says of a failure', () => {
  const signer = 'ERR_SIGNER';
  const answers = (status: number, ...errors: string[]) => ({ status, body: { errors } });
  const cases: readonly (readonly [
    what: string,
    prepare: (w: Awaited<ReturnType<typeof world>>) => void,
    expected: { code: string; message: RegExp; hint: RegExp },
  ])[] = [
    [
      'a token that is not valid',
      ({ vault }) => vault.tokens.clear(),
      { code: signer, message: /does not accept the credentials.*invalid token/, hint: /vault login/ },
    ],
    [
      'a token without the policy',
      ({ vault }) => vault.weak.add('hvs.token'),
      { code: signer, message: /does not allow.*permission denied/, hint: /policy with read on/ },
    ],
    [
      'a token with the policy to read but not to sign',
      ({ server }) => {
        server.fault = ({ path }) => (path.includes('/sign/') ? answers(403, 'permission denied') : null);
      },
      { code: signer, message: /does not allow.*permission denied/, hint: /update on/ },
    ],
    [
      'a key that is missing',
      ({ vault }) => vault.keys.clear(),
      { code: signer, message: /has no key transit\/bot/, hint: /--key/ },
    ],
    [
      'a mount that is missing',
      ({ server }) => {
        server.fault = ({ path }) => answers(404, `no handler for route "${path}". route entry not found.`);
      },
      { code: signer, message: /has no key .*no handler for route/, hint: /--mount/ },
    ],
    ...['aes256-gcm96', 'ecdsa-p256', 'rsa-1024'].map(
      (type) =>
        [
          `a key of type ${type}`,
          ({ vault }: Awaited<ReturnType<typeof world>>) =>
            void vault.keys.set('bot', { type, versions: { 1: RSA }, latest: 1 }),
          {
            code: 'ERR_KEY_UNSUPPORTED',
            message: new RegExp(`cannot sign for Deribit \\(${type}\\)`),
            hint: /type ed25519/,
          },
        ] as const,
    ),
    [
      'a derived key',
      ({ vault }) => vault.keys.set('bot', keyOf('ed25519', { derived: true })),
      { code: 'ERR_KEY_UNSUPPORTED', message: /ed25519, derived/, hint: /without derived/ },
    ],
    [
      'a version that is not allowed any more',
      ({ vault }) => vault.keys.set('bot', keyOf('ed25519', { minEncryption: 2 })),
      { code: signer, message: /disabled.*less than the minimum/, hint: /min_encryption_version/ },
    ],
    [
      'a rate limit',
      ({ server }) => {
        server.fault = () => answers(429, 'request path "transit/sign/bot": rate limit quota exceeded');
      },
      { code: signer, message: /limits the rate/, hint: /quotas/ },
    ],
    [
      'a sealed server',
      ({ server }) => {
        server.fault = () => answers(503, 'Vault is sealed');
      },
      { code: signer, message: /not available at the moment \(Vault is sealed\)/, hint: /vault status/ },
    ],
    [
      'a redirect of a standby',
      ({ server }) => {
        server.fault = () => ({ status: 307, headers: { location: 'https://active.example:8200/v1/x' } });
      },
      {
        code: signer,
        message: /redirects to https:\/\/active.example:8200: it is not followed/,
        hint: /active.example/,
      },
    ],
    [
      'an answer of something else',
      ({ server }) => {
        server.fault = () => ({ body: '<html>' });
      },
      { code: signer, message: /shows no transit key/, hint: /address/ },
    ],
    [
      'no answer in time',
      ({ server }) => {
        server.fault = () => ({ instead: 'silence' });
      },
      { code: signer, message: /Vault did not answer within 300 ms/, hint: /--timeout/ },
    ],
    [
      'a connection that is cut',
      ({ server }) => {
        server.fault = () => ({ instead: 'cut' });
      },
      { code: signer, message: /cannot be reached/, hint: /network/ },
    ],
    [
      'a signature of another key',
      ({ server }) => {
        const other = newPair('ed25519');
        server.fault = ({ path }) =>
          path.includes('/sign/') ? { body: { data: { signature: `vault:v1:${sign64(other)}` } } } : null;
      },
      { code: signer, message: /does not verify/, hint: /private half/ },
    ],
    [
      'a signature in DER',
      ({ server }) => {
        const der = Buffer.concat([Buffer.of(4, 64), Buffer.alloc(64, 1)]).toString('base64');
        server.fault = ({ path }) =>
          path.includes('/sign/') ? { body: { data: { signature: `vault:v1:${der}` } } } : null;
      },
      { code: signer, message: /66 bytes instead of 64/, hint: /signature itself/ },
    ],
    [
      'a signature by another version',
      ({ server }) => {
        server.fault = ({ path }) =>
          path.includes('/sign/') ? { body: { data: { signature: 'vault:v3:AAAA' } } } : null;
      },
      { code: signer, message: /version 3 of the key instead of 1/, hint: /between here and Vault/ },
    ],
  ];
  const sign64 = (pair: typeof ED25519) => Buffer.alloc(64, pair === ED25519 ? 1 : 2).toString('base64');

  it.each(cases)('names %s', async (_what, prepare, { code, message, hint }) => {
    const w = await world();
    prepare(w);
    const error = await w.open(token, { timeoutMs: 300 }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code, message: expect.stringMatching(message), hint: expect.stringMatching(hint) });
    expect(inspect(error, { depth: 9 })).not.toContain('hvs.token');
  });

  it('names a server that cannot be reached', async () => {
    const { server, open } = await world();
    await server.close();
    await expect(open()).rejects.toMatchObject({
      code: signer,
      message: expect.stringMatching(/cannot be reached \(ECONNREFUSED\)/),
    });
  });

  it('names a login that is refused, without its secret', async () => {
    const { open } = await world();
    const auth = { method: 'approle', roleId: 'role', secretId: 'secret-canary' } as const;
    const error = await open(auth).catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: signer,
      message: expect.stringMatching(/credentials.*approle: invalid role or secret ID/),
    });
    expect(inspect(error, { depth: 9 })).not.toContain('secret-canary');
  });

  it('checks every signature, not only the first', async () => {
    const { server, open } = await world();
    const opened = await open();
    const wrong = Buffer.alloc(64, 7).toString('base64');
    server.fault = () => ({ body: { data: { signature: `vault:v1:${wrong}` } } });
    await expect(opened.sign(bytes('x'))).rejects.toMatchObject({
      code: signer,
      message: expect.stringMatching(/key opened here does not verify/),
    });
  });

  it('ends with ERR_INTERRUPTED when its signal fires, while opening and while signing', async () => {
    const { server, open } = await world();
    server.fault = () => ({ instead: 'silence' });
    const first = new AbortController();
    const opening = open(token, { signal: first.signal });
    first.abort();
    await expect(opening).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    server.fault = null;
    const second = new AbortController();
    const opened = await open(token, { signal: second.signal });
    server.fault = () => ({ instead: 'silence' });
    const signing = opened.sign(bytes('x'));
    second.abort();
    await expect(signing).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
  });
});

describe('generateInVault', () => {
  it.each([
    ['ed25519', undefined, 'ed25519'],
    ['rsa', 2048, 'rsa-2048'],
  ] as const)('makes a key of type %s that cannot be exported', async (type, bits, expected) => {
    const { server } = await world();
    const made = await generateInVault({ address: server.url, key: 'new', auth: token, type, bits });
    expect(made).toMatchObject({ algorithm: type, version: 1 });
    const { body } = server.requests.find(({ method, path }) => method === 'POST' && path.endsWith('/keys/new')) ?? {};
    expect(body).toEqual({ type: expected, exportable: false, allow_plaintext_backup: false });
    await made.sign(bytes('x'));
  });

  it('never touches a key that exists: Vault would say yes and make nothing', async () => {
    const { server } = await world();
    await expect(generateInVault({ address: server.url, key: 'bot', auth: token })).rejects.toMatchObject({
      code: 'ERR_NAME_TAKEN',
      hint: expect.stringContaining('add-vault'),
    });
    expect(server.requests.filter(({ method }) => method === 'POST')).toHaveLength(0);
  });
});
