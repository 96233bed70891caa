import { readdirSync } from 'node:fs';
import { expect } from 'vitest';
import { parsePublicKey } from '../../src/crypto/formats/index.js';
import { openKeystore } from '../../src/keystore/keystore.js';
import type { Sandbox } from '../../src/sandbox/index.js';
import { openSession } from '../../src/session/index.js';
import { openExternalSigner } from '../../src/workflows/external-keys.js';
import { type CliResult, cli, temporaryFolder } from '../support/cli.js';
import { openDesk as openAnyDesk } from '../support/desk.js';
import { openExchange } from '../support/world.js';
import { bytes, load, opensslVerifies, PIN } from './support.js';

/** The desk of these tests: its calls find the optional packages of the fixture, and take variables of the environment. */
export interface Desk {
  readonly keys: string;
  readonly sandbox: Sandbox;
  run(argv: readonly string[], env?: Readonly<Record<string, string>>): Promise<CliResult>;
  json<T = Record<string, unknown>>(argv: readonly string[], env?: Readonly<Record<string, string>>): Promise<T>;
  /** Runs what must fail with this exit code, and returns the error. */
  fails(
    exitCode: number,
    argv: readonly string[],
    env?: Readonly<Record<string, string>>,
  ): Promise<ReturnType<CliResult['error']>>;
}

export async function openDesk(common: Readonly<Record<string, string>> = {}): Promise<Desk> {
  const sandbox = await openExchange();
  const desk = openAnyDesk(sandbox, temporaryFolder(), { via: 'ws', env: common, load });
  return {
    keys: desk.folder,
    sandbox,
    run: (argv, env = {}) => desk.run(argv, { env }),
    json: (argv, env = {}) => desk.json(argv, { env }),
    async fails(expected, argv, env = {}) {
      const { exitCode, ...error } = await desk.fails(argv, { env });
      expect({ argv, exitCode }).toEqual({ argv, exitCode: expected });
      return error;
    },
  };
}

export interface Stored {
  readonly name: string;
  readonly algorithm: string;
  readonly fingerprint: string;
  readonly publicKey: string;
  readonly privateKeyFile: string | null;
  readonly signer: Readonly<Record<string, string | number | null>>;
}
export interface Registered {
  readonly clientId: string;
  readonly fingerprint: string;
}

/** The life of a key without a file, on the sandbox: registered, verified, used to log in, and again after a cut. */
export async function live(desk: Desk, stored: Stored, env: Readonly<Record<string, string>>): Promise<Registered> {
  const { name } = stored;
  expect(
    readdirSync(desk.keys)
      .filter((file) => file.startsWith(`${name}.`))
      .sort(),
  ).toEqual([`${name}.json`, `${name}.pub.pem`]);
  expect(stored).toMatchObject({ privateKeyFile: null, encrypted: false });
  expect((await desk.json<Stored>(['show', name])).signer).toEqual(stored.signer);
  expect(await desk.json<Stored[]>(['list'])).toHaveLength(1);
  const exported = await cli(['export', name, '--public'], { env: { DERIBIT_KEYS_DIR: desk.keys } });
  expect(exported.stdout).toBe(stored.publicKey);
  const scope = 'account:read_write trade:read_write';
  const registered = await desk.json<Registered>(['register', name, '--scope', scope], env);
  expect(registered).toMatchObject({ fingerprintVerified: true, publicKeyVerified: true, loginVerified: true });
  expect(await desk.json(['verify', name], env)).toEqual([expect.objectContaining({ name, ok: true })]);
  expect(await desk.json(['auth', name], env)).toMatchObject({ clientId: registered.clientId });

  const params = await desk.json<Record<string, string>>(['sign', name, '--data', 'x'], env);
  const message = `${params.timestamp}\n${params.nonce}\nx`;
  const signature = new Uint8Array(Buffer.from(params.signature ?? '', 'base64url'));
  expect(opensslVerifies(await parsePublicKey(stored.publicKey), bytes(message), signature)).toBe(true);

  const store = openKeystore(desk.keys);
  const record = await store.read(name);
  if (record.signer === null) throw new Error('the key is a file');
  const access = { env, secret: async (name: string) => (name === 'pin' ? PIN : (env.VAULT_TOKEN ?? '')), load };
  const signer = await openExternalSigner(store, { ...record, signer: record.signer }, access);
  const session = await openSession({ url: desk.sandbox.wsUrl, clientId: registered.clientId, signer });
  const logins = () => desk.sandbox.calls.filter(({ method }) => method === 'public/auth').length;
  const before = logins();
  desk.sandbox.dropConnections();
  for (let answered = false; !answered; ) {
    answered = await session
      .request('private/get_account_summary', { currency: 'BTC' })
      .then((summary) => (summary as { currency?: string }).currency === 'BTC')
      .catch(() => false);
  }
  expect(logins()).toBeGreaterThan(before);
  await session.close();
  return registered;
}
