import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Secret } from '../../src/crypto/secret.js';
import type { Sandbox } from '../../src/sandbox/index.js';
import { type CliResult, cli } from './cli.js';

/** A sandbox's account on the command line: every call logs in with the symmetric key unless it says otherwise. */
export interface Desk {
  readonly folder: string;
  readonly sandbox: Sandbox;
  readonly url: string;
  /** Runs a command with --json; `login: null` gives no login. */
  run(
    argv: readonly string[],
    options?: { env?: Record<string, string>; login?: 'bootstrap' | null },
  ): Promise<CliResult>;
  /** The same, which must succeed: gives the document on stdout. */
  json<T = Record<string, unknown>>(
    argv: readonly string[],
    options?: { env?: Record<string, string>; login?: 'bootstrap' | null },
  ): Promise<T>;
  /** Generates and registers a key. */
  register(name: string, scope?: string, ...more: readonly string[]): Promise<{ clientId: string; keyId: number }>;
}

export function openDesk(sandbox: Sandbox, folder: string, kind: 'ws' | 'http' = 'http'): Desk {
  const url = kind === 'ws' ? sandbox.wsUrl : sandbox.httpUrl;
  const run: Desk['run'] = (argv, { env = {}, login = 'bootstrap' } = {}) =>
    cli([...argv, '--json'], {
      env: {
        DERIBIT_KEYS_DIR: folder,
        DERIBIT_KEYS_URL: url,
        ...(login === null ? {} : { DERIBIT_CLIENT_ID: sandbox.clientId, DERIBIT_CLIENT_SECRET: sandbox.clientSecret }),
        ...env,
      },
    });
  const json = async <T>(argv: readonly string[], options?: Parameters<Desk['run']>[1]): Promise<T> => {
    const result = await run(argv, options);
    if (result.exitCode !== 0) throw new Error(`exit ${result.exitCode} of ${argv.join(' ')}: ${result.stderr}`);
    return result.json<T>();
  };
  return {
    folder,
    sandbox,
    url,
    run,
    json,
    async register(name, scope = 'account:read trade:read_write', ...more) {
      await json(['generate', name]);
      return json<{ clientId: string; keyId: number }>(['register', name, '--scope', scope, ...more]);
    },
  };
}

/** The sandbox's key of that client id. */
export function keyOf(sandbox: Sandbox, clientId: string) {
  return sandbox.keys().find((key) => key.client_id === clientId);
}

export const filesOf = (folder: string, name: string) => ({
  privateKey: join(folder, `${name}.pem`),
  publicKey: join(folder, `${name}.pub.pem`),
  record: join(folder, `${name}.json`),
});

export async function recordOf(folder: string, name: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(join(folder, `${name}.json`), 'utf8')) as Record<string, unknown>;
}

export const credentialsOf = ({ clientId, clientSecret }: Sandbox) => ({
  clientId,
  clientSecret: new Secret(clientSecret),
});
