import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { builtProgram, canRun } from '../support/program.js';
import { COMMANDS, type KillWorld, openKillWorld, playRound } from '../torture/kills.js';

vi.setConfig({ testTimeout: 120_000 });

const hasStrace = await canRun('strace', '-f', '-o', '/dev/null', 'true');
const program = builtProgram();
let world: KillWorld;
beforeAll(async () => {
  world = await openKillWorld(program.path);
});
afterAll(() => world.close());

const LINKED = [1, 2, 3, 4];
const REPLACED = [1, 2, 3];
const MOMENTS = COMMANDS.flatMap((command) => {
  const [call, places] =
    command === 'generate' || command === 'import' ? (['link', LINKED] as const) : (['rename', REPLACED] as const);
  return [...places.map((nth) => ({ command, call, nth })), { command, call: 'unlink' as const, nth: 3 }];
});

// a slice of what test/torture/keystore-kills.test.ts does hundreds of times
it.skipIf(!hasStrace).each(MOMENTS)(
  '$command killed at its $call number $nth loses no key (needs strace)',
  async ({ command, call, nth }) => {
    expect(await playRound(world, command, { call, nth })).toMatchObject({ killed: true });
  },
);

it.each(COMMANDS)('%s killed at some moment loses no key', async (command) => {
  await playRound(world, command, { afterMs: 100 + Math.random() * 150 });
});
