// Whole processes beside a bare `node -e 0`.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { median, roundsOf, row } from './measure.mjs';

const program = fileURLToPath(new URL('../../dist/bin/deribit-keys.cjs', import.meta.url));
const ROUNDS = roundsOf(60);
const COMMANDS = {
  '--version': { words: ['--version'], atMost: 1.05 },
  '--help': { words: ['--help'], atMost: 1.35 },
  list: { words: ['list'], atMost: 1.35 },
  sign: { words: ['sign', 'bot', '--client-id', 'AbCdEf12'], atMost: 1.25 },
};

function timeOf(words, options) {
  const start = process.hrtime.bigint();
  const { status } = spawnSync(process.execPath, words, { stdio: 'ignore', ...options });
  if (status !== 0) throw new Error(`node ${words.join(' ')} ended with ${status}`);
  return Number(process.hrtime.bigint() - start) / 1e6;
}

export async function bench() {
  const cwd = mkdtempSync(join(tmpdir(), 'deribit-keys-bench-'));
  try {
    timeOf([program, 'generate', 'bot'], { cwd });
    const contenders = {
      bare: ['-e', '0'],
      ...Object.fromEntries(Object.entries(COMMANDS).map(([name, { words }]) => [name, [program, ...words]])),
    };
    const times = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]));
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [name, words] of Object.entries(contenders)) times[name].push(timeOf(words, { cwd }));
    }
    return Object.entries(COMMANDS).map(([name, { atMost }]) =>
      row(
        `process \`${name}\`, beside node -e 0`,
        median(times[name].map((ms, round) => ms / times.bare[round])),
        { atMost },
        `${median(times[name]).toFixed(0)} ms : ${median(times.bare).toFixed(0)} ms`,
      ),
    );
  } finally {
    rmSync(cwd, { recursive: true, force: true });
  }
}
