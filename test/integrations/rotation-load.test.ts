import { expect, it } from 'vitest';
import { builtProgram } from '../support/program.js';
import { playRotations } from '../support/rotation-load.js';

const program = builtProgram();

it('Sessions, ccxt and clients of the auth server follow rotations that are killed and resumed', async () => {
  const figures = await playRotations({ program: program.path, rounds: 2, sessions: 8, clients: 4, everyMs: 100 });
  expect(figures).toContain('rejected: none');
});
