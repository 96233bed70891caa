import { it } from 'vitest';
import { builtProgram } from '../support/program.js';
import { playRotations } from '../support/rotation-load.js';

const program = builtProgram();
const rounds = Number(process.env.ROUNDS ?? 100);

it(`50 sessions, ccxt and 20 clients of the auth server follow ${rounds} rotations`, {
  timeout: 3_600_000,
}, async () => {
  const figures = await playRotations({ program: program.path, rounds, sessions: 50, clients: 20, everyMs: 1_000 });
  process.stderr.write(`${figures}\n`);
});
