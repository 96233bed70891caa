import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { temporaryFolder } from '../support/cli.js';
import { CONTAINER, canUnshare, FOREIGN_PROC, lockProcesses } from '../support/lock-processes.js';
import { chosenIn, STORM_ROUNDS } from './storm.js';

/*
 * The holder of a lock is killed in its container while others wait for it in theirs. The lease is shorter than usual, and
 * longer than the holder takes to renew it.
 */

const LEASE_MS = 7_000;
const AT_A_TIME = 8;
const isolates = await canUnshare();
const { startWorker } = lockProcesses();
const figures: string[] = [];
afterAll(() => process.stderr.write(`${figures.join('\n')}\n`));

async function playRound(round: number): Promise<void> {
  const { holds, waits, aheadMs } = chosenIn(round, {
    holds: [CONTAINER, FOREIGN_PROC],
    waits: [
      [CONTAINER, FOREIGN_PROC],
      [CONTAINER, CONTAINER],
      [CONTAINER, []],
      [FOREIGN_PROC, []],
    ],
    aheadMs: [0, 90_000, -90_000],
  });
  const folder = temporaryFolder();
  const holder = startWorker(folder, holds, { waitMs: 60_000, leaseMs: LEASE_MS });
  await holder.holds;
  const waiters = waits.map((within) =>
    startWorker(folder, within, { rounds: 1, waitMs: 60_000, leaseMs: LEASE_MS, aheadMs }),
  );
  const journal = join(folder, 'journal');
  // the moments of a lease, from before the first look of those who wait to after the holder has renewed it
  await new Promise((resolve) => setTimeout(resolve, LEASE_MS * Math.random()));
  // nobody has taken it from a holder that runs
  expect(existsSync(journal)).toBe(false);
  holder.child.kill('SIGKILL');
  await holder.ended;
  expect(await Promise.all(waiters.map(({ ended }) => ended))).toEqual(waits.map(() => 'done'));
  const lines = readFileSync(journal, 'utf8').trim().split('\n');
  expect(lines).toHaveLength(2 * waits.length);
  for (let at = 0; at < lines.length; at += 2) expect(lines[at + 1]).toBe(lines[at]?.replace('in', 'out'));
  expect(readdirSync(folder)).toEqual(['journal']);
}

describe.skipIf(!isolates)('a holder that is killed in its container (needs unshare --pid)', () => {
  vi.setConfig({ testTimeout: 1_200_000 });

  test('keeps its lock until it is killed; then those who wait take it, one after the other', async () => {
    for (let round = 0; round < STORM_ROUNDS; round += AT_A_TIME) {
      const rounds = Array.from({ length: Math.min(AT_A_TIME, STORM_ROUNDS - round) }, (_, i) => round + i);
      await Promise.all(rounds.map(playRound));
    }
    figures.push(`holders killed in containers: ${STORM_ROUNDS} rounds`);
  });
});
