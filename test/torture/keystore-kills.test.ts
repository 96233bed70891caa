import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { builtProgram, canRun } from '../support/program.js';
import {
  CALLS,
  COMMANDS,
  type KillWorld,
  type Moment,
  type Outcome,
  openKillWorld,
  playRound,
  summarise,
  usualMs,
} from './kills.js';

/*
 * TORTURE_ROUNDS (default 600): half of them killed at random moments; the other half, and more where a command has more
 * calls, at system calls, one after the other. TORTURE_LANES (default 2): how many at the same time.
 */
const ROUNDS = Number(process.env.TORTURE_ROUNDS ?? 600);
const LANES = Number(process.env.TORTURE_LANES ?? 2);
const hasStrace = await canRun('strace', '-f', '-o', '/dev/null', 'true');

const program = builtProgram();
const outcomes: Outcome[] = [];
let world: KillWorld;
beforeAll(async () => {
  world = await openKillWorld(program.path);
});
afterAll(() => {
  world.close();
  const killed = outcomes.filter((one) => one.killed).length;
  process.stdout.write(`\n${outcomes.length} rounds, ${killed} killed\n${summarise(outcomes)}\n`);
});

/** Works through `jobs`, a few at a time. */
async function inLanes<T>(jobs: readonly T[], work: (job: T) => Promise<void>): Promise<void> {
  const left = [...jobs];
  const lane = async () => {
    for (let job = left.shift(); job !== undefined; job = left.shift()) await work(job);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}

describe('processes killed by SIGKILL lose no key', () => {
  it.skipIf(!hasStrace)('at every call that a command makes (needs strace)', async () => {
    const jobs = COMMANDS.flatMap((command) => CALLS.map((call) => ({ command, call })));
    const most = Math.ceil(ROUNDS / 2 / COMMANDS.length);
    let rounds = 0;
    await inLanes(jobs, async ({ command, call }) => {
      // with fewer rounds asked for than there are calls, some are stepped over
      const step = call === 'write' ? Math.max(1, Math.round(150 / most)) : ROUNDS >= 500 ? 1 : 4;
      for (let nth = 1; ; nth += step) {
        const outcome = await playRound(world, command, { call, nth });
        outcomes.push(outcome);
        rounds += 1;
        if (!outcome.killed) break;
      }
    });
    expect(rounds).toBeGreaterThan(COMMANDS.length * CALLS.length);
    if (ROUNDS >= 500) expect(rounds).toBeGreaterThanOrEqual(ROUNDS / 2);
  });

  it('at random moments', async () => {
    const moments: { command: (typeof COMMANDS)[number]; moment: Moment }[] = [];
    for (const command of COMMANDS) {
      const longest = (await usualMs(world, command)) * 1.1;
      for (let round = 0; round < ROUNDS / 2 / COMMANDS.length; round += 1) {
        // seldom before the program is loaded, where there is nothing to lose
        moments.push({ command, moment: { afterMs: longest * (1 - Math.random() ** 1.5 * 0.7) } });
      }
    }
    const before = outcomes.length;
    await inLanes(moments, async ({ command, moment }) => {
      outcomes.push(await playRound(world, command, moment));
    });
    expect(outcomes.length - before).toBeGreaterThanOrEqual(Math.floor(ROUNDS / 2));
    expect(outcomes.some(({ killed }) => killed)).toBe(true);
  });
});
