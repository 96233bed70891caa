import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { parsePrivateKey } from '../../src/crypto/formats/index.js';
import { fingerprint } from '../../src/crypto/index.js';
import { Secret } from '../../src/crypto/secret.js';
import { readAudit } from '../../src/keystore/audit-log.js';
import { openKeystore } from '../../src/keystore/keystore.js';
import { openPrivateKey } from '../../src/keystore/open-key.js';
import { type Sandbox, startSandbox } from '../../src/sandbox/index.js';
import { cli } from '../support/cli.js';

/*
 * A round: a command of the built program is killed by SIGKILL, at a random moment or at a system call that was chosen;
 * what it leaves is inspected; the same command is run again; and the result is inspected.
 */

export const COMMANDS = ['generate', 'import', 'passphrase', 'register'] as const;
export type CommandName = (typeof COMMANDS)[number];

/** Calls that change what is on the disk, and `write`, by which each finished file operation is signalled as well. */
export const CALLS = ['mkdir', 'link', 'rename', 'unlink', 'rmdir', 'fsync', 'write'] as const;

/** When a round's command is killed: after so many milliseconds, or as it enters the nth system call of a kind. */
export type Moment = { readonly afterMs: number } | { readonly call: (typeof CALLS)[number]; readonly nth: number };

export interface Outcome {
  readonly command: CommandName;
  readonly killed: boolean;
  /** What was there afterwards: no key, the key, or a key with something left to be ended or cleaned. */
  readonly found: 'nothing' | 'complete' | 'leftovers';
  /** What the same command said when it was run again. */
  readonly again: 'done' | 'adopted' | 'complete already';
}

const SCOPE = 'account:read trade:read_write';
const PASSPHRASE = 'correct horse';
const KEY_FILES = ['bot.json', 'bot.pem', 'bot.pub.pem'];

/** What all rounds start from, made once. */
export interface KillWorld {
  readonly folder: string;
  /** The built program. */
  readonly program: string;
  readonly fingerprint: string;
  close(): void;
}

/** Makes a world: a keystore with a plain key, copied for each round. */
export async function openKillWorld(program: string): Promise<KillWorld> {
  const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-kills-'));
  const made = await cli(['generate', 'bot', '--json', '--keys-dir', join(folder, 'template')]);
  expect(made.exitCode).toBe(0);
  const close = () => rmSync(folder, { recursive: true, force: true });
  return { folder, program, fingerprint: String(made.json().fingerprint), close };
}

interface Stage {
  readonly command: CommandName;
  readonly world: KillWorld;
  readonly keysDir: string;
  readonly words: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly sandbox: Sandbox | null;
}

async function setUp(world: KillWorld, command: CommandName): Promise<Stage> {
  const folder = mkdtempSync(join(world.folder, 'round-'));
  const keysDir = join(folder, 'keys');
  const template = join(world.folder, 'template');
  const stage = { command, world, keysDir, env: { DERIBIT_KEYS_DIR: keysDir }, sandbox: null };
  switch (command) {
    case 'generate':
      return { ...stage, words: ['generate', 'bot'] };
    case 'import':
      return { ...stage, words: ['import', 'bot', join(template, 'bot.pem')] };
    case 'passphrase': {
      cpSync(template, keysDir, { recursive: true });
      const env = { ...stage.env, DERIBIT_KEYS_PASSPHRASE: PASSPHRASE, DERIBIT_KEYS_NEW_PASSPHRASE: PASSPHRASE };
      return { ...stage, words: ['passphrase', 'bot'], env };
    }
    case 'register': {
      cpSync(template, keysDir, { recursive: true });
      const sandbox = await startSandbox();
      const env = {
        ...stage.env,
        DERIBIT_KEYS_URL: sandbox.wsUrl,
        DERIBIT_CLIENT_ID: sandbox.clientId,
        DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
      };
      return { ...stage, words: ['register', 'bot', '--scope', SCOPE], env, sandbox };
    }
  }
}

/** Runs the command as a process of its own; gives whether it was killed. */
function runAndKill({ world, words, env }: Stage, moment: Moment): Promise<boolean> {
  const own = [process.execPath, world.program, ...words];
  const injected = 'call' in moment;
  // one thread for files: their calls have one order
  const traced = injected
    ? ['-f', '-qq', '-o', '/dev/null', '-e', `trace=${moment.call}`]
        .concat(['-e', `inject=${moment.call}:signal=SIGKILL:when=${moment.nth}`])
        .concat(own)
    : own.slice(1);
  return new Promise((resolve, reject) => {
    const child = spawn(injected ? 'strace' : process.execPath, traced, {
      env: { PATH: process.env.PATH ?? '', UV_THREADPOOL_SIZE: '1', ...env },
      stdio: 'ignore',
    });
    const timer = injected ? null : setTimeout(() => child.kill('SIGKILL'), moment.afterMs);
    child.on('error', reject);
    child.on('close', (exitCode, signal) => {
      if (timer !== null) clearTimeout(timer);
      if (signal === null && exitCode !== 0) reject(new Error(`${words[0]} ended with ${exitCode} by itself`));
      else resolve(signal === 'SIGKILL');
    });
  });
}

/** How long the command takes when nobody kills it. */
export async function usualMs(world: KillWorld, command: CommandName): Promise<number> {
  const stage = await setUp(world, command);
  const startMs = performance.now();
  await runAndKill(stage, { afterMs: 60_000 });
  await stage.sandbox?.close();
  return performance.now() - startMs;
}

const isOwn = (file: string) => file === '.gitignore' || file === 'audit.jsonl';
const filesIn = (folder: string) => (existsSync(folder) ? readdirSync(folder).filter((file) => !isOwn(file)) : []);

/** Every file that ends in .pem is a complete key, whatever happened: checked before anything is tidied. */
async function expectWholeKeys({ keysDir }: Stage): Promise<void> {
  for (const file of filesIn(keysDir).filter((name) => name.endsWith('.pem') && !name.endsWith('.pub.pem'))) {
    const pem = readFileSync(join(keysDir, file), 'utf8');
    await parsePrivateKey(pem, pem.includes('ENCRYPTED') ? { passphrase: new Secret(PASSPHRASE) } : {});
  }
}

/** The key "bot" opens and is the one of its record; null where there is none. */
async function openedKey({ keysDir, command, world }: Stage): Promise<string | null> {
  const store = openKeystore(keysDir);
  const { records, damaged } = await store.list();
  expect(damaged).toEqual([]);
  const [record] = records;
  if (record === undefined) return null;
  const key = await openPrivateKey(store, record, { passphrase: async () => new Secret(PASSPHRASE) });
  expect(fingerprint(key.publicKey)).toBe(record.fingerprint);
  if (command !== 'generate') expect(record.fingerprint).toBe(world.fingerprint);
  return record.state;
}

const onExchange = ({ sandbox, world }: Stage) =>
  sandbox?.keys().filter(({ client_secret }) => client_secret === world.fingerprint) ?? [];

async function lookAfterKill(stage: Stage): Promise<Outcome['found']> {
  await expectWholeKeys(stage);
  const left = filesIn(stage.keysDir).sort();
  const hadKey = stage.command === 'passphrase' || stage.command === 'register';
  if (hadKey) expect(left).toContain('bot.pem');
  // what was sent to the exchange is here, and known to be there
  if (onExchange(stage).length > 0) {
    const { state } = JSON.parse(readFileSync(join(stage.keysDir, 'bot.json'), 'utf8')) as { state: string };
    expect(['pending', 'registered']).toContain(state);
  }
  if (left.length === 0) return 'nothing';
  return left.join() === KEY_FILES.join() ? 'complete' : 'leftovers';
}

async function runAgain({ words, env, command }: Stage): Promise<Outcome['again']> {
  const { exitCode, stdout, stderr } = await cli([...words, '--json'], { env });
  if (exitCode === 0) {
    const { adopted } = JSON.parse(stdout) as { adopted?: boolean };
    return adopted ? 'adopted' : 'done';
  }
  const { error } = JSON.parse(stderr) as { error: { code: string } };
  expect(`${exitCode} ${error.code}`).toBe(command === 'register' ? '1 ERR_STATE' : '1 ERR_NAME_TAKEN');
  return 'complete already';
}

async function lookAtTheEnd(stage: Stage): Promise<void> {
  const { keysDir, command } = stage;
  expect(await openedKey(stage)).toBe(command === 'register' ? 'registered' : 'local');
  expect(filesIn(keysDir).sort()).toEqual(KEY_FILES);
  expect(readFileSync(join(keysDir, '.gitignore'), 'utf8')).toBe('*\n');
  expect(readFileSync(join(keysDir, 'bot.pem'), 'utf8').includes('ENCRYPTED')).toBe(command === 'passphrase');
  expect((await readAudit(keysDir)).damagedLines).toBeLessThanOrEqual(1);
  if (stage.sandbox === null) return;
  const keys = onExchange(stage);
  expect(keys).toHaveLength(1);
  expect(stage.sandbox.keys()).toHaveLength(2);
  expect(await openKeystore(keysDir).read('bot')).toMatchObject({ clientId: keys[0]?.client_id, scope: SCOPE });
}

/** One round. It throws where an invariant does not hold, and leaves the keystore there for a look. */
export async function playRound(world: KillWorld, command: CommandName, moment: Moment): Promise<Outcome> {
  const stage = await setUp(world, command);
  try {
    const killed = await runAndKill(stage, moment);
    const found = await lookAfterKill(stage);
    const again = await runAgain(stage);
    await lookAtTheEnd(stage);
    rmSync(join(stage.keysDir, '..'), { recursive: true, force: true });
    return { command, killed, found, again };
  } catch (error) {
    const kept = mkdtempSync(join(tmpdir(), 'deribit-keys-kept-'));
    if (existsSync(stage.keysDir)) cpSync(stage.keysDir, join(kept, 'keys'), { recursive: true });
    else mkdirSync(join(kept, 'keys'));
    writeFileSync(join(kept, 'moment.json'), JSON.stringify({ command, moment }));
    throw new Error(`${command} killed at ${JSON.stringify(moment)}; what it left is in ${kept}`, { cause: error });
  } finally {
    await stage.sandbox?.close();
  }
}

/** Figures of many rounds, a line each command. */
export function summarise(outcomes: readonly Outcome[]): string {
  const count = (of: readonly Outcome[], what: (one: Outcome) => string) => {
    const counts = new Map<string, number>();
    for (const one of of) counts.set(what(one), (counts.get(what(one)) ?? 0) + 1);
    return [...counts].map(([word, number]) => `${word} ${number}`).join(', ');
  };
  return COMMANDS.map((command) => {
    const own = outcomes.filter((one) => one.command === command);
    const killed = own.filter((one) => one.killed);
    return `${command}: ${own.length} rounds, ${killed.length} killed; found: ${count(killed, ({ found }) => found)}; again: ${count(killed, ({ again }) => again)}`;
  }).join('\n');
}
