import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { isDeribitKeysError } from '../../src/errors.js';
import { openPrivateKey } from '../../src/keystore/open-key.js';
import { generate, storeKey } from '../../src/keystore/stored-keys.js';
import { type Sandbox, startSandbox } from '../../src/sandbox/index.js';
import { applyPolicy } from '../../src/workflows/policy/apply-policy.js';
import { parsePolicy } from '../../src/workflows/policy/parse-policy.js';
import { register } from '../../src/workflows/registration/register.js';
import { localSuccessor } from '../../src/workflows/rotation/start.js';
import { openRotationWorld, type RotationWorld } from '../support/rotation-world.js';
import { chosenIn, HIDINGS, STORM_ROUNDS as ROUNDS, STORM_SCOPE as SCOPE, TRANSPORTS } from './storm.js';

/*
 * Storms against the rule that a key pair is registered once: creations that are cut, late or hidden, and runs at the same
 * moment. STORM_ROUNDS says how many rounds each has (200 where the figures count; a few where it is left out).
 */

const CREATE = 'private/create_api_key';
const LIST = 'private/list_api_keys';
const CUTS = ['cut-after', 'cut-before', 'drop-answer', 'late-cut:40', 'late-502:40', 'garbage'] as const;

const figures: string[] = [];
afterAll(() => process.stderr.write(`${figures.join('\n')}\n`));

const placed = (fault: string) => fault.replace(/^([a-z0-9-]+)(:\d+)?$/, `$1@${CREATE}$2x1`);

/** How many enabled keys of the account have this fingerprint. */
const copies = (sandbox: Sandbox, fingerprint: string) =>
  sandbox.keys().filter((key) => key.client_secret === fingerprint && key.enabled).length;

async function ours(work: Promise<unknown>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    if (isDeribitKeysError(error)) return false;
    throw error;
  }
}

type Transport = (typeof TRANSPORTS)[number];

function benchOn(sandbox: Sandbox, folder: string, kind: Transport, timeoutMs = 30_000): RotationWorld {
  const around = (context: RotationWorld['context']) => ({ ...context, uncertainMs: 400 });
  return openRotationWorld(sandbox, folder, { kind, around, timeoutMs });
}

async function withStage(
  kind: Transport,
  work: (sandbox: Sandbox, world: RotationWorld) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-storm-'));
  const sandbox = await startSandbox({ keyLimit: 50 });
  try {
    await work(sandbox, benchOn(sandbox, join(folder, 'keys'), kind));
  } finally {
    await sandbox.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** No record is unexplained, and no private key of the account's keys is lost. */
async function expectOnlyKnown(sandbox: Sandbox, world: RotationWorld): Promise<void> {
  const { records, damaged } = await world.store.list();
  expect(damaged).toEqual([]);
  for (const key of sandbox.keys()) {
    if (key.client_id === sandbox.clientId || key.name === 'decoy') continue;
    expect(records.some(({ fingerprint }) => fingerprint === key.client_secret)).toBe(true);
  }
}

const policyOf = (name: string) => parsePolicy(`keys:\n  - { name: ${name}, scope: "${SCOPE}", label: ${name} }\n`);

function apply(world: RotationWorld, name: string) {
  const makeSuccessor = localSuccessor(world.store, () => Promise.resolve(null));
  return applyPolicy(world.context, {
    policy: policyOf(name),
    login: world.login,
    prune: false,
    confirm: () => Promise.resolve(),
    contextFor: async () => ({ context: world.context, makeSuccessor }),
    newPassphrase: () => Promise.reject(new Error('no passphrase')),
  });
}

test('as many rounds as there are combinations visit each of them once', () => {
  const lists = { cut: CUTS, hiding: HIDINGS, kind: TRANSPORTS };
  const visited = (rounds: number) =>
    new Set(Array.from({ length: rounds }, (_, round) => JSON.stringify(chosenIn(round, lists))));
  expect(visited(72).size).toBe(72);
  const few = [...visited(12)].map((text) => JSON.parse(text) as { cut: string; hiding: string; kind: string });
  for (const [what, list] of Object.entries(lists) as ['cut' | 'hiding' | 'kind', readonly string[]][]) {
    expect(new Set(few.map((one) => one[what]))).toEqual(new Set(list));
  }
});

describe('cut after create, in every way of hiding', () => {
  test.each(['register', 'rotate', 'apply'] as const)(
    '%s never makes a second key, and never loses one',
    async (how) => {
      let hit = 0;
      for (let round = 0; round < ROUNDS; round += 1) {
        const { cut, hiding, kind } = chosenIn(round, { cut: CUTS, hiding: HIDINGS, kind: TRANSPORTS });
        await withStage(kind, async (sandbox, world) => {
          for (const name of ['bot', 'decoy']) sandbox.addKey({ name });
          const { login } = world;
          const run = async (on: RotationWorld) => {
            if (how === 'apply') return apply(on, 'bot');
            if (how === 'rotate') return on.rotate('bot', { graceMs: 0 });
            return register(on.context, { name: 'bot', scope: SCOPE, login });
          };
          if (how !== 'apply') await generate(world.store, 'bot');
          if (how === 'rotate') await register(world.context, { name: 'bot', scope: SCOPE, login });
          sandbox.setFaults([placed(cut)]);
          // only the run that loses an answer is in a hurry
          if (!(await ours(run(benchOn(sandbox, world.store.folder, kind, 250))))) hit += 1;
          sandbox.setFaults([`hide-key@${LIST}:${hiding}`]);
          await run(world);
          const record = await world.store.read('bot');
          expect(record.state).toBe('registered');
          expect(copies(sandbox, record.fingerprint)).toBe(1);
          for (const { fingerprint } of (await world.store.list()).records) {
            expect(copies(sandbox, fingerprint)).toBeLessThanOrEqual(1);
          }
        });
      }
      figures.push(`${how}: ${ROUNDS} rounds, ${hit} of them cut`);
      expect(hit).toBeGreaterThan(0);
    },
  );
});

test('one key pair under two names, registered at the same moment, is registered once', async () => {
  for (let round = 0; round < ROUNDS; round += 1) {
    const { kind, otherKind } = chosenIn(round, { kind: TRANSPORTS, otherKind: TRANSPORTS });
    await withStage(kind, async (sandbox, world) => {
      const { fingerprint } = await generate(world.store, 'bot');
      const key = await openPrivateKey(world.store, await world.store.read('bot'));
      await storeKey(world.store, { name: 'twin', key, action: 'import' });
      const other = openRotationWorld(sandbox, world.store.folder, { kind: otherKind });
      const done = await Promise.all([
        ours(register(world.context, { name: 'bot', scope: SCOPE, login: world.login })),
        ours(register(other.context, { name: 'twin', scope: SCOPE, login: other.login })),
      ]);
      expect(done.filter(Boolean)).toHaveLength(1);
      expect(copies(sandbox, fingerprint)).toBe(1);
    });
  }
  figures.push(`two names: ${ROUNDS} rounds`);
});

test('several runs of apply at the same moment make each key once, and keep what another has registered', async () => {
  for (let round = 0; round < ROUNDS; round += 1) {
    const { delayMs, kind } = chosenIn(round, { delayMs: [0, 30, 60], kind: TRANSPORTS });
    await withStage(kind, async (sandbox, world) => {
      await apply(world, 'bot');
      const before = await world.store.read('bot');
      if (delayMs > 0) sandbox.setFaults([`delay@${CREATE}:${delayMs}`]);
      // the key is gone from the exchange: each run decides to replace it
      await removeOnExchange(sandbox, world, before.keyId ?? 0);
      const worlds = Array.from({ length: 4 }, () => openRotationWorld(sandbox, world.store.folder, { kind }));
      const done = await Promise.all(worlds.map((one) => ours(apply(one, 'bot'))));
      expect(done).toContain(true);
      const record = await world.store.read('bot');
      expect(record).toMatchObject({ state: 'registered' });
      expect(record.fingerprint).not.toBe(before.fingerprint);
      expect(
        sandbox
          .keys()
          .filter((key) => key.name === 'bot')
          .map((key) => key.client_id),
      ).toEqual([record.clientId]);
      await expectOnlyKnown(sandbox, world);
    });
  }
  figures.push(`concurrent apply: ${ROUNDS} rounds`);
});

async function removeOnExchange(sandbox: Sandbox, world: RotationWorld, keyId: number): Promise<void> {
  const { withAccount } = await import('../../src/workflows/account/account.js');
  const { removeApiKey } = await import('../../src/deribit/api-keys.js');
  await withAccount(world.context, { login: world.login, level: 'read_write' }, (account) =>
    removeApiKey(account, { keyId }),
  );
  expect(sandbox.keys().some((key) => key.id === keyId)).toBe(false);
}
