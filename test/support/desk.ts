import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { Secret } from '../../src/crypto/secret.js';
import type { Sandbox, SandboxOptions } from '../../src/sandbox/index.js';
import { defined } from '../../src/util/defined.js';
import { type CliOptions, type CliResult, cli, temporaryFolder } from './cli.js';
import { openExchange, SCOPE, type Via } from './world.js';

export interface DeskCall extends CliOptions {
  /** Null for a call without the login of the account's first key. */
  readonly login?: null;
}

type DeskVariable = 'DERIBIT_KEYS_DIR' | 'DERIBIT_KEYS_URL' | 'DERIBIT_CLIENT_ID' | 'DERIBIT_CLIENT_SECRET';

/** An account of an exchange and a keystore, on the command line: calls have `--json` and the login of its first key. */
export interface Desk {
  /** The keystore. */
  readonly folder: string;
  readonly sandbox: Sandbox;
  readonly url: string;
  /** The environment of a call. */
  readonly env: Readonly<Record<DeskVariable, string>>;
  run(argv: readonly string[], call?: DeskCall): Promise<CliResult>;
  /** Runs what must succeed, and returns the document on stdout. */
  json<T = Record<string, unknown>>(argv: readonly string[], call?: DeskCall): Promise<T>;
  /** Runs what must fail, with nothing on stdout, and returns the exit code and the error. */
  fails(argv: readonly string[], call?: DeskCall): Promise<{ exitCode: number } & ReturnType<CliResult['error']>>;
  /** Generates and registers a key. */
  register(name: string, scope?: string, ...more: readonly string[]): Promise<{ clientId: string; keyId: number }>;
}

export interface DeskOptions extends Pick<CliOptions, 'load'> {
  readonly via?: Via;
  /** More of the environment of every call. */
  readonly env?: Readonly<Record<string, string>>;
}

export function openDesk(
  sandbox: Sandbox,
  folder = join(temporaryFolder(), 'keys'),
  { via = 'http', env: common = {}, load }: DeskOptions = {},
): Desk {
  const url = via === 'ws' ? sandbox.wsUrl : sandbox.httpUrl;
  const login = { DERIBIT_CLIENT_ID: sandbox.clientId, DERIBIT_CLIENT_SECRET: sandbox.clientSecret };
  const place = { DERIBIT_KEYS_DIR: folder, DERIBIT_KEYS_URL: url, ...common };
  const run: Desk['run'] = (argv, { login: given, ...call } = {}) =>
    cli([...argv, '--json'], {
      ...defined({ load }),
      ...call,
      env: { ...place, ...(given === null ? {} : login), ...call.env },
    });
  const json = async <T>(argv: readonly string[], call?: DeskCall): Promise<T> => {
    const result = await run(argv, call);
    if (result.exitCode !== 0) throw new Error(`exit ${result.exitCode} of ${argv.join(' ')}: ${result.stderr}`);
    return result.json<T>();
  };
  return {
    folder,
    sandbox,
    url,
    env: { ...place, ...login },
    run,
    json,
    async fails(argv, call) {
      const result = await run(argv, call);
      expect(result.stdout).toBe('');
      return { exitCode: result.exitCode, ...result.error() };
    },
    async register(name, scope = SCOPE, ...more) {
      await json(['generate', name]);
      return json<{ clientId: string; keyId: number }>(['register', name, '--scope', scope, ...more]);
    },
  };
}

/** A keystore with the key `bot`, which was registered on an exchange; calls have no login but that key's. */
export interface BotDesk {
  readonly sandbox: Sandbox;
  readonly keysDir: string;
  readonly clientId: string;
  /** Runs the program on the keystore. */
  run(argv: readonly string[], options?: CliOptions): Promise<CliResult>;
  /** Methods that the exchange was asked for over HTTP, with the outcome. */
  calls(): string[];
}

export async function openBotDesk(options: SandboxOptions = {}, scope = SCOPE): Promise<BotDesk> {
  const sandbox = await openExchange(options);
  const keysDir = join(temporaryFolder(), 'keys');
  const run: BotDesk['run'] = (argv, more = {}) =>
    cli(argv, { ...more, env: { DERIBIT_KEYS_DIR: keysDir, ...more.env } });
  expect((await run(['generate', 'bot'])).exitCode).toBe(0);
  const publicKey = readFileSync(join(keysDir, 'bot.pub.pem'), 'utf8');
  const { client_id: clientId } = sandbox.addKey({ publicKey, maxScope: scope });
  const linked = await run(['link', 'bot', '--client-id', clientId, '--url', sandbox.wsUrl]);
  expect(linked.stderr).not.toContain('error');
  const before = sandbox.calls.length;
  return {
    sandbox,
    keysDir,
    clientId,
    run,
    calls: () => sandbox.calls.slice(before).map(({ method, outcome }) => `${method} ${outcome}`),
  };
}

/** Whether the exchange takes the token. */
export async function isTaken(sandbox: Sandbox, token: string): Promise<boolean> {
  const response = await fetch(`${sandbox.httpUrl}/private/get_account_summary?currency=BTC`, {
    headers: { authorization: `Bearer ${token}` },
  });
  return response.status === 200;
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
