import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Sandbox, SandboxOptions } from '../../src/sandbox/index.js';
import { type CliOptions, type CliResult, cli, temporaryFolder } from '../support/cli.js';
import { openExchange } from '../support/world.js';

/** An exchange, and a keystore with the key `bot` that is registered there. */
export interface Shop {
  readonly sandbox: Sandbox;
  readonly keysDir: string;
  readonly clientId: string;
  /** Runs the program on the keystore. */
  run(argv: readonly string[], options?: CliOptions): Promise<CliResult>;
  /** Methods that the exchange was asked for over HTTP, with the outcome. */
  calls(): string[];
}

export async function shop(options: SandboxOptions = {}, scope = 'account:read trade:read_write'): Promise<Shop> {
  const sandbox = await openExchange(options);
  const keysDir = join(temporaryFolder(), 'keys');
  const run: Shop['run'] = (argv, more = {}) => cli(argv, { ...more, env: { DERIBIT_KEYS_DIR: keysDir, ...more.env } });
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
