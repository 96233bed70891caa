import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { Agent, type IncomingMessage, request } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { startAuthServer } from '../../src/integrations/auth-server/auth-server.js';
import { clientOf, narrowedScope, parseClients } from '../../src/integrations/auth-server/clients.js';
import {
  isLocal,
  type ListenAddress,
  parseListen,
  passedSocket,
} from '../../src/integrations/auth-server/local-http.js';
import { bearerOf, hashOf, isSameHash } from '../../src/integrations/auth-server/secret-file.js';
import type { ServedKey } from '../../src/integrations/auth-server/served-key.js';
import { ManagedSession } from '../../src/integrations/ccxt/rest.js';
import type { Session } from '../../src/session/index.js';
import { memoryTokenStore } from '../../src/session/token-store.js';
import { world } from '../session/support.js';
import { afterTest } from '../support/after-test.js';
import { type CliResult, temporaryFolder } from '../support/cli.js';
import { type BotDesk, isTaken, openBotDesk } from '../support/desk.js';

const noMetrics = !existsSync(new URL('../../node_modules/prom-client', import.meta.url));
if (noMetrics) process.stderr.write('skipped, tests of metrics: the package prom-client is not installed\n');

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Record<string, unknown> & { readonly error?: Record<string, string> };
}

interface Ask {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

/** What the program's first line says, and how to ask and stop it. */
interface Running {
  readonly url: string;
  readonly secretFile: string;
  readonly names: readonly string[];
  readonly secret: string;
  readonly socketPath: string | undefined;
  readonly metricsUrl: string | null;
  stop(): Promise<CliResult>;
}

async function start(s: BotDesk, ...argv: readonly string[]): Promise<Running> {
  const abort = new AbortController();
  let ended: Promise<CliResult> | null = null;
  const first = await new Promise<string>((resolve, reject) => {
    ended = s.run(['auth-server', '--json', ...argv], {
      signal: abort.signal,
      onStdout: (text) => text.includes('\n') && resolve(text),
    });
    ended.then(({ stderr }) => reject(new Error(stderr)), reject);
  });
  const { url, secretFile, names, metricsUrl } = JSON.parse(first) as Running;
  const stop = async () => {
    abort.abort();
    return (await ended) as CliResult;
  };
  afterTest(stop);
  const secret = readFileSync(secretFile, 'utf8').trim();
  return { url, metricsUrl, secretFile, names, secret, socketPath: /^unix:(.*)/.exec(url)?.[1], stop };
}

function ask(running: Running, { method = 'POST', path, headers, body }: Ask): Promise<Reply> {
  const place =
    running.socketPath === undefined ? new URL(path, running.url) : { socketPath: running.socketPath, path };
  return new Promise((resolve, reject) => {
    const all = { authorization: `Bearer ${running.secret}`, ...headers };
    const sent = request({ ...toOptions(place), method, headers: all, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: JSON.parse(text) as Reply['body'],
        });
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

function toOptions(place: URL | { socketPath: string; path: string }) {
  if (!(place instanceof URL)) return place;
  return { host: place.hostname, port: place.port, path: place.pathname + place.search };
}

const JSON_TYPE = { 'content-type': 'application/json' };

describe('auth-server', () => {
  test('serves valid tokens and signed logins that the exchange accepts', async () => {
    const s = await openBotDesk();
    const running = await start(s, 'bot', 'bot');
    expect(running.names).toEqual(['bot']);
    expect(running.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(statSync(running.secretFile).mode & 0o777).toBe(0o600);

    const token = await ask(running, { path: '/v1/bot/token' });
    expect(token).toMatchObject({ status: 200, headers: { 'cache-control': 'no-store' } });
    expect(token.body).toEqual({
      accessToken: expect.any(String),
      expiresAt: expect.stringMatching(/Z$/),
      scope: expect.stringContaining('trade:read_write'),
    });
    expect(await isTaken(s.sandbox, String(token.body.accessToken))).toBe(true);
    expect((await ask(running, { path: '/v1/bot/token', body: '{}', headers: JSON_TYPE })).body).toEqual(token.body);

    const wanted = JSON.stringify({ scope: 'account:read', nonce: 'abc', data: 'd', state: 's' });
    const params = await ask(running, { path: '/v1/bot/auth-params', body: wanted, headers: JSON_TYPE });
    expect(params.body).toMatchObject({
      grant_type: 'client_signature',
      client_id: s.clientId,
      nonce: 'abc',
      data: 'd',
      scope: 'account:read',
      state: 's',
    });
    const login = await fetch(`${s.sandbox.httpUrl}/public/auth`, {
      method: 'POST',
      body: JSON.stringify(params.body),
    });
    expect(login.status).toBe(200);
    expect(await running.stop()).toMatchObject({ exitCode: 0, stderr: '' });
    expect(existsSync(running.secretFile)).toBe(false);
  });

  test('refuses whoever lacks the secret, and whatever a browser could send', async () => {
    const s = await openBotDesk();
    const running = await start(s, 'bot');
    const path = '/v1/bot/token';
    const { port } = new URL(running.url);
    const cases: readonly (readonly [number, Ask])[] = [
      [401, { path, headers: { authorization: '' } }],
      [401, { path, headers: { authorization: 'Bearer ' } }],
      [401, { path, headers: { authorization: `Basic ${running.secret}` } }],
      [401, { path, headers: { authorization: `Bearer ${running.secret}x` } }],
      [401, { path: '/v1/nobody/token', headers: { authorization: 'Bearer wrong' } }],
      [403, { path, headers: { host: `attacker.example:${port}` } }],
      [403, { path, headers: { host: '127.0.0.1' } }],
      [403, { path, headers: { origin: 'http://127.0.0.1' } }],
      [403, { path, headers: { origin: 'null' } }],
      [403, { path, headers: { 'sec-fetch-site': 'cross-site' } }],
      [404, { path: '/v1/nobody/token' }],
      [404, { path: '/v1/bot/secret' }],
      [404, { path: '/v1/bot/token/' }],
      [404, { path: '/v1/../bot/token?x' }],
      [404, { path: '/' }],
      [405, { path, method: 'GET' }],
      [405, { path, method: 'DELETE' }],
      [413, { path, body: `"${'x'.repeat(9_000)}"`, headers: JSON_TYPE }],
      [415, { path, body: '{}', headers: { 'content-type': 'text/plain' } }],
      [415, { path, body: '{}' }],
      [400, { path, body: '{', headers: JSON_TYPE }],
      [400, { path, body: '[]', headers: JSON_TYPE }],
      [400, { path, body: '{"scope":"x"}', headers: JSON_TYPE }],
      [400, { path: '/v1/bot/auth-params', body: '{"timestamp":1}', headers: JSON_TYPE }],
      [400, { path: '/v1/bot/auth-params', body: '{"nonce":7}', headers: JSON_TYPE }],
      [400, { path: '/v1/bot/auth-params', body: '{"nonce":"a\\nb"}', headers: JSON_TYPE }],
      [400, { path: '/v1/bot/auth-params', body: '{"scope":"everything"}', headers: JSON_TYPE }],
      [400, { path: '/v1/bot/auth-params', body: `{"data":"${'x'.repeat(1_025)}"}`, headers: JSON_TYPE }],
    ];
    for (const [status, question] of cases) {
      const reply = await ask(running, question);
      expect({ question, status: reply.status }).toEqual({ question, status });
      expect(reply.body.error?.code).toMatch(/^ERR_/);
      expect(JSON.stringify(reply.body)).not.toContain(running.secret);
    }
    expect(s.calls()).toEqual([]);
    expect((await ask(running, { path, headers: { host: `localhost:${port}` } })).status).toBe(200);
  });

  test('says what the exchange says, asks it no more than it must, and recovers', async () => {
    const s = await openBotDesk({ faults: [] });
    const running = await start(s, 'bot');
    s.sandbox.setFaults(['refuse-loginx1']);
    const replies = await Promise.all(Array.from({ length: 5 }, () => ask(running, { path: '/v1/bot/token' })));
    expect(replies.map(({ status }) => status)).toEqual([502, 502, 502, 502, 502]);
    expect(replies[0]?.body.error).toMatchObject({ code: 'ERR_UNAUTHORIZED', hint: expect.any(String) });
    expect((await ask(running, { path: '/v1/bot/token' })).status).toBe(502);
    expect(s.calls().filter((call) => call.startsWith('public/auth'))).toEqual(['public/auth 13004']);
  });

  test('listens on a Unix socket that only its owner may use, and replaces a dead one', async () => {
    const s = await openBotDesk();
    const path = join(temporaryFolder(), 'auth.sock');
    const first = await start(s, 'bot', '--listen', `unix:${path}`, '--secret-file', `${path}.secret`);
    expect(first).toMatchObject({ url: `unix:${path}`, secretFile: `${path}.secret` });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect((await ask(first, { path: '/v1/bot/token', headers: { host: 'anything' } })).status).toBe(200);
    const taken = await s.run(['auth-server', 'bot', '--listen', `unix:${path}`, '--json']);
    expect(taken).toMatchObject({ exitCode: 1, stdout: '' });
    expect(taken.error()).toMatchObject({ code: 'ERR_LISTEN', hint: expect.any(String) });
    await first.stop();
    expect(existsSync(path)).toBe(false);

    await leaveDeadSocket(path);
    expect(existsSync(path)).toBe(true);
    const second = await start(s, 'bot', '--listen', `unix:${path}`);
    expect((await ask(second, { path: '/v1/bot/token' })).status).toBe(200);
    await second.stop();

    writeFileSync(path, 'mine');
    expect((await s.run(['auth-server', 'bot', '--listen', `unix:${path}`])).exitCode).toBe(1);
    expect(readFileSync(path, 'utf8')).toBe('mine');
  });

  test('does not start without a free port, a free file for its secret, or a key that is registered', async () => {
    const s = await openBotDesk();
    const running = await start(s, 'bot');
    const { host } = new URL(running.url);
    const run = async (...argv: string[]) => (await s.run(['auth-server', '--json', ...argv])).error().code;
    expect(await run('bot', '--listen', host)).toBe('ERR_LISTEN');
    if (!noMetrics) {
      // nothing is left that would keep the process from its end
      const socket = join(temporaryFolder(), 'socket');
      expect(await run('bot', '--listen', `unix:${socket}`, '--metrics-listen', host)).toBe('ERR_LISTEN');
      expect(existsSync(socket)).toBe(false);
    }
    expect(await run('bot', '--secret-file', running.secretFile)).toBe('ERR_KEYSTORE_IO');
    expect(existsSync(running.secretFile)).toBe(true);
    expect(await run('nobody')).toBe('ERR_NO_SUCH_NAME');
    for (const listen of [
      '0.0.0.0:0',
      '127.0.0.2.example:1',
      ':80',
      '127.0.0.1',
      '127.0.0.1:99999',
      `unix:/${'x'.repeat(200)}`,
    ]) {
      expect(await run('bot', '--listen', listen)).toBe('ERR_USAGE');
    }
  });

  test('signs by the exchange’s clock once a login has compared it', async () => {
    const s = await openBotDesk({ faults: ['clock:600000'] });
    const running = await start(s, 'bot');
    await ask(running, { path: '/v1/bot/token' });
    const params = await ask(running, { path: '/v1/bot/auth-params' });
    expect(Number(params.body.timestamp) - Date.now()).toBeGreaterThan(590_000);
  });

  test('hands out tokens of the successor at once after a rotation, and never the dead one', async () => {
    const s = await openBotDesk();
    const running = await start(s, 'bot');
    const before = await ask(running, { path: '/v1/bot/token' });
    const login = ['--client-id', s.sandbox.clientId];
    const env = { DERIBIT_CLIENT_SECRET: s.sandbox.clientSecret };
    expect((await s.run(['rotate', 'bot', '--yes', ...login], { env })).exitCode).toBe(0);
    const after = await ask(running, { path: '/v1/bot/token' });
    expect(after.body.accessToken).not.toBe(before.body.accessToken);
    expect(await isTaken(s.sandbox, String(before.body.accessToken))).toBe(false);
    expect(await isTaken(s.sandbox, String(after.body.accessToken))).toBe(true);
    const params = await ask(running, { path: '/v1/bot/auth-params' });
    expect(params.body.client_id).not.toBe(s.clientId);
  });

  test('replaces a token that the exchange refused, once for all who report it', async () => {
    const s = await openBotDesk();
    const running = await start(s, 'bot');
    const { body: first } = await ask(running, { path: '/v1/bot/token' });
    const report = { path: '/v1/bot/token', headers: JSON_TYPE, body: JSON.stringify({ refused: first.accessToken }) };
    const replies = await Promise.all(Array.from({ length: 5 }, () => ask(running, report)));
    expect(new Set(replies.map(({ body }) => body.accessToken)).size).toBe(1);
    expect(replies[0]?.body.accessToken).not.toBe(first.accessToken);
    expect(s.calls().filter((call) => call.startsWith('public/auth'))).toHaveLength(2);
  });

  test('tells probes how it is, without a secret, through an outage of the exchange', async () => {
    const s = await openBotDesk();
    const running = await start(s, 'bot', '--log-format', 'json');
    const anonymous = { authorization: '' };
    expect((await ask(running, { method: 'GET', path: '/healthz', headers: anonymous })).body).toEqual({ ok: true });
    const ready = await ask(running, { method: 'GET', path: '/readyz', headers: anonymous });
    expect(ready).toMatchObject({
      status: 200,
      body: { ready: true, keys: [{ name: 'bot', ready: true, tokenExpiresInS: expect.any(Number), error: null }] },
    });
    s.sandbox.setFaults(['refuse-login']);
    const { body } = await ask(running, { path: '/v1/bot/token' });
    const refused = { path: '/v1/bot/token', headers: JSON_TYPE, body: JSON.stringify({ refused: body.accessToken }) };
    expect((await ask(running, refused)).status).toBe(502);
    const { stderr, exitCode } = await running.stop();
    expect(exitCode).toBe(0);
    const lines = stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.at(-1)).toMatchObject({
      client: 'owner',
      method: 'POST',
      path: '/v1/bot/token',
      status: 502,
      error: 'ERR_UNAUTHORIZED',
    });
    for (const secret of [running.secret, String(body.accessToken)]) expect(stderr).not.toContain(secret);
  });

  test('is not ready while the exchange is away, and is again when it is back', async () => {
    const s = await openBotDesk();
    const running = await start(s, 'bot');
    const probe = () => ask(running, { method: 'GET', path: '/readyz' });
    await s.sandbox.close();
    expect(await probe()).toMatchObject({ status: 503, body: { ready: false, keys: [{ ready: false }] } });
    expect((await ask(running, { path: '/v1/bot/token' })).status).toBe(502);
    expect((await ask(running, { method: 'GET', path: '/healthz' })).status).toBe(200);
  });

  test.skipIf(noMetrics)('serves metrics to the owner of the secret', async () => {
    const s = await openBotDesk();
    const running = await start(s, 'bot');
    await ask(running, { path: '/v1/bot/token' });
    const url = `${running.url}/metrics`;
    expect((await fetch(url)).status).toBe(401);
    const text = await (await fetch(url, { headers: { authorization: `Bearer ${running.secret}` } })).text();
    expect(text).toContain('deribit_keys_logins_total{key="bot"} 1');
    expect(text).toMatch(/deribit_keys_token_expiry_timestamp_seconds\{key="bot"\} \d+/);
    expect(text).toContain('deribit_keys_requests_total{client="owner",route="token",status="200"} 1');
    expect(text).toContain('deribit_keys_request_duration_seconds_bucket');
    expect(text).not.toContain(running.secret);
  });

  test.skipIf(noMetrics)('answers probes and metrics on an address of their own, without a secret', async () => {
    const s = await openBotDesk();
    const { metricsUrl } = await start(s, 'bot', '--metrics-listen', '127.0.0.1:0');
    const at = async (path: string) => (await fetch(`${metricsUrl}${path}`)).status;
    expect(await Promise.all(['/healthz', '/readyz', '/metrics'].map(at))).toEqual([200, 200, 200]);
    expect(await at('/v1/bot/token')).toBe(404);
    expect((await fetch(`${metricsUrl}/metrics`, { method: 'POST' })).status).toBe(404);
  });

  test.skipIf(noMetrics)('shows when a key is due for rotation by a policy, and takes a changed policy', async () => {
    const s = await openBotDesk();
    const policy = join(temporaryFolder(), 'policy.yaml');
    const write = (words: string) => writeFileSync(policy, `keys:\n  - name: bot\n    scope: trade:read\n${words}`);
    write('    maxAge: 30d\n');
    const { metricsUrl } = await start(s, 'bot', '--metrics-listen', '127.0.0.1:0', '--policy', policy);
    const shown = async (metric: string) => {
      await fetch(`${metricsUrl}/readyz`);
      const text = await (await fetch(`${metricsUrl}/metrics`)).text();
      const [, value] = new RegExp(`^deribit_keys_${metric}\\{key="bot"\\} (\\S+)`, 'm').exec(text) ?? [];
      return value === undefined ? null : Number(value);
    };
    const registered = Number(await shown('key_registered_timestamp_seconds'));
    expect(await shown('key_rotation_due_timestamp_seconds')).toBeCloseTo(registered + 30 * 86_400, 1);
    write('');
    await expect.poll(() => shown('key_rotation_due_timestamp_seconds'), { timeout: 60_000 }).toBeNull();
    expect(await shown('key_registered_timestamp_seconds')).toBe(registered);
  });

  test('serves each client its keys and scopes, and applies a changed file at once', async () => {
    const s = await openBotDesk();
    const file = join(temporaryFolder(), 'clients.yaml');
    const client = (name: string, secret: string, more: object) => ({ name, secretHash: hashOf(secret), ...more });
    const reader = client('reader', 'reader-secret', { keys: ['bot'], scopes: 'account:read' });
    writeFileSync(file, JSON.stringify([reader, client('none', 'none-secret', { keys: [] })]));
    const running = await start(s, 'bot', '--clients', file);
    const as = (secret: string, path = '/v1/bot/token', body?: object) =>
      ask(running, {
        path,
        headers: { authorization: `Bearer ${secret}`, ...(body === undefined ? {} : JSON_TYPE) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    const narrow = await as('reader-secret');
    expect(narrow.status).toBe(200);
    expect(narrow.body.scope).not.toContain('trade:read_write');
    expect((await as('reader-secret', '/v1/bot/token', { scope: 'account:read_write' })).body.scope).toContain(
      'account:read',
    );
    expect((await as('reader-secret', '/v1/bot/token', { scope: 'trade:read' })).status).toBe(403);
    expect((await as('reader-secret', '/v1/bot/auth-params')).status).toBe(403);
    expect((await as('none-secret')).status).toBe(403);
    expect((await as('new-secret')).status).toBe(401);
    expect((await as(running.secret)).body.scope).toContain('trade:read_write');
    writeFileSync(file, JSON.stringify([client('fresh', 'new-secret', {})]));
    await expect.poll(async () => (await as('new-secret')).status, { timeout: 60_000 }).toBe(200);
    expect((await as('reader-secret')).status).toBe(401);
  });

  test('listens for other machines with TLS only, and asks for client certificates', async () => {
    const s = await openBotDesk();
    const folder = temporaryFolder();
    const at = (name: string) => join(folder, name);
    const made = spawnSync('openssl', [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost'],
      ...['-addext', 'subjectAltName=DNS:localhost', '-keyout', at('tls.key'), '-out', at('tls.crt')],
    ]);
    if (made.status !== 0) return;
    const open = await s.run(['auth-server', 'bot', '--json', '--listen', '0.0.0.0:0']);
    expect(open).toMatchObject({ exitCode: 2 });
    const tls = ['--tls-cert', at('tls.crt'), '--tls-key', at('tls.key')];
    const running = await start(s, 'bot', '--listen', '0.0.0.0:0', ...tls);
    const cert = readFileSync(at('tls.crt'), 'utf8');
    const key = readFileSync(at('tls.key'), 'utf8');
    const call = (running: Running, more: object = {}) =>
      new Promise<number>((resolve, reject) => {
        const { port } = new URL(running.url);
        const headers = { authorization: `Bearer ${running.secret}` };
        const sent = httpsRequest(
          { host: 'localhost', port, path: '/v1/bot/token', method: 'POST', headers, ca: cert, agent: false, ...more },
          (response) => {
            response.resume().on('end', () => resolve(response.statusCode ?? 0));
          },
        );
        sent.on('error', reject);
        sent.end();
      });
    expect(await call(running)).toBe(200);
    const mutual = await start(s, 'bot', '--listen', '127.0.0.1:0', ...tls, '--client-ca', at('tls.crt'));
    await expect(call(mutual)).rejects.toThrow();
    expect(await call(mutual, { cert, key })).toBe(200);
    const half = await s.run(['auth-server', 'bot', '--json', '--tls-cert', at('tls.crt')]);
    expect(half.error().code).toBe('ERR_USAGE');
  });

  test('uses the secret file again that a killed server left, and cleans up after others', async () => {
    const s = await openBotDesk();
    const file = join(temporaryFolder(), 'server.secret');
    const secret = 'x'.repeat(43);
    writeFileSync(file, `${secret}\n`, { mode: 0o600 });
    writeFileSync(join(s.keysDir, '.auth-server.0123abcd.secret'), `${secret}\n`, { mode: 0o600 });
    const running = await start(s, 'bot', '--secret-file', file);
    expect(running.secret).toBe(secret);
    const other = await start(s, 'bot');
    expect(existsSync(join(s.keysDir, '.auth-server.0123abcd.secret'))).toBe(false);
    expect((await ask(other, { path: '/v1/bot/token' })).status).toBe(200);
    writeFileSync(file, 'something else\n', { mode: 0o600 });
    await running.stop();
    expect(readFileSync(file, 'utf8')).toBe('something else\n');
    expect((await s.run(['auth-server', 'bot', '--json', '--secret-file', file])).error().code).toBe('ERR_KEYSTORE_IO');
  });

  test('lets one of several servers take the place of a dead socket', async () => {
    const s = await openBotDesk();
    const path = join(temporaryFolder(), 'auth.sock');
    await leaveDeadSocket(path);
    const starts = await Promise.allSettled(
      Array.from({ length: 3 }, () => start(s, 'bot', '--listen', `unix:${path}`)),
    );
    const running = starts.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    expect(running).toHaveLength(1);
    const [only] = running;
    if (only !== undefined) expect((await ask(only, { path: '/v1/bot/token' })).status).toBe(200);
  });
});

test('a draining server answers what is under way, and tells its client not to use the connection again', async () => {
  let isAsked = () => {};
  let letGo = () => {};
  const asked = new Promise<void>((resolve) => {
    isAsked = resolve;
  });
  const login = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const key: ServedKey = {
    name: 'bot',
    version: () => '1',
    timestampMs: () => Date.now(),
    login: async () => ({
      purpose: { clientId: 'id', fingerprint: 'aa', url: 'http://localhost', scope: null },
      registeredAtMs: null,
      dueAtMs: null,
      credentials: () => Promise.reject(new Error('not asked for')),
      async renew() {
        isAsked();
        await login;
        const nowMs = Date.now();
        return {
          accessToken: 'token',
          refreshToken: null,
          issuedAtMs: nowMs,
          expiresAtMs: nowMs + 900_000,
          scope: 'account:read',
        };
      },
    }),
  };
  const address: ListenAddress = { kind: 'tcp', host: '127.0.0.1', port: 0 };
  const server = await startAuthServer({ keys: [key], address, secret: 'secret', store: memoryTokenStore() });
  const agent = new Agent({ keepAlive: true });
  afterTest(async () => agent.destroy());
  const reply = new Promise<IncomingMessage>((resolve, reject) => {
    const headers = { authorization: 'Bearer secret' };
    request(`${server.url}/v1/bot/token`, { method: 'POST', headers, agent }, resolve).on('error', reject).end();
  });
  await asked;
  const closed = server.close();
  letGo();
  const { statusCode, headers } = await reply;
  expect([statusCode, headers.connection]).toEqual([200, 'close']);
  await closed;
});

test('a draining server does not wait for requests that never come as far as their headers', async () => {
  const address: ListenAddress = { kind: 'tcp', host: '127.0.0.1', port: 0 };
  const server = await startAuthServer({ keys: [], address, secret: 'secret', store: memoryTokenStore() });
  const port = Number(new URL(server.url).port);
  const sockets = ['', 'POST /v1/bot/token HTTP/1.1\r\nX: '].map((text) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    afterTest(async () => void socket.destroy());
    socket.on('error', () => {}).resume();
    return {
      open: new Promise((resolve) => socket.once('connect', resolve)),
      closed: new Promise((resolve) => socket.once('close', resolve)),
    };
  });
  await Promise.all(sockets.map(({ open }) => open));
  await server.close({ drainMs: 600_000 });
  await Promise.all(sockets.map(({ closed }) => closed));
});

test('connections that send half a request, or nothing, are ended and leave their places to others', async () => {
  const s = await openBotDesk();
  const running = await start(s, 'bot', '--listen', '127.0.0.1:0');
  const port = Number(new URL(running.url).port);
  const head = `POST /v1/bot/auth-params HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n`;
  const body = `Authorization: Bearer ${running.secret}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{`;
  const halves = ['', head, head + body];
  const ended = Array.from({ length: 300 }, (_, index) => {
    const socket = connect(port, '127.0.0.1');
    afterTest(async () => void socket.destroy());
    socket.on('error', () => {});
    socket.resume().write(halves[index % halves.length] ?? '');
    return {
      open: new Promise((resolve) => socket.once('connect', resolve)),
      closed: new Promise((resolve) => socket.once('close', resolve)),
    };
  });
  await Promise.all(ended.map(({ open }) => open));
  await Promise.all(ended.map(({ closed }) => closed));
  expect((await ask(running, { path: '/v1/bot/auth-params' })).status).toBe(200);
});

async function leaveDeadSocket(path: string): Promise<void> {
  const { fork } = await import('node:child_process');
  const script = join(temporaryFolder(), 'dead.cjs');
  writeFileSync(
    script,
    `require('node:net').createServer().listen(process.argv[2], () => process.kill(process.pid, 'SIGKILL'))`,
  );
  await new Promise((resolve) => fork(script, [path]).once('exit', resolve));
}

describe('its context', () => {
  test('a bearer secret is accepted complete or not at all', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[\x21-\x7e]{1,60}$/), fc.string(), (secret, other) => {
        const hash = hashOf(secret);
        expect(isSameHash(hashOf(bearerOf(`Bearer ${secret}`)), hash)).toBe(true);
        expect(isSameHash(hashOf(bearerOf(`bearer  ${secret} `)), hash)).toBe(true);
        expect(isSameHash(hashOf(bearerOf(`Bearer ${other}`)), hash)).toBe(other.trim() === secret);
        expect(isSameHash(hashOf(bearerOf(other)), hash)).toBe(false);
      }),
    );
    expect(bearerOf(undefined)).toBe('');
  });

  test('a clients file is read strictly, and errors show none of its values', () => {
    const hash = hashOf('s');
    const read = (text: string) => parseClients(text, 'clients.yaml', ['bot']);
    expect(read(`[{name: a, secretHash: 'sha256:${hash}', scopes: [account:read, trade:read]}]`)).toEqual([
      { name: 'a', secretHash: hash, keys: null, scopes: 'account:read trade:read' },
    ]);
    expect(clientOf(read(`clients:\n- name: a\n  secretHash: ${hash}\n  keys: [bot]`), hash)?.name).toBe('a');
    for (const text of [
      '',
      '{}',
      '[]',
      '[1]',
      '{',
      `[{name: a, secretHash: canary}]`,
      `[{name: 'a b', secretHash: ${hash}}]`,
      `[{name: a, secretHash: ${hash}, keys: [nobody]}]`,
      `[{name: a, secretHash: ${hash}, scopes: everything}]`,
      `[{name: a, secretHash: ${hash}, secret: canary}]`,
      `[{name: a, secretHash: ${hash}}, {name: a, secretHash: ${hash}}]`,
    ]) {
      expect(() => read(text)).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
      expect(() => read(text)).not.toThrow(/canary/);
    }
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          read(text);
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_USAGE' });
        }
      }),
    );
  });

  test('a scope is narrowed to the lower level of each resource', () => {
    expect(narrowedScope(undefined, null)).toBeUndefined();
    expect(narrowedScope(undefined, 'account:read')).toBe('account:read');
    expect(narrowedScope('trade:read_write', null)).toBe('trade:read_write');
    expect(narrowedScope('trade:read_write account:read', 'trade:read account:read_write')?.split(' ').sort()).toEqual([
      'account:read',
      'trade:read',
    ]);
    expect(narrowedScope('trade:read', 'account:read')).toBeNull();
    // no session and no access of its own choice, but a shorter life and one address
    const words = 'trade:read session:other connection mainaccount expires:60 ip:10.0.0.1';
    expect(narrowedScope(words, 'trade:read_write')).toBe('expires:60 ip:10.0.0.1 trade:read');
    expect(narrowedScope('trade:read session:maker', 'trade:read session:maker')).toBe('session:maker trade:read');
    expect(narrowedScope('session:maker', 'trade:read session:maker')).toBeNull();
  });

  test('an address is read, or refused', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          expect(['tcp', 'unix']).toContain(parseListen(text).kind);
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_USAGE' });
        }
      }),
    );
    expect(parseListen('localhost:0')).toEqual({ kind: 'tcp', host: 'localhost', port: 0 });
    expect(parseListen('[::1]:7')).toEqual({ kind: 'tcp', host: '::1', port: 7 });
    const local = (text: string) => isLocal(parseListen(text));
    expect(['127.0.0.1:1', 'localhost:1', '[::1]:1', 'unix:/x'].map(local)).toEqual([true, true, true, true]);
    expect(['0.0.0.0:1', '10.0.0.1:1', '[::]:1', 'localhost.example:1'].map(local)).toEqual([
      false,
      false,
      false,
      false,
    ]);
  });

  test('a socket that systemd passed is taken by the process that it is for', () => {
    expect(passedSocket({ LISTEN_PID: '7', LISTEN_FDS: '1' }, 7)).toEqual({ kind: 'fd', fd: 3 });
    expect(passedSocket({ LISTEN_PID: '8', LISTEN_FDS: '1' }, 7)).toBeNull();
    expect(passedSocket({}, 7)).toBeNull();
  });

  test('a session that has ended is opened anew', async () => {
    const w = await world();
    const sessions: Session[] = [];
    const lasting = new ManagedSession(async () => {
      const session = await w.open({ url: w.sandbox.httpUrl });
      sessions.push(session);
      return session;
    });
    afterTest(async () => (await lasting.get()).close());
    await lasting.get();
    await sessions[0]?.close();
    await (await lasting.get()).accessToken();
    expect(sessions).toHaveLength(2);
  });
});
