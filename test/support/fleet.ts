import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { generateKeyPair } from '../../src/crypto/generate.js';
import { encodePrivateKeyPem, encodePublicKeyPem } from '../../src/crypto/pem.js';
import { startSandbox } from '../../src/sandbox/index.js';
import { afterTest } from './after-test.js';
import { type RedisServer, startRedis, startSentinel } from './redis.js';

/** What a process of bots begins with. */
export interface WorkerSetUp {
  readonly name: string;
  readonly wsUrl: string;
  readonly httpUrl: string;
  readonly key: { readonly clientId: string; readonly pem: string } | { readonly dir: string; readonly name: string };
  readonly redis: { readonly url: string; readonly keyHex: string; readonly packageFile: string } | null;
  readonly bots: number;
  readonly everyMs: number;
  /** How far its clock is ahead. */
  readonly aheadMs: number;
}

/** What has happened in it so far. */
export interface WorkerReport {
  open: number;
  answers: number;
  readonly failures: string[];
  /** Of the orders that were answered. */
  readonly labels: string[];
  readonly events: Record<string, number>;
  readonly clientIds: readonly string[];
}

export interface Worker {
  report(): Promise<WorkerReport>;
  stop(): Promise<void>;
}

/** Starts a process of bots; `program` is the bundle of `fleet-worker.ts`. */
export function startWorker(program: string, setUp: WorkerSetUp): Worker {
  // its clock is set before anything of the program is loaded
  const skew = `const now = Date.now; Date.now = () => now() + ${setUp.aheadMs}`;
  const child: ChildProcess = fork(program, [], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    execArgv: ['--import', `data:text/javascript,${encodeURIComponent(skew)}`],
  });
  child.send(setUp);
  return {
    async report() {
      const answer = once(child, 'message', { signal: AbortSignal.timeout(60_000) });
      child.send('report');
      return ((await answer) as [WorkerReport])[0];
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    },
  };
}

/** What happens to Redis, or to the hosts, while the bots work. */
export const TROUBLES = ['none', 'killed', 'paused', 'restarted empty', 'replica takes over', 'clocks apart'] as const;
export type Trouble = (typeof TROUBLES)[number];

export interface FleetPlan {
  readonly program: string;
  readonly trouble: Trouble;
  readonly processes: number;
  readonly bots: number;
  /** Lives of a token to run for. */
  readonly lives: number;
}

const TOKEN_S = 6;

/**
 * Many processes of bots on one key share its token through a real Redis. At most two sessions are ever open on the
 * exchange, every request is answered, and none is carried out twice. Returns figures.
 */
export async function playFleet({ program, trouble, processes, bots, lives }: FleetPlan): Promise<string> {
  const limits = { sessionsPerKey: true };
  const sandbox = await startSandbox({ expiresInS: TOKEN_S, limits, callLimit: 1_000_000 });
  afterTest(() => sandbox.close());
  const pair = await generateKeyPair();
  const { client_id: clientId } = sandbox.addKey({ publicKey: encodePublicKeyPem(pair.publicKey) });
  const key = { clientId, pem: encodePrivateKeyPem(pair) };

  const servers: { stop(): Promise<void> }[] = [];
  afterTest(async () => void (await Promise.all(servers.map((server) => server.stop()))));
  const keep = <T extends { stop(): Promise<void> }>(server: T): T => {
    servers.push(server);
    return server;
  };
  const primary = keep(await startRedis());
  let { url } = primary;
  if (trouble === 'replica takes over') {
    keep(await startRedis({ config: [`replicaof 127.0.0.1 ${primary.port}`] }));
    await expect.poll(() => primary.cli('info', 'replication'), { timeout: 60_000 }).toContain('state=online');
    ({ url } = keep(await startSentinel(primary)));
  }

  const packageFile = join(process.cwd(), 'test/fixtures/redis/package.json');
  const redis = { url, keyHex: randomBytes(32).toString('hex'), packageFile };
  const workers = Array.from({ length: processes }, (_, i) =>
    startWorker(program, {
      ...{ name: `p${i}`, wsUrl: sandbox.wsUrl, httpUrl: sandbox.httpUrl, key, redis },
      ...{ bots: bots / processes, everyMs: 250 },
      aheadMs: trouble === 'clocks apart' ? (i % 2 === 0 ? 30_000 : -30_000) : 0,
    }),
  );
  afterTest(async () => void (await Promise.all(workers.map((worker) => worker.stop()))));
  const reports = () => Promise.all(workers.map((worker) => worker.report()));
  const sum = (all: readonly WorkerReport[], of: (one: WorkerReport) => number) =>
    all.reduce((n, one) => n + of(one), 0);

  let mostSessions = 0;
  const watch = setInterval(() => {
    mostSessions = Math.max(mostSessions, sandbox.sessions(clientId));
  }, 10);
  afterTest(async () => clearInterval(watch));

  const answered = async () => sum(await reports(), ({ answers }) => answers);
  const goOn = async () => {
    const before = await answered();
    await expect.poll(answered, { timeout: 120_000 }).toBeGreaterThan(before + bots);
  };
  await expect.poll(async () => sum(await reports(), ({ open }) => open), { timeout: 120_000 }).toBe(bots);
  await goOn();
  const heal = await strike(trouble, primary, keep);
  await sleep((lives * TOKEN_S * 1_000) / 2);
  await goOn();
  await heal();
  await sleep((lives * TOKEN_S * 1_000) / 2);
  await goOn();

  const last = await reports();
  expect(last.flatMap(({ failures }) => failures)).toEqual([]);
  expect(mostSessions).toBeGreaterThan(0);
  expect(mostSessions).toBeLessThanOrEqual(2);
  const carriedOut = sandbox.orders().map(({ label }) => label);
  expect(new Set(carriedOut).size).toBe(carriedOut.length);
  for (const label of last.flatMap(({ labels }) => labels)) expect(carriedOut).toContain(label);
  const events = (name: string) => sum(last, (report) => report.events[name] ?? 0);
  return `${trouble}: ${processes} processes, ${bots} bots, ${sum(last, ({ answers }) => answers)} requests, ${mostSessions} session(s) at most, ${events('login')} logins, ${events('refresh')} refreshes, ${events('shared')} tokens taken from the store, ${events('unshared')} times without it`;
}

/** Begins the trouble; returns what ends it. */
async function strike(
  trouble: Trouble,
  primary: RedisServer,
  keep: (server: RedisServer) => RedisServer,
): Promise<() => Promise<void>> {
  const again = async () => void keep(await startRedis({ port: primary.port }));
  switch (trouble) {
    case 'killed':
      await primary.stop();
      return again;
    case 'paused':
      primary.process.kill('SIGSTOP');
      return async () => void primary.process.kill('SIGCONT');
    case 'restarted empty':
      await primary.stop();
      await again();
      return async () => {};
    case 'replica takes over':
      await primary.stop();
      return async () => {};
    default:
      return async () => {};
  }
}
