// Loaded into a server before its own code: it answers over IPC what the process has used so far.

process.on('message', () => {
  globalThis.gc();
  const { user, system } = process.cpuUsage();
  process.send({ cpuMs: (user + system) / 1_000, heapMiB: process.memoryUsage().heapUsed / 2 ** 20 });
});
