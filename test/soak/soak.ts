import { fileURLToPath } from 'node:url';
import { exchangeElsewhere, serveExchange } from './exchange.js';
import { simulate } from './simulation.js';
import { soak } from './wall-clock.js';

/** Minutes of wall time, days of simulated time, and the seed of both. */
const minutes = Number(process.env.SOAK_MINUTES ?? 20);
const days = Number(process.env.SOAK_DAYS ?? 90);
const seed = Number(process.env.SOAK_SEED ?? Date.now() % 1_000_000);

const say = (text: string) => void process.stdout.write(`${text}\n`);
const megabytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
const heapNow = () => {
  (globalThis as { gc?: () => void }).gc?.();
  return process.memoryUsage().heapUsed;
};

if (process.argv[2] === 'exchange') serveExchange();
else await main();

async function main(): Promise<void> {
  let rejections = 0;
  process.on('unhandledRejection', (reason) => {
    rejections += 1;
    say(`unhandled rejection: ${String(reason)}`);
  });

  say(`seed ${seed}`);
  const problems: string[] = [];

  const startMs = performance.now();
  const heaps: number[] = [];
  const simulated = await simulate({
    days,
    seed,
    sessions: 4,
    onDay(day) {
      heaps.push(heapNow());
      if (day % 10 === 0) say(`day ${day}: heap ${megabytes(heaps.at(-1) ?? 0)}`);
    },
  });
  say(`${days} simulated days in ${Math.round((performance.now() - startMs) / 1000)} s`);
  say(JSON.stringify(simulated, null, 2));
  problems.push(...simulated.violations);
  if (Object.values(simulated.left).some((count) => count !== 0)) problems.push('the simulation left something behind');
  problems.push(...grown('simulation', heaps));

  const real = await soak({
    seconds: minutes * 60,
    seed,
    start: (publicKeyPem) => exchangeElsewhere(fileURLToPath(import.meta.url), publicKeyPem),
    onMinute: (second, heapBytes) => say(`${second} s: heap ${megabytes(heapBytes)}`),
  });
  say(`${minutes} minutes of wall time`);
  say(JSON.stringify({ ...real, heapBytes: real.heapBytes.map(megabytes) }, null, 2));
  problems.push(...real.violations, ...grown('soak', real.heapBytes));
  if (real.left.requests !== 0 || real.left.resources.length !== 0) problems.push('the soak left something behind');
  if (rejections > 0) problems.push(`${rejections} unhandled rejections`);

  for (const problem of problems) say(`PROBLEM: ${problem}`);
  say(problems.length === 0 ? 'no order lost without an error, none sent twice, nothing left behind' : 'FAILED');
  process.exitCode = problems.length === 0 ? 0 : 1;
}

/** Whether the heap of the last fifth is much above that of the second fifth, when everything had warmed up. */
function grown(what: string, bytes: readonly number[]): string[] {
  const fifth = Math.floor(bytes.length / 5);
  if (fifth < 2) return [];
  const mean = (part: readonly number[]) => part.reduce((sum, value) => sum + value, 0) / part.length;
  const early = mean(bytes.slice(fifth, 2 * fifth));
  const late = mean(bytes.slice(-fifth));
  say(`${what}: heap ${megabytes(early)} early, ${megabytes(late)} late`);
  return late > early + 8 * 2 ** 20 ? [`the heap of the ${what} grew by ${megabytes(late - early)}`] : [];
}
