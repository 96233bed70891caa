const times = Number(process.env.PROPERTY_RUNS ?? 1);

/** How often a property is tried: `usual` times, or PROPERTY_RUNS times as often (`PROPERTY_RUNS=10 npm test`). */
export const propertyRuns = (usual: number): number => Math.ceil(usual * times);
