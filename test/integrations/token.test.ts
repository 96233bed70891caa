import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { takeLock } from '../../src/keystore/lock.js';
import { type BotDesk, isTaken, openBotDesk } from '../support/desk.js';

const logins = (s: BotDesk) => s.calls().filter((call) => call.startsWith('public/auth'));
const cacheFile = (s: BotDesk) => join(s.keysDir, '.bot.token.json');

describe('token', () => {
  test('prints only a valid token, on one line, and the same one while it is valid', async () => {
    const s = await openBotDesk();
    const first = await s.run(['token', 'bot']);
    expect(first).toMatchObject({ exitCode: 0, stderr: '' });
    expect(first.stdout).toMatch(/^\S+\n$/);
    expect(await isTaken(s.sandbox, first.stdout.trim())).toBe(true);
    const second = await s.run(['token', 'bot', '--json']);
    expect(second.json()).toEqual({
      accessToken: first.stdout.trim(),
      expiresAt: expect.stringMatching(/^\d{4}-.*Z$/),
      scope: expect.stringContaining('trade:read_write'),
    });
    expect(logins(s)).toEqual(['public/auth ok']);
    expect(statSync(cacheFile(s)).mode & 0o777).toBe(0o600);
    expect((await s.run(['list', '--json'])).json<unknown[]>()).toHaveLength(1);
  });

  test('does not print a kept token that the exchange refuses: the key was disabled', async () => {
    const s = await openBotDesk();
    await s.run(['token', 'bot']);
    const env = { DERIBIT_CLIENT_SECRET: s.sandbox.clientSecret };
    const disabled = await s.run(['api-keys', 'disable', 'bot', '--yes', '--client-id', s.sandbox.clientId], { env });
    expect(disabled.exitCode).toBe(0);
    const { exitCode, stdout, stderr } = await s.run(['token', 'bot']);
    expect({ exitCode, stdout }).toEqual({ exitCode: 5, stdout: '' });
    expect(stderr).toContain('invalid_credentials');
  });

  test('works beside a key that is named like it with ".token" behind', async () => {
    const s = await openBotDesk();
    const lock = await takeLock(s.keysDir, 'bot.token', { waitMs: 0 });
    expect((await s.run(['token', 'bot'])).exitCode).toBe(0);
    await lock.release();
  });

  test('keeps nothing with --no-cache, and neither looks at what is kept', async () => {
    const s = await openBotDesk();
    const tokens = [await s.run(['token', 'bot', '--no-cache']), await s.run(['token', 'bot', '--no-cache'])];
    expect(new Set(tokens.map(({ stdout }) => stdout)).size).toBe(2);
    expect(readdirSync(s.keysDir).filter((file) => file.includes('token'))).toEqual([]);
  });

  test('logs in once for many processes that ask at the same time', async () => {
    const s = await openBotDesk();
    const tokens = await Promise.all(Array.from({ length: 8 }, () => s.run(['token', 'bot'])));
    expect(new Set(tokens.map(({ stdout }) => stdout)).size).toBe(1);
    expect(logins(s)).toEqual(['public/auth ok']);
  });

  test.each([
    ['disable', ['disable', 'bot']],
    ['remove', ['remove', 'bot']],
    ['scope', ['scope', 'bot', 'account:read']],
    ['disable --all-but', ['disable', '--all-but', 'ADMIN']],
  ])('prints no token from before api-keys %s', async (_, words) => {
    const s = await openBotDesk();
    await s.run(['token', 'bot']);
    expect(existsSync(cacheFile(s))).toBe(true);
    const { clientId, clientSecret } = s.sandbox;
    const argv = words.map((word) => (word === 'ADMIN' ? clientId : word));
    const changed = await s.run(['api-keys', ...argv, '--client-id', clientId, '--yes', '--url', s.sandbox.wsUrl], {
      env: { DERIBIT_CLIENT_SECRET: clientSecret },
    });
    expect(changed.exitCode).toBe(0);
    expect(existsSync(cacheFile(s))).toBe(false);
    const after = await s.run(['token', 'bot', '--json']);
    if (words[0] === 'scope') expect(after.json().scope).not.toContain('trade:read_write');
    else expect(after.exitCode).not.toBe(0);
  });

  test('gets another one for another scope', async () => {
    const s = await openBotDesk();
    await s.run(['token', 'bot']);
    const narrow = await s.run(['token', 'bot', '--scope', 'account:read', '--json']);
    expect(narrow.json().scope).not.toContain('trade:read_write');
    expect(logins(s)).toHaveLength(2);
  });

  test.each<[string, (cache: Record<string, unknown>) => unknown]>([
    [
      'about to expire',
      (cache) => ({ ...cache, token: { ...(cache.token as object), expiresAtMs: Date.now() + 30_000, issuedAtMs: 0 } }),
    ],
    ['of another client id', (cache) => ({ ...cache, clientId: 'another' })],
    ['of another key', (cache) => ({ ...cache, fingerprint: 'another' })],
    ['of another place', (cache) => ({ ...cache, url: 'https://www.deribit.com/api/v2' })],
    ['of a newer form', (cache) => ({ ...cache, schema: 99 })],
    [
      'from the future',
      (cache) => ({ ...cache, token: { ...(cache.token as object), issuedAtMs: Date.now() + 60_000 } }),
    ],
    ['that is none', (cache) => ({ ...cache, token: { accessToken: 'two words', expiresAtMs: 9e15, scope: '' } })],
    ['without a token', (cache) => ({ ...cache, token: null })],
    ['without times', (cache) => ({ ...cache, token: { ...(cache.token as object), issuedAtMs: null } })],
    ['not an object', () => 7],
  ])('does not take a cached token %s', async (_what, change) => {
    const s = await openBotDesk();
    await s.run(['token', 'bot']);
    const cache = JSON.parse(readFileSync(cacheFile(s), 'utf8')) as Record<string, unknown>;
    writeFileSync(cacheFile(s), JSON.stringify(change(cache)));
    const { stdout } = await s.run(['token', 'bot']);
    expect(await isTaken(s.sandbox, stdout.trim())).toBe(true);
    expect(logins(s)).toHaveLength(2);
  });

  test('does not take a cache that others could have read, or that is damaged', async () => {
    const s = await openBotDesk();
    await s.run(['token', 'bot']);
    chmodSync(cacheFile(s), 0o644);
    await s.run(['token', 'bot']);
    expect(statSync(cacheFile(s)).mode & 0o777).toBe(0o600);
    writeFileSync(cacheFile(s), '{');
    await s.run(['token', 'bot']);
    expect(logins(s)).toHaveLength(3);
  });

  test('works without a cache where there can be none, and says so', async () => {
    const s = await openBotDesk();
    mkdirSync(cacheFile(s));
    mkdirSync(join(s.keysDir, '.bot.token.pub.lock'));
    const { exitCode, stdout, stderr } = await s.run(['token', 'bot']);
    expect(exitCode).toBe(0);
    expect(await isTaken(s.sandbox, stdout.trim())).toBe(true);
    expect(stderr).toContain('the token was not stored');
  });

  test('works over HTTP whatever the URL says, with a wrong clock, and says why it does not', async () => {
    const s = await openBotDesk({ faults: [] });
    s.sandbox.setFaults(['clock:600000']);
    expect(await isTaken(s.sandbox, (await s.run(['token', 'bot', '--no-cache'])).stdout.trim())).toBe(true);
    expect(s.sandbox.calls.at(-1)).toMatchObject({ transport: 'http' });
    s.sandbox.setFaults(['refuse-login']);
    const refused = await s.run(['token', 'bot', '--no-cache', '--json']);
    expect(refused).toMatchObject({ exitCode: 5, stdout: '' });
    expect(refused.error()).toMatchObject({ code: 'ERR_UNAUTHORIZED', rpc: { code: 13004 } });
    expect((await s.run(['token', 'nobody'])).exitCode).toBe(3);
    await s.run(['generate', 'fresh']);
    expect((await s.run(['token', 'fresh', '--json'])).error().code).toBe('ERR_STATE');
    await s.sandbox.close();
    expect((await s.run(['token', 'bot'])).exitCode).toBe(4);
  });
});
