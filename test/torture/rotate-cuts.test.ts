import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { isDeribitKeysError } from '../../src/errors.js';
import { readJournal } from '../../src/keystore/journal.js';
import { startSandbox } from '../../src/sandbox/index.js';
import { expectSettled, loginOf, makeKey, openRotationWorld, waysIn } from '../support/rotation-world.js';

/* Every call of a rotation cut off, before and after it was handled; then the rotation goes on, or goes back. */

const figures: string[] = [];
afterAll(() => process.stderr.write(`${figures.join('\n')}\n`));

const cases = (['http', 'ws'] as const).flatMap((kind) =>
  (['another key', 'itself'] as const).flatMap((login) =>
    (['rotate', 'finish', 'abort'] as const).map((call) => ({ kind, login, call })),
  ),
);

describe('cut off at every call, a rotation goes on or goes back', () => {
  test.each(cases)('$call over $kind, logged in as $login', async ({ kind, login, call }) => {
    let cuts = 0;
    for (const fault of ['cut-before', 'cut-after', 'garbage', 'error:13028']) {
      for (const end of ['rotate', 'abort'] as const) {
        for (let skip = 0; ; skip += 1) {
          const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-cuts-'));
          const sandbox = await startSandbox();
          try {
            const world = openRotationWorld(sandbox, join(folder, 'keys'), { kind });
            const own = login === 'itself';
            const scope = own ? 'account:read_write trade:read' : 'trade:read';
            const { fingerprint } = await makeKey(world, 'bot', scope, ['127.0.0.1']);
            const loginNow = async () => (own ? loginOf(world, 'bot') : world.login);
            if (call !== 'rotate') await world.rotate('bot', { graceMs: 1_000_000, login: await loginNow() });
            sandbox.setFaults([`${fault}+${skip}x1`]);
            const running =
              call === 'abort'
                ? world.abort('bot', await loginNow())
                : world.rotate('bot', { graceMs: 0, login: await loginNow() });
            const failed = await running.then(
              () => false,
              (error: unknown) => {
                if (isDeribitKeysError(error)) return true;
                throw error;
              },
            );
            sandbox.clearFaults();
            if (!failed) break;
            cuts += 1;
            expect((await waysIn(world)).length).toBeGreaterThan(0);
            const journal = await readJournal(world.store, 'bot');
            const gone = journal !== null && !sandbox.keys().some((key) => key.client_id === journal.previous.clientId);
            if (end === 'abort' && journal !== null && !gone) {
              const aborted = await world.abort('bot', await loginNow());
              expect(aborted).toMatchObject({ state: 'aborted', fingerprint });
            } else {
              const done = await world.rotate('bot', { graceMs: 0, login: await loginNow() });
              expect(done).toMatchObject({ state: 'done' });
            }
            await expectSettled(world, 'bot', fingerprint);
          } finally {
            await sandbox.close();
            rmSync(folder, { recursive: true, force: true });
          }
        }
      }
    }
    figures.push(`${call} over ${kind}, logged in as ${login}: ${cuts} cuts`);
    expect(cuts).toBeGreaterThan(20);
  });
});
