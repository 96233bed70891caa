import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openKeystore } from '../../src/keystore/keystore.js';
import type { KeyRecord } from '../../src/keystore/record.js';
import { type Sandbox, startSandbox } from '../../src/sandbox/index.js';
import { type CliResult, cli } from '../support/cli.js';
import { runProcess } from '../support/program.js';

/*
 * What storms of processes share. A round has a sandbox, a keystore of its own and commands of the built program, each in a
 * process of its own. STORM_ROUNDS says how many rounds each storm has.
 */

export const STORM_ROUNDS = Number(process.env.STORM_ROUNDS ?? 24);
export const STORM_SCOPE = 'account:read trade:read_write';

const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b));

/**
 * What a round chooses from each list. As many rounds as there are combinations visit each combination once; the order
 * is spread, so that a few rounds visit something of everything.
 */
export function chosenIn<const T extends Readonly<Record<string, readonly unknown[]>>>(
  round: number,
  lists: T,
): { readonly [K in keyof T]: T[K][number] } {
  const total = Object.values(lists).reduce((product, list) => product * list.length, 1);
  let step = Math.ceil(total * 0.618);
  while (divisor(step, total) !== 1) step += 1;
  let rest = (round * step) % total;
  const chosen = Object.entries(lists).map(([what, list]) => {
    const choice = list[rest % list.length];
    rest = Math.floor(rest / list.length);
    return [what, choice];
  });
  return Object.fromEntries(chosen) as { readonly [K in keyof T]: T[K][number] };
}

export const TRANSPORTS = ['ws', 'http'] as const;

/** The ways in which `list_api_keys` can hide which key is which. */
export const HIDINGS = ['absent', 'empty', 'masked', 'absent-others', 'empty-others', 'masked-others'] as const;

/** How a command ended. */
export interface Ended {
  /** Null where it was killed. */
  readonly exitCode: number | null;
  readonly stdout: string;
  /** The code, message and hint on stderr, in one text; empty where it succeeded. */
  readonly said: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Kills it by SIGKILL after so long. */
  readonly killAfterMs?: number;
  /** Runs it in a PID namespace of its own, as a container does, with its clock ahead by so much. */
  readonly container?: { readonly clockMs: number };
}

export interface Stage {
  readonly sandbox: Sandbox;
  readonly folder: string;
  readonly keysDir: string;
  /** A command in a process of its own. */
  run(words: readonly string[], options?: RunOptions): Promise<Ended>;
  /** A command in this process, which must succeed. */
  done(...words: readonly string[]): Promise<CliResult>;
  /** Records of the keystore, of which none may be damaged. */
  records(): Promise<readonly KeyRecord[]>;
}

export interface StageOptions {
  readonly kind?: 'ws' | 'http';
  /** The keystore has a file system of its own of so many bytes. */
  readonly diskBytes?: number;
}

/** Whether this user may mount file systems and make PID namespaces. */
export function canIsolate(): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-mount-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', folder], { stdio: 'ignore' });
    execFileSync('umount', [folder], { stdio: 'ignore' });
    execFileSync('unshare', ['--pid', '--fork', '--mount-proc', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Moves the clock of a process, as it is loaded. */
const CLOCK = `
const Real = Date;
const ahead = Number(process.env.STORM_CLOCK_MS);
globalThis.Date = class extends Real {
  constructor(...args) { if (args.length === 0) super(Real.now() + ahead); else super(...args); }
  static now() { return Real.now() + ahead; }
};`;

/** A stage for one round, and its end. */
export async function onStage(
  program: string,
  { kind = 'ws', diskBytes }: StageOptions,
  play: (stage: Stage) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-storm-'));
  const disk = join(folder, 'disk');
  mkdirSync(disk, { mode: 0o700 });
  if (diskBytes !== undefined) {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${diskBytes},mode=700`, 'tmpfs', disk]);
  }
  const keysDir = join(disk, 'keys');
  const sandbox = await startSandbox({ keyLimit: 50 });
  const env = {
    DERIBIT_KEYS_DIR: keysDir,
    DERIBIT_KEYS_URL: kind === 'ws' ? sandbox.wsUrl : sandbox.httpUrl,
    DERIBIT_CLIENT_ID: sandbox.clientId,
    DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
    DERIBIT_KEYS_UNCERTAIN_MS: '400',
  };
  const clock = join(folder, 'clock.cjs');
  writeFileSync(clock, CLOCK);
  const stage: Stage = {
    sandbox,
    folder,
    keysDir,
    async run(words, { env: more = {}, killAfterMs, container } = {}) {
      const node = [...(container === undefined ? [] : ['--require', clock]), program, ...words, '--json'];
      const isolated = ['--pid', '--fork', '--kill-child', '--mount-proc', process.execPath, ...node];
      let timer: NodeJS.Timeout | undefined;
      const { exitCode, signal, stdout, stderr } = await runProcess(
        container === undefined ? process.execPath : 'unshare',
        container === undefined ? node : isolated,
        {
          env: { ...env, ...more, STORM_CLOCK_MS: String(container?.clockMs ?? 0) },
          onStart(pid) {
            if (killAfterMs !== undefined) timer = setTimeout(() => process.kill(-pid, 'SIGKILL'), killAfterMs);
          },
        },
      );
      clearTimeout(timer);
      if (exitCode !== 0 && signal === null && !stderr.includes('"code"') && stdout === '') {
        throw new Error(`${words.join(' ')} ended with ${exitCode} and no error: ${stderr}`);
      }
      return { exitCode, stdout, said: exitCode === 0 ? '' : stderr };
    },
    async done(...words) {
      const result = await cli([...words, '--json'], { env });
      if (result.exitCode !== 0) throw new Error(`${words.join(' ')}: ${result.stderr}`);
      return result;
    },
    async records() {
      const { records, damaged } = await openKeystore(keysDir).list();
      if (damaged.length > 0) throw new Error(`damaged: ${JSON.stringify(damaged)}`);
      return records;
    },
  };
  try {
    await play(stage);
  } finally {
    await sandbox.close();
    if (diskBytes !== undefined) execFileSync('umount', ['-l', disk]);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** How many enabled keys of the account have this fingerprint. */
export const copiesOf = ({ sandbox }: Stage, fingerprint: string): number =>
  sandbox.keys().filter((key) => key.client_secret === fingerprint && key.enabled).length;

/**
 * What must hold after each round: no key pair is registered twice, and of each key of the account, but for
 * those with the ids `unmanaged`, the private key is here.
 * @throws Error that names what does not hold
 */
export async function expectNeitherTwiceNorLost(stage: Stage, unmanaged: readonly number[] = []): Promise<void> {
  const records = await stage.records();
  for (const { name, fingerprint } of records) {
    const copies = copiesOf(stage, fingerprint);
    if (copies > 1) throw new Error(`the key pair of "${name}" is registered ${copies} times`);
  }
  const known = new Set(records.map(({ fingerprint }) => fingerprint));
  for (const key of stage.sandbox.keys()) {
    if (key.client_id === stage.sandbox.clientId || unmanaged.includes(key.id)) continue;
    if (!known.has(key.client_secret)) throw new Error(`nobody has the private key of ${key.name} (id ${key.id})`);
  }
}

/** A policy file with the key "bot". */
export function writePolicy({ folder }: Stage): string {
  const file = join(folder, 'policy.yaml');
  writeFileSync(file, `keys:\n  - { name: bot, scope: "${STORM_SCOPE}", label: bot }\n`);
  return file;
}
