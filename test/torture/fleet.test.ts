import { describe, it } from 'vitest';
import { playFleet, TROUBLES } from '../support/fleet.js';
import { builtProgram } from '../support/program.js';
import { hasRedis } from '../support/redis.js';

const worker = builtProgram('test/support/fleet-worker.ts');

describe.skipIf(!hasRedis)('40 bots of 8 processes on one key, which share its token through Redis', () => {
  it.each(TROUBLES)('keep to one session, and lose and double no request (Redis: %s)', async (trouble) => {
    const figures = await playFleet({ program: worker.path, trouble, processes: 8, bots: 40, lives: 4 });
    process.stderr.write(`${figures}\n`);
  });
});
