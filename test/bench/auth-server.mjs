// `deribit-keys auth-server` hands out a cached token, beside a bare server that answers a constant of the same length:
// requests per second and latency by the same clients, and the CPU time of both servers. Then its memory over many
// requests (`REQUESTS=200000`), and whether connections that are idle or slow change what the others are answered.
import { fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Pool } from 'undici';
import { median, roundsOf, row } from './measure.mjs';

const ROUNDS = roundsOf(7);
const REQUESTS = 5_000;
const MANY_REQUESTS = Number(process.env.REQUESTS ?? 200_000);
const AT_ONCE = 32;
const IDLE = 1_000;
const file = (name) => fileURLToPath(new URL(name, import.meta.url));
const program = file('../../dist/bin/deribit-keys.cjs');

/** A server in a process of its own, which prints its address as its first line, and what it has used so far. */
async function serve(script, words, env = process.env) {
  const execArgv = ['--expose-gc', '--import', file('./auth-server/measured.mjs')];
  const child = fork(script, words, { env, stdio: ['ignore', 'pipe', 'inherit', 'ipc'], execArgv });
  const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`${script} ended with ${code}`)));
  ended.catch(() => {});
  const [line] = await Promise.race([once(createInterface(child.stdout), 'line'), ended]);
  return {
    ...JSON.parse(line),
    async usage() {
      child.send('usage');
      return (await once(child, 'message'))[0];
    },
    async stop() {
      // the channel would keep it alive
      child.disconnect();
      child.kill();
      await once(child, 'exit');
    },
  };
}

/** Sends `count` requests, `AT_ONCE` at a time; their rate, and the latency that 99 of 100 stay under. */
async function load({ pool, headers, length }, count) {
  const latencies = [];
  let sent = 0;
  const client = async () => {
    while (sent < count) {
      sent += 1;
      const startMs = performance.now();
      const { statusCode, body } = await pool.request({ method: 'POST', path: '/v1/bot/token', headers });
      const text = await body.text();
      if (statusCode !== 200 || text.length !== length) throw new Error(`answered ${statusCode}: ${text}`);
      latencies.push(performance.now() - startMs);
    }
  };
  const startMs = performance.now();
  await Promise.all(Array.from({ length: AT_ONCE }, client));
  const perSecond = (count * 1_000) / (performance.now() - startMs);
  return { perSecond, p99Ms: latencies.sort((a, b) => a - b)[Math.floor(count * 0.99)] };
}

async function measured(contender, count) {
  const before = await contender.server.usage();
  const result = await load(contender, count);
  const after = await contender.server.usage();
  return {
    ...result,
    cpuMs: after.cpuMs - before.cpuMs,
    heapRatio: after.heapMiB / before.heapMiB,
    heap: after.heapMiB,
  };
}

async function besideBare(ours, bare) {
  for (const contender of [ours, bare]) await load(contender, REQUESTS);
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const results = {};
    for (const name of round % 2 === 0 ? ['ours', 'bare'] : ['bare', 'ours']) {
      results[name] = await measured(name === 'ours' ? ours : bare, REQUESTS);
    }
    rounds.push(results);
  }
  const of = (name, figure) => median(rounds.map((results) => results[name][figure]));
  const ratioOf = (ratio) => median(rounds.map(ratio));
  const each = (name) => `${((of(name, 'cpuMs') * 1_000) / REQUESTS).toFixed(0)} µs`;
  return [
    row(
      'cached tokens of the auth server, beside a bare node:http server: requests/s',
      ratioOf((results) => results.ours.perSecond / results.bare.perSecond),
      { atLeast: 0.5 },
      `${of('ours', 'perSecond').toFixed(0)}/s : ${of('bare', 'perSecond').toFixed(0)}/s`,
    ),
    row(
      'the same, CPU time of the server for a request',
      ratioOf((results) => results.ours.cpuMs / results.bare.cpuMs),
      { atMost: 2 },
      `${each('ours')} : ${each('bare')}`,
    ),
    row(
      'the same, 99th percentile of the latency',
      ratioOf((results) => results.ours.p99Ms / results.bare.p99Ms),
      null,
      `${of('ours', 'p99Ms').toFixed(1)} ms : ${of('bare', 'p99Ms').toFixed(1)} ms, ${AT_ONCE} at once`,
    ),
  ];
}

async function memory(ours) {
  const { heapRatio, heap } = await measured(ours, MANY_REQUESTS);
  return row(`the heap after ${MANY_REQUESTS} more requests`, heapRatio, { atMost: 1.1 }, `${heap.toFixed(1)} MiB`);
}

/** Connections that send nothing, and as many that send half a request, opened again whenever the server ends them. */
async function besideIdleConnections(ours) {
  const quiet = await load(ours, REQUESTS);
  const { port } = new URL(ours.server.url);
  const sockets = new Set();
  const open = (text) => {
    const socket = connect(port, '127.0.0.1').resume();
    socket.on('error', () => {});
    socket.on('close', () => {
      if (sockets.delete(socket)) open(text);
    });
    sockets.add(socket);
    if (text !== '') socket.write(text);
    return once(socket, 'connect');
  };
  const half = `POST /v1/bot/token HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n`;
  await Promise.all(Array.from({ length: IDLE }, (_, index) => open(index % 2 === 0 ? '' : half)));
  const crowded = await load(ours, REQUESTS);
  const left = [...sockets];
  sockets.clear();
  for (const socket of left) socket.destroy();
  return row(
    `requests/s beside ${IDLE} connections that are idle or send half a request; every answer as before`,
    crowded.perSecond / quiet.perSecond,
    null,
    `${crowded.perSecond.toFixed(0)}/s : ${quiet.perSecond.toFixed(0)}/s`,
  );
}

/** A keystore with one key that the exchange knows. */
async function linkedKey(folder) {
  const env = { ...process.env, DERIBIT_KEYS_DIR: join(folder, 'keys') };
  const run = (...words) => {
    const { status, stderr } = spawnSync(process.execPath, [program, ...words], { env, encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
  };
  run('generate', 'bot');
  const exchange = fork(file('./sandbox-process.mjs'), [], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  exchange.send({ publicKey: readFileSync(join(env.DERIBIT_KEYS_DIR, 'bot.pub.pem'), 'utf8') });
  const [{ wsUrl, clientId }] = await once(exchange, 'message');
  run('link', 'bot', '--client-id', clientId, '--url', wsUrl);
  return { env, exchange };
}

/** The server, and what its clients need; `length` is that of an answer. */
async function contender(server, headers) {
  const pool = new Pool(server.url, { connections: AT_ONCE });
  const { body } = await pool.request({ method: 'POST', path: '/v1/bot/token', headers });
  return { server, pool, headers, length: (await body.text()).length };
}

export async function bench() {
  const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-bench-'));
  const ends = [() => rmSync(folder, { recursive: true, force: true })];
  try {
    const { env, exchange } = await linkedKey(folder);
    ends.push(() => exchange.kill());
    const words = ['auth-server', 'bot', '--listen', '127.0.0.1:0', '--json'];
    const server = await serve(program, words, env);
    ends.push(server.stop);
    const headers = { authorization: `Bearer ${readFileSync(server.secretFile, 'utf8').trim()}` };
    const ours = await contender(server, headers);
    ends.push(() => ours.pool.destroy());
    const bareServer = await serve(file('./auth-server/bare.mjs'), [String(ours.length)]);
    ends.push(bareServer.stop);
    const bare = await contender(bareServer, headers);
    ends.push(() => bare.pool.destroy());
    return [...(await besideBare(ours, bare)), await memory(ours), await besideIdleConnections(ours)];
  } finally {
    for (const end of ends.reverse()) await end();
  }
}
