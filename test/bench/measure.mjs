// Rounds of two or more contenders in turn, so that what else the machine does strikes them alike.

/** How many rounds: `ROUNDS=1` only shows that a bench runs. */
export const roundsOf = (usual) => Number(process.env.ROUNDS ?? usual);

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** Nanoseconds of one call, over `calls` calls in a row. */
async function timeOf(work, calls) {
  const start = process.hrtime.bigint();
  for (let i = 0; i < calls; i += 1) await work();
  return Number(process.hrtime.bigint() - start) / calls;
}

/**
 * How fast `ours` is beside `bare`: the median over rounds of bare's time divided by ours (1: as fast).
 * A contender is an async function; `sync` ones are wrapped by the caller.
 */
export async function speedRatio(ours, bare, { calls, rounds = roundsOf(15) }) {
  await timeOf(ours, calls);
  await timeOf(bare, calls);
  const ratios = [];
  const times = [];
  for (let round = 0; round < rounds; round += 1) {
    const first = round % 2 === 0 ? [await timeOf(bare, calls), await timeOf(ours, calls)] : null;
    const [bareNs, oursNs] = first ?? [await timeOf(ours, calls), await timeOf(bare, calls)].reverse();
    ratios.push(bareNs / oursNs);
    times.push([bareNs, oursNs]);
  }
  return { ratio: median(ratios), bareNs: median(times.map(([a]) => a)), oursNs: median(times.map(([, b]) => b)) };
}

/** One row of the report. `atLeast` or `atMost` is the bound that the ratio is held to. */
export function row(what, ratio, bound, detail) {
  const ok = bound === null ? true : 'atLeast' in bound ? ratio >= bound.atLeast : ratio <= bound.atMost;
  return { what, ratio, bound, ok, detail };
}

export { median };
