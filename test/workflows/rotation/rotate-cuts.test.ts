import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isDeribitKeysError } from '../../../src/errors.js';
import { readJournal } from '../../../src/keystore/journal.js';
import { startSandbox } from '../../../src/sandbox/index.js';
import { temporaryFolder } from '../../support/cli.js';
import { propertyRuns } from '../../support/property-runs.js';
import { type Bench, Crash, expectSettled, loginOf, makeKey, openBench, waysIn } from '../../support/workbench.js';

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

async function interrupted(bench: Bench, { call, grace, by }: Attempt, itself: boolean): Promise<void> {
  bench.writes = 0;
  bench.crash = by.kind === 'crash' ? { at: by.at, when: by.when } : null;
  bench.sandbox.setFaults(by.kind === 'crash' ? [] : [`${by.kind}+${by.at}x1`]);
  try {
    const login = itself ? await loginOf(bench, 'bot') : bench.login;
    if (call === 'abort') await bench.abort('bot', login);
    else await bench.rotate('bot', { graceMs: grace ? 3_600_000 : 0, login });
  } catch (error) {
    if (!(error instanceof Crash) && !isDeribitKeysError(error)) throw error;
  } finally {
    bench.crash = null;
    bench.sandbox.clearFaults();
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
          const bench = openBench(sandbox, `${temporaryFolder()}/keys`);
          const scope = itself ? 'account:read_write trade:read' : 'trade:read_write';
          const made = await makeKey(bench, 'bot', scope, restricted ? ['127.0.0.1'] : []);
          for (const one of attempts) {
            await interrupted(bench, one, itself);
            expect((await waysIn(bench)).length).toBeGreaterThan(0);
            expect(sandbox.keys().length).toBeLessThanOrEqual(3);
          }
          const journal = await readJournal(bench.store, 'bot');
          if (journal !== null) broken += 1;
          const login = itself ? await loginOf(bench, 'bot') : bench.login;
          if (end === 'rotate') {
            expect(await bench.rotate('bot', { graceMs: 0, login })).toMatchObject({ name: 'bot', state: 'done' });
          } else if (journal !== null) {
            const tooLate =
              journal.stage === 'promoted' &&
              !sandbox.keys().some(({ client_id: id }) => id === journal.previous.clientId);
            if (tooLate) {
              await expect(bench.abort('bot', login)).rejects.toMatchObject({ code: 'ERR_STATE' });
              await bench.rotate('bot', { graceMs: 0, login });
            } else {
              const aborted = await bench.abort('bot', login);
              expect(aborted).toMatchObject({ state: 'aborted', clientId: journal.previous.clientId });
            }
          }
          await expectSettled(bench, 'bot', made.fingerprint);
          expect((await bench.store.read('bot')).scope).toBe(made.scope);
          expect((await bench.store.read('bot')).ipWhitelist).toEqual(restricted ? ['127.0.0.1'] : []);
        } finally {
          await sandbox.close();
        }
      },
    ),
    { numRuns: propertyRuns(20) },
  );
  expect(broken).toBeGreaterThan(0);
}, 1_200_000);
