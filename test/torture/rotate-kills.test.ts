import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readJournal } from '../../src/keystore/journal.js';
import { type Sandbox, startSandbox } from '../../src/sandbox/index.js';
import { expectSettled, makeKey, openRotationWorld, type RotationWorld, waysIn } from '../support/rotation-world.js';

/*
 * The program itself, killed by SIGKILL: by strace at the nth system call that changes files, and with the nth request
 * just arrived, or just handled, at the exchange. Then it is run again, to go on or to go back.
 */

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-kills-'));
const program = join(folder, 'bin', 'main.js');
const hasStrace = spawnSync('strace', ['--version']).status === 0;

/** Each has a count of its own under strace. */
const CHANGES = ['fsync', 'rename', 'link', 'unlink', 'rmdir', 'mkdir'] as const;

beforeAll(async () => {
  await build({
    entryPoints: [join(root, 'src/cli/main.ts')],
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    splitting: true,
    outdir: join(folder, 'bin'),
    alias: {
      '#engine': join(root, 'src/crypto/engine/native.ts'),
      '#platform': join(root, 'src/deribit/platform/node.ts'),
    },
    banner: { js: "import{createRequire as __r}from'node:module';const require=__r(import.meta.url);" },
    logLevel: 'error',
  });
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Call = 'rotate' | 'abort';

interface Stage {
  readonly sandbox: Sandbox;
  readonly world: RotationWorld;
  readonly keys: string;
  /** Fingerprint of the key that the name means at the start. */
  readonly original: string;
}

const argvOf = (call: Call) => ['rotate', 'bot', '--json', ...(call === 'abort' ? ['--abort'] : ['--grace', '0s'])];

function envOf({ sandbox, keys }: Stage): Record<string, string> {
  return {
    ...(process.env as Record<string, string>),
    DERIBIT_KEYS_DIR: keys,
    DERIBIT_CLIENT_ID: sandbox.clientId,
    DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
    UV_THREADPOOL_SIZE: '1',
    // the sandbox carries nothing out late
    DERIBIT_KEYS_UNCERTAIN_MS: '100',
  };
}

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

function runProgram(stage: Stage, call: Call, before: readonly string[] = []): { ended: Promise<Ended>; kill(): void } {
  const [command = '', ...argv] = [...before, process.execPath, program, ...argvOf(call)];
  const child = spawn(command, argv, { env: envOf(stage), stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += String(chunk);
  });
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, stderr }));
  });
  return { ended, kill: () => child.kill('SIGKILL') };
}

/** A fresh exchange with one key, which is being rotated with a long grace where `inGrace` says so. */
async function openStage(number: string, inGrace: boolean): Promise<Stage> {
  const sandbox = await startSandbox();
  const keys = join(folder, `keys-${number}`);
  const world = openRotationWorld(sandbox, keys);
  const { fingerprint } = await makeKey(world, 'bot', 'account:read trade:read_write', ['127.0.0.1', '10.0.0.0/8']);
  if (inGrace) await world.rotate('bot', { graceMs: 86_400_000 });
  return { sandbox, world, keys, original: fingerprint };
}

/** After a kill: a way in is there; ended one way or the other, all is as it must be. */
async function settle(stage: Stage, how: Call): Promise<void> {
  const { world, original } = stage;
  expect((await waysIn(world)).length).toBeGreaterThan(0);
  const journal = await readJournal(world.store, 'bot');
  const { code, stderr } = await runProgram(stage, how).ended;
  if (how === 'rotate') {
    expect([code, stderr]).toEqual([0, '']);
  } else if (code !== 0) {
    // nothing to go back from, or too late for it: that is said, and the rotation can be ended
    expect([code, stderr]).toEqual([1, expect.stringMatching(/ERR_STATE/)]);
    if ((await readJournal(world.store, 'bot')) !== null) {
      expect(stderr).toContain('is already removed: the rotation cannot be aborted');
      expect((await runProgram(stage, 'rotate').ended).code).toBe(0);
    }
  } else if (journal !== null) {
    expect((await world.store.read('bot')).fingerprint).toBe(journal.previous.fingerprint);
  }
  await expectSettled(world, 'bot', original);
}

async function dispose(stage: Stage): Promise<void> {
  await stage.sandbox.close();
  rmSync(stage.keys, { recursive: true, force: true });
}

const figures: string[] = [];
afterAll(() => process.stderr.write(`${figures.join('\n')}\n`));

const stories: readonly { what: string; call: Call; inGrace: boolean; after: readonly Call[] }[] = [
  { what: 'a whole rotation', call: 'rotate', inGrace: false, after: ['rotate', 'abort'] },
  { what: 'the end of a grace', call: 'rotate', inGrace: true, after: ['rotate', 'abort'] },
  { what: 'an abort', call: 'abort', inGrace: true, after: ['abort', 'rotate'] },
];

describe.skipIf(!hasStrace)('killed by strace at each system call that changes files (skipped without strace)', () => {
  test.each(stories)('$what', async ({ what, call, inGrace, after }) => {
    let kills = 0;
    for (const change of CHANGES) {
      for (let when = 1; ; when += 1) {
        const stage = await openStage(`${call}-${inGrace}-${change}-${when}`, inGrace);
        try {
          const inject = ['-e', `trace=${change}`, '-e', `inject=${change}:signal=SIGKILL:when=${when}`];
          const strace = ['strace', '-f', '-qq', '-o', '/dev/null', ...inject];
          const { code, signal } = await runProgram(stage, call, strace).ended;
          const killed = signal === 'SIGKILL' || code === 137;
          if (!killed) expect(code).toBe(0);
          if (killed) kills += 1;
          await settle(stage, killed ? (after[kills % after.length] ?? call) : 'rotate');
          if (!killed) break;
        } finally {
          await dispose(stage);
        }
      }
    }
    figures.push(`${what}: ${kills} kills at system calls`);
    expect(kills).toBeGreaterThan(20);
  });
});

describe('killed while a request waits for its answer', () => {
  test.each(stories)('$what', async ({ what, call, inGrace, after }) => {
    let kills = 0;
    for (const fault of ['silent', 'drop-answer']) {
      for (let skip = 0; ; skip += 1) {
        const stage = await openStage(`${call}-${inGrace}-${fault}-${skip}`, inGrace);
        try {
          stage.sandbox.setFaults([`${fault}+${skip}x1`]);
          const running = runProgram(stage, call);
          let over = false;
          void running.ended.then(() => {
            over = true;
          });
          const struck = () => stage.sandbox.calls.some(({ outcome }) => outcome.startsWith(fault));
          while (!over && !struck()) await sleep(5);
          const killed = struck();
          running.kill();
          await running.ended;
          stage.sandbox.clearFaults();
          if (killed) kills += 1;
          await settle(stage, killed ? (after[skip % after.length] ?? call) : 'rotate');
          if (!killed) break;
        } finally {
          await dispose(stage);
        }
      }
    }
    figures.push(`${what}: ${kills} kills at requests`);
    expect(kills).toBeGreaterThan(6);
  });
});

test('a rotation that is killed leaves files that only their owner can read', async () => {
  const stage = await openStage('modes', false);
  try {
    stage.sandbox.setFaults(['silent@private/disable_api_key']);
    const running = runProgram(stage, 'rotate');
    while (!stage.sandbox.calls.some(({ outcome }) => outcome === 'silent')) await sleep(5);
    running.kill();
    await running.ended;
    expect(existsSync(join(stage.keys, '.bot.rotation.json'))).toBe(true);
    const open = execFileSync('find', [stage.keys, '-type', 'f', '-perm', '/077', '!', '-name', '.gitignore']);
    expect(open.toString()).toBe('');
    stage.sandbox.clearFaults();
    await settle(stage, 'abort');
  } finally {
    await dispose(stage);
  }
});
