import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { openKeystore } from '../../src/keystore/keystore.js';
import type { Sandbox } from '../../src/sandbox/index.js';
import { builtProgram } from '../support/program.js';
import { openWorld, withRequests } from '../support/world.js';
import {
  canIsolate,
  chosenIn,
  copiesOf,
  type Ended,
  expectNeitherTwiceNorLost,
  onStage,
  STORM_ROUNDS,
  STORM_SCOPE,
  type Stage,
  TRANSPORTS,
  writePolicy,
} from './storm.js';

/* Never a false word about what happened: the proof of scopes, the emergency brake, and a disk that is full at any moment. */

const program = builtProgram();
const isolates = canIsolate();
const figures: string[] = [];
afterAll(() => process.stderr.write(`${figures.join('\n')}\n`));

const among = <T>(choices: readonly T[]): T => choices[Math.floor(Math.random() * choices.length)] as T;
const letters = (length: number) => Array.from({ length }, () => among([...'abcdefghijklmnopqrstuvwxyz_'])).join('');

/** A word that might grant something, which was not asked for and which nobody knows. */
function unknownWord(): string {
  const resource = among([letters(6), 'wallet', 'WALLET', 'account2', `${letters(3)}-${letters(3)}`, 'кошелёк']);
  const level = among(['read_write', 'READ', 'withdraw', 'all', letters(5), '*', '']);
  return among([
    `${resource}:${level}`,
    `${resource}:${level}:${letters(4)}`,
    letters(8),
    `${resource}.${level || 'x'}`,
  ]);
}

test('a scope with a word that nobody knows is never proved, and its key is removed', async () => {
  for (let round = 0; round < STORM_ROUNDS; round += 1) {
    const { kind, isArray } = chosenIn(round, { kind: TRANSPORTS, isArray: [true, false] });
    const world = await openWorld(kind);
    const word = unknownWord();
    const context = withRequests(world.context, async (method, send) => {
      const result = await send();
      if (method !== 'private/create_api_key') return result;
      const words = [...String((result as { max_scope: string }).max_scope).split(' '), word];
      return { ...(result as object), max_scope: isArray ? words : words.join(' ') };
    });
    const error: unknown = await world.register({}, context).catch((reason: unknown) => reason);
    expect({ word, error }).toMatchObject({ word, error: { code: 'ERR_PROOF_FAILED' } });
    expect(world.keys()).toEqual([]);
    await world.sandbox.close();
  }
  figures.push(`scope proof: ${STORM_ROUNDS} rounds`);
});

/** Fills the file system of the keystore to its last page. */
function fill({ folder }: Stage): void {
  const file = openSync(join(folder, 'disk', 'filler'), 'w');
  try {
    for (;;) writeSync(file, new Uint8Array(4096));
  } catch {
    closeSync(file);
  }
}
const unfill = ({ folder }: Stage) => rmSync(join(folder, 'disk', 'filler'), { force: true });
const remount = ({ folder }: Stage, how: 'ro' | 'rw') =>
  execFileSync('mount', ['-o', `remount,${how}`, join(folder, 'disk')]);

const OBSTACLES = ['full', 'read-only', 'lock', 'audit log', 'odd fields', 'a failure'] as const;

describe.skipIf(!isolates)('on a file system of its own', () => {
  test('the emergency brake disables what it can and tells what is true, whatever stands in its way', async () => {
    const counts = Object.fromEntries(OBSTACLES.map((obstacle) => [obstacle, 0])) as Record<string, number>;
    for (let round = 0; round < STORM_ROUNDS; round += 1) {
      const { kind, first } = chosenIn(round, { first: OBSTACLES, kind: TRANSPORTS });
      const chosen = OBSTACLES.filter((obstacle) => obstacle === first || Math.random() < 0.3);
      for (const obstacle of chosen) counts[obstacle] = (counts[obstacle] ?? 0) + 1;
      const has = (obstacle: (typeof OBSTACLES)[number]) => chosen.includes(obstacle);
      await onStage(program.path, { kind, diskBytes: 512 * 1024 }, async (stage) => {
        const { sandbox, keysDir } = stage;
        for (const name of ['bot', 'spare']) {
          await stage.done('generate', name);
          await stage.done('register', name, '--scope', STORM_SCOPE);
        }
        for (const name of ['web', 'other']) sandbox.addKey({ name });
        if (has('audit log')) {
          rmSync(join(keysDir, 'audit.jsonl'));
          mkdirSync(join(keysDir, 'audit.jsonl'));
        }
        const faults = [
          ...(has('odd fields') ? ['hide-key', 'hide-enabled@private/list_api_keys'] : []),
          ...(has('a failure') ? [`error@private/disable_api_key:13403+${among([0, 1, 2, 3])}x1`] : []),
        ];
        sandbox.setFaults(faults);
        const brake = async () => {
          if (has('full')) fill(stage);
          if (has('read-only')) remount(stage, 'ro');
          const ended = await stage.run(['api-keys', 'disable', '--all-but', sandbox.clientId, '--yes']);
          if (has('read-only')) remount(stage, 'rw');
          return ended;
        };
        const { exitCode, stdout } = has('lock') ? await openKeystore(keysDir).withLock('bot', brake) : await brake();
        const left = sandbox.keys().filter((key) => key.enabled && key.client_id !== sandbox.clientId);
        expect({ chosen, left: left.length }).toEqual({ chosen, left: has('a failure') ? 1 : 0 });
        expect({ chosen, exitCode }).toEqual({ chosen, exitCode: has('a failure') ? 5 : 0 });
        const told = JSON.parse(stdout) as { clientId: string; enabled: boolean; error: unknown }[];
        expect(told).toHaveLength(4);
        const failed = told.filter(({ error, enabled }) => error !== null || enabled).map((key) => key.clientId);
        expect(failed).toEqual(left.map((key) => key.client_id));
      });
    }
    figures.push(`emergency brake: ${STORM_ROUNDS} rounds: ${JSON.stringify(counts)}`);
  });

  const MOMENTS = ['never', 'at the answer', 'at the answer', 'at a random moment'] as const;

  test.each(['remove', 'rename', 'rotate', 'register', 'apply'] as const)(
    '%s does not hide what the exchange did when the disk is full, and the next run records it',
    async (how) => {
      const counts = { done: 0, failed: 0, changed: 0 };
      let usualMs = 0;
      for (let round = 0; round < STORM_ROUNDS; round += 1) {
        const { full, kind } = chosenIn(round, { full: MOMENTS, kind: TRANSPORTS });
        await onStage(program.path, { kind, diskBytes: 512 * 1024 }, async (stage) => {
          const { sandbox } = stage;
          const { words, method } = {
            remove: { words: ['api-keys', 'remove', 'bot', '--yes'], method: 'private/remove_api_key' },
            rename: { words: ['api-keys', 'rename', 'bot', 'other'], method: 'private/change_api_key_name' },
            rotate: { words: ['rotate', 'bot'], method: among(['private/create_api_key', 'private/remove_api_key']) },
            register: { words: ['register', 'bot', '--scope', STORM_SCOPE], method: 'private/create_api_key' },
            apply: { words: ['apply', writePolicy(stage), '--yes'], method: 'private/create_api_key' },
          }[how];
          if (how !== 'apply') await stage.done('generate', 'bot');
          if (how !== 'apply' && how !== 'register') await stage.done('register', 'bot', '--scope', STORM_SCOPE);
          const before = JSON.stringify(sandbox.keys());
          const startMs = performance.now();
          const running = stage.run(words);
          if (full !== 'never') {
            await fillWhen(stage, full === 'at a random moment' ? usualMs * Math.random() : asked(sandbox, method));
          }
          const first = await running;
          if (full === 'never') usualMs = performance.now() - startMs;
          const changed = JSON.stringify(sandbox.keys()) !== before;
          unfill(stage);
          counts[first.exitCode === 0 ? 'done' : 'failed'] += 1;
          if (changed) counts.changed += 1;
          expectTruth(first, changed);
          sandbox.clearFaults();
          if (first.exitCode !== 0) expect(await stage.run(words)).toMatchObject({ exitCode: 0, said: '' });
          const bot = (await stage.records()).find(({ name }) => name === 'bot');
          expect(bot?.state).toBe(how === 'remove' ? 'retired' : 'registered');
          expect(copiesOf(stage, bot?.fingerprint ?? '')).toBe(how === 'remove' ? 0 : 1);
          if (how === 'rename') expect(bot?.label).toBe('other');
          await expectNeitherTwiceNorLost(stage);
        });
      }
      figures.push(`full disk, ${how}: ${JSON.stringify(counts)}`);
    },
  );
});

/** Waits until the exchange was asked for a method, whose answer is late, so that the disk is full when it comes. */
async function asked(sandbox: Sandbox, method: string): Promise<void> {
  sandbox.setFaults([`delay@${method}:60`]);
  for (let tries = 0; tries < 4000 && !sandbox.calls.some((call) => call.method === method); tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function fillWhen(stage: Stage, moment: number | Promise<void>): Promise<void> {
  await (typeof moment === 'number' ? new Promise((resolve) => setTimeout(resolve, moment)) : moment);
  fill(stage);
}

function expectTruth({ exitCode, said, stdout }: Ended, changed: boolean): void {
  if (exitCode === 0) {
    expect({ changed, stdout }).toMatchObject({ changed: true });
    return;
  }
  const { error } = JSON.parse(said.slice(said.indexOf('{'))) as { error: { message: string; hint?: string } };
  const words = `${error.message} ${error.hint ?? ''}`;
  if (changed)
    expect({ changed, words }).not.toMatchObject({
      words: expect.stringMatching(/nothing (was|is|has been) changed/i),
    });
}
