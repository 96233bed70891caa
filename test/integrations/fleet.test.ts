import { describe, it } from 'vitest';
import { playFleet } from '../support/fleet.js';
import { builtProgram } from '../support/program.js';
import { hasRedis } from '../support/redis.js';

const worker = builtProgram('test/support/fleet-worker.ts');

describe.skipIf(!hasRedis)('Bots of several processes on one key, which share its token through Redis', () => {
  it.each(['killed', 'replica takes over'] as const)(
    'keep to one session, and lose and double no request (Redis: %s)',
    async (trouble) => {
      await playFleet({ program: worker.path, trouble, processes: 2, bots: 10, lives: 1 });
    },
  );
});
