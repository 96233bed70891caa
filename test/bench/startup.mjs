// Whole processes beside a bare `node -e 0`.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { median, row } from './measure.mjs';

const program = fileURLToPath(new URL('../../dist/bin/deribit-keys.cjs', import.meta.url));
const ROUNDS = 25;

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
      version: [program, '--version'],
      sign: [program, 'sign', 'bot', '--client-id', 'AbCdEf12'],
    };
    const times = { bare: [], version: [], sign: [] };
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [name, words] of Object.entries(contenders)) times[name].push(timeOf(words, { cwd }));
    }
    const against = (name) => median(times[name].map((ms, round) => ms / times.bare[round]));
    const detail = (name) => `${median(times[name]).toFixed(0)} ms : ${median(times.bare).toFixed(0)} ms`;
    return [
      row('process `--version`, beside node -e 0', against('version'), { atMost: 1.35 }, detail('version')),
      row('process `sign`, beside node -e 0', against('sign'), { atMost: 1.5 }, detail('sign')),
    ];
  } finally {
    rmSync(cwd, { recursive: true, force: true });
  }
}
