// CPU time, time and peak memory from one moment to another.

const SAMPLE_MS = 50;

/** Starts to measure; gives the function that stops and reports. */
export function meter() {
  globalThis.gc?.();
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  let peak = process.memoryUsage.rss();
  const timer = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss());
  }, SAMPLE_MS);
  return () => {
    clearInterval(timer);
    const { user, system } = process.cpuUsage(cpu);
    return { cpuMs: (user + system) / 1000, tookMs: performance.now() - startMs, peakMiB: peak / 2 ** 20 };
  };
}
