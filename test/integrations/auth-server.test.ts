import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DeribitKeysError } from '../../src/errors.js';
import { startAuthServer } from '../../src/integrations/auth-server/auth-server.js';
import { presents } from '../../src/integrations/auth-server/bearer.js';
import { parseListen } from '../../src/integrations/auth-server/listen.js';
import type { Session } from '../../src/session/index.js';
import { ManagedSession } from '../../src/session/managed-session.js';
import { afterTest, caught, world } from '../session/support.js';
import { type CliResult, temporaryFolder } from '../support/cli.js';
import { isTaken, type Shop, shop } from './support.js';

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
  stop(): Promise<CliResult>;
}

async function start(s: Shop, ...argv: readonly string[]): Promise<Running> {
  const abort = new AbortController();
  let ended: Promise<CliResult> | null = null;
  const first = await new Promise<string>((resolve, reject) => {
    ended = s.run(['auth-server', '--json', ...argv], {
      signal: abort.signal,
      onStdout: (text) => text.includes('\n') && resolve(text),
    });
    ended.then(({ stderr }) => reject(new Error(stderr)), reject);
  });
  const { url, secretFile, names } = JSON.parse(first) as Running;
  const stop = async () => {
    abort.abort();
    return (await ended) as CliResult;
  };
  afterTest(stop);
  const secret = readFileSync(secretFile, 'utf8').trim();
  return { url, secretFile, names, secret, socketPath: /^unix:(.*)/.exec(url)?.[1], stop };
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
  test('gives valid tokens and signed logins that the exchange takes', async () => {
    const s = await shop();
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
    const s = await shop();
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
    const s = await shop({ faults: [] });
    const running = await start(s, 'bot');
    s.sandbox.setFaults(['refuse-loginx1']);
    const replies = await Promise.all(Array.from({ length: 5 }, () => ask(running, { path: '/v1/bot/token' })));
    expect(replies.map(({ status }) => status)).toEqual([502, 502, 502, 502, 502]);
    expect(replies[0]?.body.error).toMatchObject({ code: 'ERR_UNAUTHORIZED', hint: expect.any(String) });
    expect((await ask(running, { path: '/v1/bot/token' })).status).toBe(502);
    expect(s.calls().filter((call) => call.startsWith('public/auth'))).toEqual(['public/auth 13004']);
  });

  test('listens on a Unix socket that is for its owner alone, and takes the place of a dead one', async () => {
    const s = await shop();
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
    const s = await shop();
    const running = await start(s, 'bot');
    const { host } = new URL(running.url);
    const run = async (...argv: string[]) => (await s.run(['auth-server', '--json', ...argv])).error().code;
    expect(await run('bot', '--listen', host)).toBe('ERR_LISTEN');
    expect(await run('bot', '--secret-file', running.secretFile)).toBe('ERR_KEYSTORE_IO');
    expect(existsSync(running.secretFile)).toBe(true);
    expect(await run('nobody')).toBe('ERR_NO_SUCH_NAME');
    for (const listen of [
      '0.0.0.0:80',
      '192.0.2.1:1',
      ':80',
      '127.0.0.1',
      '127.0.0.1:99999',
      `unix:/${'x'.repeat(200)}`,
    ]) {
      expect(await run('bot', '--listen', listen)).toBe('ERR_USAGE');
    }
  });

  test('goes on with the new key after a rotation, and signs by the exchange’s clock', async () => {
    const w = await world({ faults: ['clock:600000'] });
    const other = await world();
    let current = { clientId: w.clientId, signer: w.signer };
    const key = {
      name: 'bot',
      credentials: async () => current,
      open: () => w.open({ url: w.sandbox.httpUrl }),
    };
    const server = await startAuthServer([key], parseListen('[::1]:0')).catch(() =>
      startAuthServer([key], parseListen('127.0.0.1:0')),
    );
    afterTest(() => server.close());
    const post = async (path: string) => {
      const response = await fetch(`${server.url}${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${server.secret}` },
      });
      return (await response.json()) as Record<string, unknown>;
    };
    await post('/v1/bot/token');
    expect(Number((await post('/v1/bot/auth-params')).timestamp) - Date.now()).toBeGreaterThan(590_000);
    current = { clientId: 'another1', signer: other.signer };
    expect((await post('/v1/bot/auth-params')).client_id).toBe('another1');
    current = {
      clientId: 'another1',
      signer: { ...other.signer, sign: () => Promise.reject(new Error('boom')) },
    };
    expect(await post('/v1/bot/auth-params')).toMatchObject({ error: { code: 'ERR_INTERNAL' } });
  });
});

test('connections that send half a request, or nothing, are ended and leave their places to others', async () => {
  const s = await shop();
  const running = await start(s, 'bot', '--listen', '127.0.0.1:0');
  const port = Number(new URL(running.url).port);
  const head = `POST /v1/bot/auth-params HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n`;
  const body = `Authorization: Bearer ${running.secret}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{`;
  const halves = ['', head, head + body];
  const ended = Array.from({ length: 256 }, (_, index) => {
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
  await expect(ask(running, { path: '/v1/bot/auth-params' })).rejects.toThrow();
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
  test('a bearer secret is taken whole or not at all', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[\x21-\x7e]{1,60}$/), fc.string(), (secret, other) => {
        expect(presents(`Bearer ${secret}`, secret)).toBe(true);
        expect(presents(`bearer  ${secret} `, secret)).toBe(true);
        expect(presents(`Bearer ${other}`, secret)).toBe(other.trim() === secret);
        expect(presents(other, secret)).toBe(false);
      }),
    );
    expect(presents(undefined, 'x')).toBe(false);
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
  });

  test('a session that was refused is asked for again only after a while, and not after the end', async () => {
    let now = 0;
    let opened = 0;
    const refusal = new DeribitKeysError('ERR_UNAUTHORIZED', 'no');
    const lasting = new ManagedSession(
      async () => {
        opened += 1;
        throw opened === 1 ? refusal : new DeribitKeysError('ERR_NETWORK', 'away');
      },
      () => now,
    );
    expect(await caught(lasting.get())).toBe(refusal);
    expect(await caught(lasting.get())).toBe(refusal);
    now = 5_000;
    expect(await caught(lasting.get())).toMatchObject({ code: 'ERR_NETWORK' });
    expect(await caught(lasting.get())).toMatchObject({ code: 'ERR_NETWORK' });
    expect(opened).toBe(3);
    await lasting.close();
    expect(await caught(lasting.get())).toMatchObject({ code: 'ERR_CONNECTION_CLOSED' });
  });

  test('a session that has ended is opened anew', async () => {
    const w = await world();
    const sessions: Session[] = [];
    const lasting = new ManagedSession(async () => {
      const session = await w.open({ url: w.sandbox.httpUrl });
      sessions.push(session);
      return session;
    });
    afterTest(() => lasting.close());
    await lasting.get();
    await sessions[0]?.close();
    await (await lasting.get()).accessToken();
    expect(sessions).toHaveLength(2);
  });
});
