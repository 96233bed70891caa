import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type Sandbox, startSandbox } from '../../src/sandbox/index.js';
import { type CliResult, cli } from '../support/cli.js';
import { load } from './support.js';

/** A keystore and an account on a sandbox, for one test. */
export interface Desk {
  readonly keys: string;
  readonly sandbox: Sandbox;
  run(argv: readonly string[], env?: Readonly<Record<string, string>>): Promise<CliResult>;
  /** The same, which must succeed: gives the document on stdout. */
  json<T = Record<string, unknown>>(argv: readonly string[], env?: Readonly<Record<string, string>>): Promise<T>;
  /** The same, which must fail with this exit code: gives the error. */
  fails(
    exitCode: number,
    argv: readonly string[],
    env?: Readonly<Record<string, string>>,
  ): Promise<ReturnType<CliResult['error']>>;
}

export async function openDesk(common: Readonly<Record<string, string>> = {}): Promise<Desk> {
  const keys = mkdtempSync(join(tmpdir(), 'dk-signers-keys-'));
  const sandbox = await startSandbox();
  onTestFinished(async () => {
    await sandbox.close();
    rmSync(keys, { recursive: true, force: true });
  });
  const run: Desk['run'] = (argv, env = {}) =>
    cli([...argv, '--json'], {
      load,
      env: {
        DERIBIT_KEYS_DIR: keys,
        DERIBIT_KEYS_URL: sandbox.wsUrl,
        DERIBIT_CLIENT_ID: sandbox.clientId,
        DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
        ...common,
        ...env,
      },
    });
  return {
    keys,
    sandbox,
    run,
    async json<T>(argv: readonly string[], env = {}) {
      const result = await run(argv, env);
      if (result.exitCode !== 0) throw new Error(`exit ${result.exitCode} of ${argv.join(' ')}: ${result.stderr}`);
      return result.json<T>();
    },
    async fails(exitCode, argv, env = {}) {
      const result = await run(argv, env);
      if (result.exitCode !== exitCode)
        throw new Error(`exit ${result.exitCode} of ${argv.join(' ')}: ${result.stderr}`);
      return result.error();
    },
  };
}
