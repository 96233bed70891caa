import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli } from '../support/cli.js';
import { type Desk, live, openDesk, type Registered, type Stored } from './desk.js';
import {
  awsStandIn,
  azureStandIn,
  cloudEnvironment,
  GCP_RING,
  GCP_VERSION,
  gcpStandIn,
  newPair,
  vaultStandIn,
} from './stand-ins.js';
import { folder, noCloudSdk } from './support.js';

const TOKEN = { VAULT_TOKEN: 'hvs.token' };
const scope = 'account:read_write trade:read_write';

/** A registered key of the keystore, as a file. */
async function openRegistered(env: Readonly<Record<string, string>>): Promise<{ desk: Desk; first: Registered }> {
  const desk = await openDesk(env);
  await desk.json(['generate', 'bot']);
  return { desk, first: await desk.json<Registered>(['register', 'bot', '--scope', scope]) };
}

describe('keys in Vault, on the command line', () => {
  it('are added and live their life there', async () => {
    const { server } = await vaultStandIn();
    const desk = await openDesk();
    const words = ['add-vault', 'bot', '--address', server.url, '--key', 'bot'];
    const stored = await desk.json<Stored>(words, TOKEN);
    expect(stored.signer).toEqual({
      kind: 'vault',
      address: server.url,
      mount: 'transit',
      namespace: null,
      auth: 'token',
      authMount: null,
      role: null,
      caFile: null,
      key: 'bot',
      version: 1,
    });
    await live(desk, stored, TOKEN);
    const shown = await cli(['show', 'bot'], { env: { DERIBIT_KEYS_DIR: desk.keys } });
    expect(shown.stdout).toContain(`vault ${server.url}, key transit/bot, version 1`);
    const findings = await desk.run(['doctor', 'bot'], TOKEN);
    expect(findings.stdout).toContain('in the vault');
    const passphrase = { DERIBIT_KEYS_BACKUP_PASSPHRASE: 'correct horse battery' };
    const file = join(folder(), 'backup.age');
    await desk.json(['backup', file], { ...TOKEN, ...passphrase });
    const keys = folder();
    await desk.json(['restore', file], { ...passphrase, DERIBIT_KEYS_DIR: keys });
    expect(await desk.json(['auth', 'bot'], { ...TOKEN, DERIBIT_KEYS_DIR: keys })).toMatchObject({
      tokenType: 'bearer',
    });
    expect(
      readdirSync(desk.keys)
        .map((name) => readFileSync(join(desk.keys, name), 'utf8'))
        .join(),
    ).not.toContain('hvs.token');
  });

  it('take the token from a file, and say where it may come from', async () => {
    const { server } = await vaultStandIn();
    const desk = await openDesk();
    const words = ['add-vault', 'bot', '--address', server.url, '--key', 'bot'];
    expect(await desk.fails(3, words)).toEqual({
      code: 'ERR_SIGNER',
      message: `Vault at ${server.url} needs a token, and none was given`,
      hint: 'use --vault-token-file <file> or VAULT_TOKEN',
    });
    const file = join(folder(), 'token');
    writeFileSync(file, 'hvs.token\n', { mode: 0o600 });
    await desk.json([...words, '--vault-token-file', file]);
    expect(await desk.json(['sign', 'bot', '--client-id', 'x', '--vault-token-file', file])).toHaveProperty(
      'signature',
    );
    const child = ['exec', 'bot', '--', 'sh', '-c', 'test -z "$VAULT_TOKEN"'];
    await desk.json(['register', 'bot', '--scope', scope], TOKEN);
    expect((await desk.run(child, TOKEN)).exitCode).toBe(0);
  });

  it('take an AppRole with its secret from the environment', async () => {
    const { server } = await vaultStandIn({ tokens: new Set() });
    const desk = await openDesk();
    const words = ['add-vault', 'bot', '--address', server.url, '--key', 'bot', '--vault-auth', 'approle'];
    expect((await desk.fails(2, words)).message).toContain('--vault-role');
    const env = { VAULT_SECRET_ID: 'secret-id' };
    const stored = await desk.json<Stored>([...words, '--vault-role', 'role'], env);
    expect(stored.signer).toMatchObject({ auth: 'approle', role: 'role' });
    expect(await desk.json(['sign', 'bot', '--client-id', 'x'], env)).toHaveProperty('signature');
  });

  it('are made there, and rotate from a file to Vault, there again, and back', async () => {
    const { server, vault } = await vaultStandIn();
    const desk = await openDesk(TOKEN);
    const made = await desk.json<Stored>(['generate', 'made', '--in-vault', '--address', server.url, '--key', 'own']);
    expect(made).toMatchObject({ privateKeyFile: null, signer: { kind: 'vault', key: 'own', version: 1 } });
    expect((await desk.fails(1, ['generate', 'x', '--in-vault', '--address', server.url, '--key', 'own'])).code).toBe(
      'ERR_NAME_TAKEN',
    );
    expect(await desk.json(['remove', 'made', '--purge', '--yes'])).toMatchObject({ name: 'made' });

    await desk.json(['generate', 'bot']);
    await desk.json(['register', 'bot', '--scope', scope]);
    expect(await desk.json(['rotate', 'bot', '--in-vault', '--address', server.url])).toMatchObject({ state: 'done' });
    const first = await desk.json<Stored>(['show', 'bot']);
    expect(first.signer).toMatchObject({ kind: 'vault', key: expect.stringMatching(/^bot\.next-/) });
    expect(await desk.json(['rotate', 'bot'])).toMatchObject({ state: 'done' });
    const second = await desk.json<Stored>(['show', 'bot']);
    expect(second.signer.key).not.toBe(first.signer.key);
    expect(await desk.json(['rotate', 'bot', '--in-file'])).toMatchObject({ state: 'done' });
    expect(await desk.json(['auth', 'bot'], { VAULT_TOKEN: '' })).toMatchObject({ tokenType: 'bearer' });
    expect([...vault.keys.keys()].filter((key) => key.startsWith('bot.next-'))).toHaveLength(2);
  });

  it('are never made twice by a rotation that was interrupted', async () => {
    const { server, vault } = await vaultStandIn();
    const { desk } = await openRegistered(TOKEN);
    desk.sandbox.setFaults(['cut-before@private/create_api_key']);
    await desk.fails(4, ['rotate', 'bot', '--in-vault', '--address', server.url]);
    desk.sandbox.clearFaults();
    for (const file of readdirSync(desk.keys)) if (/^bot\.next-/.test(file)) rmSync(join(desk.keys, file));
    expect((await desk.fails(1, ['rotate', 'bot', '--in-file'])).message).toContain(
      `in Vault at ${server.url} (transit)`,
    );
    expect(await desk.json(['rotate', 'bot'])).toMatchObject({ state: 'done' });
    expect([...vault.keys.keys()].filter((key) => key.startsWith('bot.next-'))).toHaveLength(1);
  });

  it('fail clearly, with exit code 3 and without a harmful next step', async () => {
    const { server, vault } = await vaultStandIn();
    const desk = await openDesk();
    await desk.json(['add-vault', 'bot', '--address', server.url, '--key', 'bot'], TOKEN);
    const sign = ['sign', 'bot', '--client-id', 'x'];
    vault.weak.add('hvs.token');
    expect(await desk.fails(3, sign, TOKEN)).toMatchObject({ message: expect.stringContaining('does not allow') });
    vault.weak.clear();
    vault.keys.set('bot', { type: 'ed25519', versions: { 1: newPair('ed25519') }, latest: 1 });
    expect((await desk.fails(3, sign, TOKEN)).code).toBe('ERR_KEY_MISMATCH');
    vault.keys.clear();
    expect(await desk.fails(3, sign, TOKEN)).toMatchObject({ message: expect.stringContaining('has no key') });
    server.fault = () => ({ instead: 'silence' });
    const late = await desk.fails(3, [...sign, '--timeout', '200'], TOKEN);
    expect(late.message).toBe('Vault did not answer within 200 ms');
    const verified = await desk.run(['verify', 'bot', '--timeout', '200'], TOKEN);
    expect(verified.exitCode).toBe(1);
    expect(verified.stdout).toContain('Vault did not answer');
  });

  it.each([
    [['add-vault', 'bot', '--key', 'bot']],
    [['add-vault', 'bot', '--address', 'https://v.example']],
    [['add-vault', 'bot', '--address', 'http://v.example', '--key', 'bot']],
    [['add-vault', 'bot', '--address', 'https://v.example', '--key', 'bot', '--vault-auth', 'magic']],
    [['add-vault', 'bot', '--address', 'https://v.example', '--key', 'bot', '--key-version', '0']],
    [['generate', 'bot', '--in-vault']],
    [['generate', 'bot', '--address', 'https://v.example']],
    [['generate', 'bot', '--in-vault', '--address', 'https://v.example', '--bits', '2048']],
    [['generate', 'bot', '--in-vault', '--in-kms', '--address', 'https://v.example', '--provider', 'aws']],
    [['add-kms', 'bot', '--provider', 'aws']],
    [['add-kms', 'bot', '--provider', 'oracle', '--key-id', 'x']],
    [['add-kms', 'bot', '--provider', 'gcp', '--key-id', 'x', '--region', 'eu']],
    [['add-kms', 'bot', '--provider', 'gcp', '--key-id', 'x']],
    [['generate', 'bot', '--in-kms', '--provider', 'gcp']],
    [['generate', 'bot', '--in-kms', '--provider', 'azure', '--parent', 'https://v.vault.azure.net']],
  ])('refuse what cannot be meant: %j', async (argv) => {
    const desk = await openDesk();
    expect((await desk.fails(2, argv, TOKEN)).code).toBe('ERR_USAGE');
    expect(readdirSync(desk.keys).filter((file) => !file.startsWith('.'))).toEqual([]);
  });
});

describe.skipIf(noCloudSdk)('keys in a cloud KMS, on the command line', () => {
  it('live their life in AWS KMS, and rotate there and back', async () => {
    cloudEnvironment();
    const { server, keys, aliases } = await awsStandIn();
    const desk = await openDesk();
    const place = ['--provider', 'aws', '--endpoint', server.url];
    const stored = await desk.json<Stored>(['add-kms', 'bot', ...place, '--key-id', 'alias/bot']);
    const keyId = 'arn:aws:kms:eu-central-1:111122223333:key/k-1';
    expect(stored.signer).toEqual({ kind: 'kms', provider: 'aws', keyId, region: null, endpoint: server.url });
    await live(desk, stored, {});
    expect(await desk.json(['rotate', 'bot'])).toMatchObject({ state: 'done' });
    expect([...aliases.keys()].filter((alias) => /^alias\/bot-next-[0-9a-f]{8}$/.test(alias))).toHaveLength(1);
    expect(keys.size).toBe(2);
    expect(await desk.json(['rotate', 'bot', '--in-file'])).toMatchObject({ state: 'done' });
    const made = await desk.json<Stored>(['generate', 'made', '--in-kms', ...place, '--type', 'rsa', '--bits', '2048']);
    expect(made).toMatchObject({ algorithm: 'rsa', bits: 2048, privateKeyFile: null });
    expect(aliases.has('alias/made')).toBe(true);
  });

  it('live their life in Google Cloud KMS, and rotate there', async () => {
    cloudEnvironment();
    const { server, versions } = await gcpStandIn();
    const desk = await openDesk();
    const place = ['--provider', 'gcp', '--endpoint', server.url];
    const stored = await desk.json<Stored>(['add-kms', 'bot', ...place, '--key-id', GCP_VERSION]);
    expect(stored.signer).toMatchObject({ kind: 'kms', provider: 'gcp', keyId: GCP_VERSION });
    await live(desk, stored, {});
    expect(await desk.json(['rotate', 'bot'])).toMatchObject({ state: 'done' });
    const next = [...versions.keys()].filter((name) => name.startsWith(`${GCP_RING}/cryptoKeys/bot-next-`));
    expect(next).toHaveLength(1);
    expect(await desk.json(['verify', 'bot'])).toEqual([expect.objectContaining({ ok: true })]);
  });

  it('live their life in Azure Key Vault, and rotate there from a file', async () => {
    const { server, keys } = await azureStandIn();
    cloudEnvironment(server.url);
    const desk = await openDesk();
    const stored = await desk.json<Stored>([
      'add-kms',
      'bot',
      '--provider',
      'azure',
      '--key-id',
      `${server.url}/keys/bot`,
    ]);
    expect(stored.signer).toMatchObject({ kind: 'kms', provider: 'azure', keyId: `${server.url}/keys/bot/v1` });
    await live(desk, stored, {});
    expect(await desk.json(['rotate', 'bot', '--in-file', '--type', 'ed25519'])).toMatchObject({ state: 'done' });
    const there = ['rotate', 'bot', '--in-kms', '--provider', 'azure', '--parent', server.url];
    // found out before anything is begun
    expect((await desk.fails(2, there)).message).toContain('no Ed25519');
    expect(await desk.json([...there, '--type', 'rsa', '--bits', '2048'])).toMatchObject({ state: 'done' });
    expect([...keys.keys()].filter((name) => name.startsWith('bot-next-'))).toHaveLength(1);
  });

  it('are used after a rotation that was interrupted, not made twice', async () => {
    cloudEnvironment();
    const { server, keys } = await awsStandIn();
    const { desk } = await openRegistered({});
    const there = ['--in-kms', '--provider', 'aws', '--endpoint', server.url];
    desk.sandbox.setFaults(['cut-before@private/create_api_key']);
    await desk.fails(4, ['rotate', 'bot', ...there]);
    desk.sandbox.clearFaults();
    for (const file of readdirSync(desk.keys)) if (/^bot\.next-/.test(file)) rmSync(join(desk.keys, file));
    expect(await desk.json(['rotate', 'bot'])).toMatchObject({ state: 'done' });
    expect(keys.size).toBe(2);
  });
});
