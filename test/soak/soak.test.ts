import { expect, test } from 'vitest';
import { simulate } from './simulation.js';
import { soak } from './wall-clock.js';

test('three simulated days of cuts, refusals, expiries and restarts lose no order and send none twice', async () => {
  const report = await simulate({ days: 3, seed: 7, sessions: 3 });
  expect(report.violations).toEqual([]);
  expect(report.left).toEqual({ orders: 0, connections: 0, timers: 0 });
  expect(report.orders).toBeGreaterThan(500);
  expect(report.unknown).toBeGreaterThan(0);
  expect(report.refreshes).toBeGreaterThan(100);
  expect(report.reconnects).toBeGreaterThan(20);
});

test('a few seconds of the same on real sockets lose no order, send none twice and leave nothing open', async () => {
  const report = await soak({ seconds: 3, seed: 11, atLeast: { orders: 4, reads: 50, logins: 10 } });
  expect(report.violations).toEqual([]);
  expect(report.left).toEqual({ requests: 0, resources: [] });
});
