// `npm run bench`: each figure is a ratio within one run. `npm run bench -- signing startup` runs these alone. `ROUNDS=1`,
// `SESSIONS`, `KEYS` and `REQUESTS` make it short.
import { readdirSync } from 'node:fs';

const notBenches = new Set(['main.mjs', 'measure.mjs', 'sandbox-process.mjs']);
const all = readdirSync(new URL('.', import.meta.url))
  .filter((file) => file.endsWith('.mjs') && !notBenches.has(file))
  .map((file) => file.replace('.mjs', ''));
const asked = process.argv.slice(2);
const rows = [];
for (const name of all) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  process.stderr.write(`${name} …\n`);
  const { bench } = await import(`./${name}.mjs`);
  if (bench === undefined) continue;
  rows.push(...(await bench()));
}
const width = Math.max(...rows.map(({ what }) => what.length));
for (const { what, ratio, bound, ok, detail } of rows) {
  const limit = bound === null ? '' : 'atLeast' in bound ? `≥ ${bound.atLeast}` : `≤ ${bound.atMost}`;
  console.log(
    `${what.padEnd(width)}  ${ratio.toFixed(2).padStart(6)}  ${limit.padEnd(7)} ${ok ? ' ' : '✗'}  ${detail}`,
  );
}
