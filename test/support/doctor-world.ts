import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Sandbox, SandboxOptions } from '../../src/sandbox/index.js';
import { defined } from '../../src/util/defined.js';
import { type CliResult, cli, temporaryFolder } from './cli.js';
import { openExchange } from './world.js';

export const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

export interface Finding {
  readonly check: string;
  readonly name: string | null;
  readonly ok: boolean | null;
  readonly detail: string;
  readonly fix: string | null;
}

export interface Diagnosis {
  readonly culprit: Finding | null;
  readonly ok: boolean;
  readonly findings: readonly Finding[];
}

/** A keystore with `admin` (everything) and `bot` (trading), both registered on an exchange of their own. */
export interface DoctorWorld {
  readonly sandbox: Sandbox;
  readonly folder: string;
  readonly keys: string;
  /** Runs the program on this keystore. */
  run(...argv: readonly string[]): Promise<CliResult>;
  /** The same with the bootstrap key's secret at hand. */
  asRoot(...argv: readonly string[]): Promise<CliResult>;
  doctor(...argv: readonly string[]): Promise<Diagnosis & { exitCode: number }>;
  path(file: string): string;
  record(name: string): Record<string, unknown>;
  /** Changes fields of a record, as a hand that does not know better. */
  alter(name: string, fields: Readonly<Record<string, unknown>>): void;
  /** Runs the commands of a fix: ours in this process, others by the shell. */
  applyFix(fix: string): Promise<void>;
}

export const ADMIN_SCOPE = 'account:read_write trade:read_write wallet:read';
export const BOT_SCOPE = 'trade:read_write';
const SCOPES = [
  ['admin', ADMIN_SCOPE],
  ['bot', BOT_SCOPE],
] as const;

export function words(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
}

type DoctorWorldOptions = SandboxOptions & { readonly http?: boolean };

/** The same on an exchange and a folder that are there already. */
export function doctorWorldOn(sandbox: Sandbox, folder: string, { tfaSecret }: DoctorWorldOptions = {}): DoctorWorld {
  const keys = join(folder, 'keys');
  const path = (file: string) => join(keys, file);
  const run = (...argv: readonly string[]) => cli(argv, { env: { DERIBIT_KEYS_DIR: keys } });
  const record = (name: string) => JSON.parse(readFileSync(path(`${name}.json`), 'utf8')) as Record<string, unknown>;
  return {
    sandbox,
    folder,
    keys,
    path,
    run,
    asRoot: (...argv) =>
      cli([...argv, '--client-id', sandbox.clientId], {
        env: defined({
          DERIBIT_KEYS_DIR: keys,
          DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
          DERIBIT_TFA_SECRET: tfaSecret,
        }),
      }),
    record,
    alter: (name, fields) =>
      writeFileSync(path(`${name}.json`), JSON.stringify({ ...record(name), ...fields }), { mode: 0o600 }),
    async doctor(...argv) {
      const result = await run('doctor', '--json', ...argv);
      if (result.stderr !== '') throw new Error(result.stderr);
      return { ...result.json<Diagnosis>(), exitCode: result.exitCode };
    },
    async applyFix(fix) {
      for (const command of fix.split(' && ')) {
        const [program = '', ...argv] = words(command);
        if (program !== 'deribit-keys') execFileSync('sh', ['-c', command], { cwd: folder });
        else {
          const result = await run(...argv, '--yes');
          if (result.exitCode !== 0) throw new Error(`${command}: ${result.stderr}`);
        }
      }
    },
  };
}

const ENVIRONMENTS = { true: 'test', false: 'prod' } as const;

async function succeed(result: Promise<CliResult>): Promise<void> {
  const { exitCode, stderr } = await result;
  if (exitCode !== 0) throw new Error(stderr);
}

/** A world whose keys were generated and registered by the program. */
async function buildDoctorWorld(options: DoctorWorldOptions): Promise<DoctorWorld> {
  const { http = false, ...settings } = options;
  const sandbox = await openExchange({ faultApi: true, ...settings });
  const world = doctorWorldOn(sandbox, temporaryFolder(), settings);
  const url = http ? sandbox.httpUrl : sandbox.wsUrl;
  const env = ENVIRONMENTS[`${settings.testnet ?? true}`];
  for (const [name, scope] of SCOPES) {
    await succeed(world.run('generate', name));
    await succeed(world.asRoot('register', name, '--scope', scope, '--url', url, '--env', env));
  }
  return world;
}

const built = new Map<string, Promise<ReadonlyMap<string, string>>>();

/** The files of a keystore whose keys were registered: made once for a worker of the suite. */
function builtFiles(testnet: boolean): Promise<ReadonlyMap<string, string>> {
  const question = String(testnet);
  const files =
    built.get(question) ??
    buildDoctorWorld({ testnet }).then(
      ({ keys }) => new Map(readdirSync(keys).map((file) => [file, readFileSync(join(keys, file), 'utf8')])),
    );
  built.set(question, files);
  return files;
}

/** A world on an exchange of its own, with copies of the same two keys for each test. */
export async function openDoctorWorld(options: DoctorWorldOptions = {}): Promise<DoctorWorld> {
  const { http = false, ...settings } = options;
  const files = await builtFiles(settings.testnet ?? true);
  const sandbox = await openExchange({ faultApi: true, ...settings });
  const world = doctorWorldOn(sandbox, temporaryFolder(), settings);
  mkdirSync(world.keys, { mode: 0o700 });
  for (const [file, content] of files) writeFileSync(world.path(file), content, { mode: 0o600 });
  for (const [name, maxScope] of SCOPES) {
    const publicKey = readFileSync(world.path(`${name}.pub.pem`), 'utf8');
    const { client_id: clientId, id: keyId } = sandbox.addKey({ publicKey, maxScope, name });
    const registrar = world.record(name).registrar === null ? null : sandbox.clientId;
    world.alter(name, { url: http ? sandbox.httpUrl : sandbox.wsUrl, clientId, keyId, registrar });
  }
  return world;
}

/** The finding of a check; the first that is wrong where there are several. */
export function finding(diagnosis: Diagnosis, check: string, name: string | null): Finding {
  const all = diagnosis.findings.filter((one) => one.check === check && one.name === name);
  const found = all.find(({ ok }) => ok === false) ?? all[0];
  if (found === undefined) throw new Error(`no finding "${check}" on ${name}: ${JSON.stringify(diagnosis.findings)}`);
  return found;
}

export const culprit = ({ culprit: found }: Diagnosis) => found;
