import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseKeyFile, redisTokenStore, sealer } from '../../src/integrations/token-store/redis-token-store.js';
import {
  isUsable,
  memoryTokenStore,
  parseStoredToken,
  type SharedTokenOptions,
  type StoredToken,
  sharedToken,
  type TokenPurpose,
  type TokenStore,
} from '../../src/session/token-store.js';
import { hasRedis, loadRedis, type RedisServer, startRedis } from '../support/redis.js';
import { isTaken, shop } from './support.js';

const purpose: TokenPurpose = { clientId: 'AbCdEf12', fingerprint: '9c:6d', url: 'http://x/api/v2', scope: null };
let made = 0;
function token(change: Partial<StoredToken> = {}): StoredToken {
  made += 1;
  const now = Date.now();
  return {
    accessToken: `token.${made}`,
    refreshToken: `refresh.${made}`,
    issuedAtMs: now,
    expiresAtMs: now + 900_000,
    scope: 'trade:read',
    ...change,
  };
}

const stores: TokenStore[] = [];
const servers: RedisServer[] = [];
afterEach(async () => {
  await Promise.all(stores.splice(0).map((store) => store.close()));
  await Promise.all(servers.splice(0).map((server) => server.stop()));
});

function contract(open: () => Promise<readonly [TokenStore, TokenStore]>) {
  let store: TokenStore;
  let other: TokenStore;
  beforeEach(async () => {
    [store, other] = await open();
    stores.push(store, other);
  });

  it('returns to every process what one has put, and nothing for another purpose', async () => {
    const kept = token();
    await store.put(purpose, kept);
    const found = await other.get(purpose);
    expect(found).toMatchObject({ accessToken: kept.accessToken, scope: kept.scope });
    expect(Math.abs((found?.expiresAtMs ?? 0) - kept.expiresAtMs)).toBeLessThan(5_000);
    for (const change of [{ scope: 'trade:read' }, { fingerprint: 'x' }, { clientId: 'x' }, { url: 'http://y' }]) {
      expect(await other.get({ ...purpose, ...change })).toBeNull();
    }
  });

  it('lets one process at a time renew a token', async () => {
    const lock = await store.lock(purpose);
    expect(lock).not.toBeNull();
    expect(await other.lock(purpose)).toBeNull();
    expect(await other.lock({ ...purpose, scope: 'trade:read' })).not.toBeNull();
    await lock?.release();
    expect(await other.lock(purpose)).not.toBeNull();
  });

  it('logs in once for many that ask together, and once more for a token that was refused', async () => {
    let logins = 0;
    const ask = (refused?: string) => (options: Partial<SharedTokenOptions>) =>
      sharedToken({
        store,
        purpose,
        refused,
        renew: async () => {
          logins += 1;
          return token();
        },
        ...options,
      });
    const first = await Promise.all(Array.from({ length: 20 }, (_, i) => ask()({ store: i % 2 ? store : other })));
    expect(new Set(first.map(({ accessToken }) => accessToken)).size).toBe(1);
    expect(logins).toBe(1);
    const dead = first[0]?.accessToken;
    const second = await Promise.all(Array.from({ length: 20 }, (_, i) => ask(dead)({ store: i % 2 ? store : other })));
    expect(new Set(second.map(({ accessToken }) => accessToken)).size).toBe(1);
    expect(second[0]?.accessToken).not.toBe(dead);
    expect(logins).toBe(2);
  });

  it('gives the refresh token of an expiring token to the process that renews it', async () => {
    const old = token({ expiresAtMs: Date.now() + 30_000, issuedAtMs: Date.now() - 900_000 });
    await store.put(purpose, old);
    const renewed = await sharedToken({
      store: other,
      purpose,
      renew: async (expiring) => token({ accessToken: `after-${expiring?.refreshToken}` }),
    });
    expect(renewed.accessToken).toBe(`after-${old.refreshToken}`);
  });

  it('releases the lock when the login fails', async () => {
    const failure = new Error('refused');
    await expect(sharedToken({ store, purpose, renew: () => Promise.reject(failure) })).rejects.toBe(failure);
    expect(await other.lock(purpose)).not.toBeNull();
  });
}

describe('a token store in memory', () => {
  contract(async () => {
    const store = memoryTokenStore();
    return [store, store];
  });
});

describe.skipIf(!hasRedis)('a token store in Redis', () => {
  const key = randomBytes(32);
  let server: RedisServer;
  const open = (options: object = {}) =>
    redisTokenStore({ url: server.url, key, load: loadRedis, timeoutMs: 5_000, ...options });
  beforeEach(async () => {
    server = await startRedis({ password: 'canary-password' });
    servers.push(server);
  });

  contract(async () => [await open(), await open()]);

  it('keeps nothing readable in the database, and lets values expire with their token', async () => {
    const store = await open();
    stores.push(store);
    const kept = token({ accessToken: 'canary-access', refreshToken: 'canary-refresh' });
    await store.put(purpose, kept);
    const [name = ''] = server.cli('keys', '*').trim().split('\n');
    const shown = server.cli('get', name) + name;
    for (const secret of ['canary', purpose.clientId, purpose.fingerprint, 'trade'])
      expect(shown).not.toContain(secret);
    expect(Number(server.cli('pttl', name))).toBeLessThanOrEqual(900_000);
    expect(store.name).not.toContain('canary');
  });

  it('does not open a value under another key or another name', async () => {
    const store = await open();
    const outsider = await open({ key: randomBytes(32) });
    stores.push(store, outsider);
    await store.put(purpose, token());
    expect(await outsider.get(purpose)).toBeNull();
    const [name = ''] = server.cli('keys', '*').trim().split('\n');
    const value = server.cli('get', name).trim();
    await store.put({ ...purpose, scope: 'trade:read' }, token());
    const other =
      server
        .cli('keys', '*')
        .trim()
        .split('\n')
        .find((one) => one !== name) ?? '';
    server.cli('set', other, value, 'EX', '600');
    expect(await store.get({ ...purpose, scope: 'trade:read' })).toBeNull();
  });

  it('says that Redis is away, and joins it again when it is back', async () => {
    const store = await open({ timeoutMs: 500 });
    stores.push(store);
    await store.put(purpose, token());
    await server.stop();
    await expect(store.get(purpose)).rejects.toMatchObject({ code: 'ERR_TOKEN_STORE' });
    const notes: string[] = [];
    const alone = await sharedToken({
      store,
      purpose,
      renew: async () => token({ accessToken: 'alone' }),
      onNote: (note) => notes.push(note),
    });
    expect(alone.accessToken).toBe('alone');
    expect(notes.join()).toContain('cannot be reached');
    await expect(sharedToken({ store, purpose, whenAway: 'refuse', renew: async () => token() })).rejects.toMatchObject(
      { code: 'ERR_TOKEN_STORE' },
    );
    const back = await startRedis({ port: server.port, password: 'canary-password' });
    servers.push(back);
    await expect.poll(() => store.get(purpose).catch(() => 'away'), { timeout: 60_000 }).toBeNull();
  });

  it('is not held up by a Redis that no longer answers', async () => {
    const store = await open({ timeoutMs: 300 });
    stores.push(store);
    await store.get(purpose);
    server.process.kill('SIGSTOP');
    await expect(store.get(purpose)).rejects.toMatchObject({ code: 'ERR_TOKEN_STORE' });
    server.process.kill('SIGCONT');
    await expect.poll(() => store.get(purpose).catch(() => 'away'), { timeout: 60_000 }).toBeNull();
  });

  it('serves token and exec, and refuses a password in argv', async () => {
    const s = await shop();
    const keyFile = join(s.keysDir, 'store.key');
    writeFileSync(keyFile, key, { mode: 0o600 });
    const env = { DERIBIT_KEYS_TOKEN_STORE: server.url, DERIBIT_KEYS_TOKEN_STORE_KEY_FILE: keyFile };
    const ask = (...words: string[]) => s.run(words, { env, load: loadRedis });
    const first = await ask('token', 'bot');
    expect(first).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await isTaken(s.sandbox, first.stdout.trim())).toBe(true);
    expect((await ask('token', 'bot')).stdout).toBe(first.stdout);
    const { exitCode } = await ask(
      'exec',
      'bot',
      '--',
      'sh',
      '-c',
      `test "$DERIBIT_ACCESS_TOKEN" = "${first.stdout.trim()}"`,
    );
    expect(exitCode).toBe(0);
    expect(s.calls().filter((call) => call.startsWith('public/auth'))).toEqual(['public/auth ok']);
    const refused = await s.run(['token', 'bot', '--json', '--token-store', server.url], { load: loadRedis });
    expect(refused).toMatchObject({ exitCode: 2 });
    expect(refused.stderr).not.toContain('canary-password');
    const withoutKey = await s.run(['token', 'bot', '--json', '--token-store', 'redis://127.0.0.1:1']);
    expect(withoutKey.error()).toMatchObject({ code: 'ERR_USAGE', hint: expect.stringContaining('openssl rand') });
  });
});

describe('a sealed value', () => {
  it('opens to what it was, and only under its context and key', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.uint8Array({ minLength: 32, maxLength: 32 }), (text, context, bytes) => {
        const seal = sealer(bytes);
        const sealed = seal.seal(context, text);
        expect(seal.open(context, sealed)).toBe(text);
        expect(seal.open(`${context}x`, sealed)).toBeNull();
        expect(sealer(bytes.map((byte) => byte ^ 1)).open(context, sealed)).toBeNull();
        expect(seal.open(context, sealed.slice(0, -8))).toBeNull();
      }),
    );
  });

  it('takes a key of 32 bytes, as bytes, hex or base64', () => {
    const key = randomBytes(32);
    for (const content of [key, Buffer.from(`${key.toString('hex')}\n`), Buffer.from(key.toString('base64'))]) {
      expect(parseKeyFile(content, 'f').equals(key)).toBe(true);
    }
    expect(() => parseKeyFile(Buffer.from('short'), 'f')).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
  });
});

describe('a stored token', () => {
  it('is not handed out near its end, nor after the clock was set back', () => {
    const fresh = token();
    expect(isUsable(fresh, Date.now())).toBe(true);
    expect(isUsable(fresh, fresh.expiresAtMs - 30_000)).toBe(false);
    expect(isUsable(fresh, fresh.issuedAtMs - 1)).toBe(false);
  });

  it('is read from JSON strictly', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const read = parseStoredToken(value);
        expect(read === null || typeof read.accessToken === 'string').toBe(true);
      }),
    );
    expect(parseStoredToken({ ...token(), accessToken: 'two words' })).toBeNull();
  });
});
