import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isDeribitKeysError } from '../../../src/errors.js';
import { readJournal } from '../../../src/keystore/journal.js';
import { startSandbox } from '../../../src/sandbox/index.js';
import { temporaryFolder } from '../../support/cli.js';
import { propertyRuns } from '../../support/properties.js';
import {
  Crash,
  expectSettled,
  loginOf,
  makeKey,
  openRotationWorld,
  type RotationWorld,
  waysIn,
} from '../../support/rotation-world.js';

/** One interrupted run: what is called, and what breaks it off. */
interface Attempt {
  readonly call: 'rotate' | 'abort';
  readonly grace: boolean;
  readonly by:
    | { readonly kind: 'cut-before' | 'cut-after' | 'error:13028' | 'garbage'; readonly at: number }
    | { readonly kind: 'crash'; readonly at: number; readonly when: 'before' | 'after' };
}

const attempt: fc.Arbitrary<Attempt> = fc.record({
  call: fc.constantFrom('rotate' as const, 'rotate' as const, 'abort' as const),
  grace: fc.boolean(),
  by: fc.oneof(
    fc.record({
      kind: fc.constantFrom('cut-before' as const, 'cut-after' as const, 'error:13028' as const, 'garbage' as const),
      at: fc.nat(13),
    }),
    fc.record({
      kind: fc.constant('crash' as const),
      at: fc.integer({ min: 1, max: 9 }),
      when: fc.constantFrom('before' as const, 'after' as const),
    }),
  ),
});

async function interrupted(world: RotationWorld, { call, grace, by }: Attempt, itself: boolean): Promise<void> {
  world.writes = 0;
  world.crash = by.kind === 'crash' ? { at: by.at, when: by.when } : null;
  world.sandbox.setFaults(by.kind === 'crash' ? [] : [`${by.kind}+${by.at}x1`]);
  try {
    const login = itself ? await loginOf(world, 'bot') : world.login;
    if (call === 'abort') await world.abort('bot', login);
    else await world.rotate('bot', { graceMs: grace ? 3_600_000 : 0, login });
  } catch (error) {
    if (!(error instanceof Crash) && !isDeribitKeysError(error)) throw error;
  } finally {
    world.crash = null;
    world.sandbox.clearFaults();
  }
}

test('whatever breaks rotations off, there is always a way in, and the end is one key and nothing unexplained', async () => {
  let broken = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(attempt, { minLength: 1, maxLength: 4 }),
      fc.constantFrom('rotate' as const, 'abort' as const),
      fc.boolean(),
      fc.boolean(),
      async (attempts, end, itself, restricted) => {
        const sandbox = await startSandbox();
        try {
          const world = openRotationWorld(sandbox, `${temporaryFolder()}/keys`);
          const scope = itself ? 'account:read_write trade:read' : 'trade:read_write';
          const made = await makeKey(world, 'bot', scope, restricted ? ['127.0.0.1'] : []);
          for (const one of attempts) {
            await interrupted(world, one, itself);
            expect((await waysIn(world)).length).toBeGreaterThan(0);
            expect(sandbox.keys().length).toBeLessThanOrEqual(3);
          }
          const journal = await readJournal(world.store, 'bot');
          if (journal !== null) broken += 1;
          const login = itself ? await loginOf(world, 'bot') : world.login;
          if (end === 'rotate') {
            expect(await world.rotate('bot', { graceMs: 0, login })).toMatchObject({ name: 'bot', state: 'done' });
          } else if (journal !== null) {
            const tooLate =
              journal.stage === 'promoted' &&
              !sandbox.keys().some(({ client_id: id }) => id === journal.previous.clientId);
            if (tooLate) {
              await expect(world.abort('bot', login)).rejects.toMatchObject({ code: 'ERR_STATE' });
              await world.rotate('bot', { graceMs: 0, login });
            } else {
              const aborted = await world.abort('bot', login);
              expect(aborted).toMatchObject({ state: 'aborted', clientId: journal.previous.clientId });
            }
          }
          await expectSettled(world, 'bot', made.fingerprint);
          expect((await world.store.read('bot')).scope).toBe(made.scope);
          expect((await world.store.read('bot')).ipWhitelist).toEqual(restricted ? ['127.0.0.1'] : []);
        } finally {
          await sandbox.close();
        }
      },
    ),
    { numRuns: propertyRuns(20) },
  );
  expect(broken).toBeGreaterThan(0);
}, 1_200_000);
