// CPU time and time from one moment to another, and the peak memory of the process so far.

/** Starts to measure; returns the function that stops and reports. */
export function meter() {
  globalThis.gc?.();
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  return () => {
    const { user, system } = process.cpuUsage(cpu);
    return {
      cpuMs: (user + system) / 1000,
      tookMs: performance.now() - startMs,
      peakMiB: process.resourceUsage().maxRSS / 1024,
    };
  };
}
