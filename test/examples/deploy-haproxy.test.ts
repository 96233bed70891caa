import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { hashOf } from '../../src/integrations/auth-server/secret-file.js';
import { afterTest } from '../support/after-test.js';
import { temporaryFolder } from '../support/cli.js';
import { openBotDesk } from '../support/desk.js';
import { builtProgram, canRun } from '../support/program.js';
import { freePort } from '../support/redis.js';

const config = fileURLToPath(new URL('../../examples/deploy/haproxy/haproxy.cfg', import.meta.url));
const hasTools = (await canRun('haproxy', '-v')) && (await canRun('openssl', 'version'));
if (!hasTools) process.stderr.write('skipped, the rolling restart behind haproxy: haproxy or openssl is not here\n');

const program = builtProgram();

/** Resolves once the child has written `text` on stderr. */
function says(child: ChildProcess, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = '';
    child.stderr?.on('data', (chunk) => {
      said += String(chunk);
      if (said.includes(text)) resolve();
    });
    child.once('close', (code) => reject(new Error(`it ended with ${code}: ${said}`)));
  });
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const closed = once(child, 'close');
  child.kill(signal);
  await closed;
  return child.exitCode;
}

test.skipIf(!hasTools)('a rolling restart of two replicas behind haproxy loses no request', async () => {
  const s = await openBotDesk();
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  const made = spawnSync('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
    ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', at('tls.key')],
    ...['-out', at('tls.crt')],
  ]);
  expect(made.status).toBe(0);
  writeFileSync(at('auth.pem'), readFileSync(at('tls.crt'), 'utf8') + readFileSync(at('tls.key'), 'utf8'));
  writeFileSync(at('clients.yaml'), JSON.stringify([{ name: 'maker', secretHash: hashOf('secret'), keys: ['bot'] }]));

  const ports = { a: await freePort(), b: await freePort(), front: await freePort(), stats: await freePort() };
  const text = readFileSync(config, 'utf8')
    .replace('10.0.0.10:7443 ssl crt /etc/haproxy/auth.pem', `127.0.0.1:${ports.front}`)
    .replace('10.0.0.11:7443', `127.0.0.1:${ports.a}`)
    .replace('10.0.0.12:7443', `127.0.0.1:${ports.b}`)
    .replace('127.0.0.1:8404', `127.0.0.1:${ports.stats}`)
    .replaceAll('/etc/haproxy/replicas.pem', at('tls.crt'));
  writeFileSync(at('haproxy.cfg'), text);

  const running = new Set<ChildProcess>();
  afterTest(async () => {
    for (const child of running) await end(child, 'SIGKILL');
  });
  const startReplica = async (name: 'a' | 'b') => {
    const tls = ['--tls-cert', at('tls.crt'), '--tls-key', at('tls.key')];
    const listen = ['--listen', `0.0.0.0:${ports[name]}`, '--secret-file', at(`${name}.secret`)];
    const child = spawn(
      process.execPath,
      [program.path, 'auth-server', 'bot', ...listen, ...tls, '--clients', at('clients.yaml')],
      { env: { PATH: process.env.PATH ?? '', DERIBIT_KEYS_DIR: s.keysDir }, stdio: ['ignore', 'ignore', 'pipe'] },
    );
    running.add(child);
    await says(child, 'running');
    return child;
  };
  const isUp = async (name: 'a' | 'b') => {
    const csv = await (await fetch(`http://127.0.0.1:${ports.stats}/stats;csv`)).text();
    return csv.split('\n').some((line) => line.startsWith(`replicas,${name},`) && line.split(',')[17] === 'UP');
  };

  const replicas = { a: await startReplica('a'), b: await startReplica('b') };
  const haproxy = spawn('haproxy', ['-db', '-f', at('haproxy.cfg')], { stdio: 'ignore' });
  running.add(haproxy);
  const poll = { timeout: 60_000 };
  const front = `http://127.0.0.1:${ports.front}`;
  await expect.poll(() => isUp('a').catch(() => false), poll).toBe(true);
  await expect.poll(() => isUp('b'), poll).toBe(true);

  const results = new Map<string, number>();
  let isOver = false;
  const work = async () => {
    while (!isOver) {
      const result = await fetch(`${front}/v1/bot/token`, {
        method: 'POST',
        headers: { authorization: 'Bearer secret', 'content-type': 'application/json' },
        body: '{"scope": "trade:read"}',
      }).then(
        async (response) => `${response.status} ${Object.keys((await response.json()) as object).join()}`,
        (error: unknown) => String(error),
      );
      results.set(result, (results.get(result) ?? 0) + 1);
      // hundreds of requests a second are enough: more would only keep the processor busy
      await delay(10);
    }
  };
  const workers = Array.from({ length: 4 }, work);
  for (const name of ['a', 'b', 'a', 'b'] as const) {
    const before = [...results.values()].reduce((sum, count) => sum + count, 0);
    await expect
      .poll(() => [...results.values()].reduce((sum, count) => sum + count, 0), poll)
      .toBeGreaterThan(before + 20);
    expect(await end(replicas[name], 'SIGTERM')).toBe(0);
    // as an operator does: the next replica is stopped once haproxy has seen this one go and come back
    await expect.poll(() => isUp(name), poll).toBe(false);
    replicas[name] = await startReplica(name);
    await expect.poll(() => isUp(name), poll).toBe(true);
  }
  isOver = true;
  await Promise.all(workers);
  expect([...results.keys()]).toEqual(['200 accessToken,expiresAt,scope']);
});
