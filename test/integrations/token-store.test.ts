import { randomBytes } from 'node:crypto';
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fileTokenStore } from '../../src/integrations/token-store/file-token-store.js';
import {
  parseStoreKey,
  type RedisTokenStoreOptions,
  redisTokenStore,
  sealer,
} from '../../src/integrations/token-store/redis-token-store.js';
import { openSession } from '../../src/session/index.js';
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
import { openKeystore } from '../../src/workflows/library.js';
import { hasOpenssl, selfSigned } from '../deribit/tls.js';
import { afterTest } from '../support/after-test.js';
import { type CliResult, temporaryFolder } from '../support/cli.js';
import { isTaken, openBotDesk } from '../support/desk.js';
import { thrownBy } from '../support/outcomes.js';
import { freePort, hasRedis, loadRedis, type RedisServer, startRedis } from '../support/redis.js';

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

/** @param isFile one token in all, and no refresh token */
function contract(open: () => Promise<readonly [TokenStore, TokenStore]>, isFile = false) {
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
    if (!isFile) expect(await other.lock({ ...purpose, scope: 'trade:read' })).not.toBeNull();
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

  it('hands the refresh token of an expiring token to the process that renews it', async () => {
    const old = token({ expiresAtMs: Date.now() + 30_000, issuedAtMs: Date.now() - 900_000 });
    await store.put(purpose, old);
    const renewed = await sharedToken({
      store: other,
      purpose,
      renew: async (expiring) => token({ accessToken: `after-${expiring?.refreshToken}` }),
    });
    expect(renewed.accessToken).toBe(`after-${isFile ? null : old.refreshToken}`);
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

describe('a token store in a file', () => {
  contract(async () => {
    const options = { dir: temporaryFolder(), name: 'bot' };
    return [fileTokenStore(options), fileTokenStore(options)];
  }, true);

  it('holds the token that `deribit-keys token` prints, for sessions of the library, too', async () => {
    const s = await openBotDesk();
    const keystore = openKeystore({ dir: s.keysDir });
    const tokenStore = fileTokenStore({ dir: s.keysDir, name: 'bot' });
    const open = async (url: string) => {
      const session = await openSession({ keystore, name: 'bot', url, tokenStore });
      afterTest(() => session.close());
      return session.accessToken();
    };
    const tokens = [await open(s.sandbox.httpUrl), await open(s.sandbox.wsUrl)];
    tokens.push((await s.run(['token', 'bot'])).stdout.trim());
    expect(new Set(tokens).size).toBe(1);
    expect(s.calls().filter((call) => call.startsWith('public/auth'))).toEqual(['public/auth ok']);
    expect(statSync(join(s.keysDir, '.bot.token.json')).mode & 0o777).toBe(0o600);
  });

  it('refuses a name that is not a key’s, and goes on without a folder that it can write to', async () => {
    expect(() => fileTokenStore({ dir: 'keys', name: '../bot' })).toThrow(/is not a key name/);
    const store = fileTokenStore({ dir: join(temporaryFolder(), 'missing'), name: 'bot' });
    const notes: string[] = [];
    const found = await sharedToken({ store, purpose, renew: async () => token(), onNote: (note) => notes.push(note) });
    expect(found.accessToken).toMatch(/^token/);
    expect(notes).toEqual([expect.stringContaining('the token was not stored')]);
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

  it('extends a lock while its holder works, so that the lock of one that died ends soon', async () => {
    const [store, other] = [await open(), await open()];
    const lock = await store.lock(purpose);
    const [name = ''] = server.cli('--raw', 'keys', 'deribit-keys:lock:*').split('\n');
    const leftMs = () => Number(server.cli('--raw', 'pttl', name));
    expect(leftMs()).toBeLessThanOrEqual(10_000);
    server.cli('pexpire', name, '6000');
    await expect.poll(leftMs, { timeout: 60_000 }).toBeGreaterThan(6_000);
    expect(await other.lock(purpose)).toBeNull();
    await lock?.release();
    expect(await other.lock(purpose)).not.toBeNull();
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
    const s = await openBotDesk();
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
    const file = join(s.keysDir, 'store.url');
    writeFileSync(file, `${server.url}\n`, { mode: 0o600 });
    const keyed = ['--token-store-key-file', keyFile];
    const fromFile = (...words: string[]) => s.run(['token', 'bot', '--json', ...keyed, ...words], { load: loadRedis });
    expect((await fromFile('--token-store-file', file)).json()).toMatchObject({ accessToken: first.stdout.trim() });
    expect(await fromFile('--token-store-file', file, '--token-store', 'redis://127.0.0.1')).toMatchObject({
      exitCode: 2,
    });
    chmodSync(file, 0o644);
    expect((await fromFile('--token-store-file', file)).error()).toMatchObject({ code: 'ERR_PERMISSIONS' });
    const withoutKey = await s.run(['token', 'bot', '--json', '--token-store', 'redis://127.0.0.1:1']);
    expect(withoutKey.error()).toMatchObject({ code: 'ERR_USAGE', hint: expect.stringContaining('openssl rand') });
  });
});

describe.skipIf(!hasRedis || !hasOpenssl)('a token store in Redis with users and TLS', () => {
  const key = randomBytes(32);
  const open = async (options: Partial<RedisTokenStoreOptions>) => {
    const store = await redisTokenStore({ key, load: loadRedis, timeoutMs: 20_000, ...options });
    stores.push(store);
    return store;
  };
  const start = async () => {
    const pair = selfSigned('IP:127.0.0.1');
    const folder = temporaryFolder();
    const path = (name: string, text: string) => {
      writeFileSync(join(folder, name), text, { mode: 0o600 });
      return join(folder, name);
    };
    // what the page says that such a user needs
    const [, rights = ''] = /`(~deribit-keys:\* [^`]*)`/.exec(readFileSync('examples/deploy/README.md', 'utf8')) ?? [];
    const port = await freePort();
    const config = [
      `tls-port ${port}`,
      `tls-cert-file ${path('cert.pem', pair.cert)}`,
      `tls-key-file ${path('key.pem', pair.key)}`,
      'tls-auth-clients no',
      'user default off',
      `user bots on >right resetchannels -@all ${rights}`,
      'user odd on >%41/@:% ~deribit-keys:* resetchannels -@all +get +pttl',
      'user nobody on >right ~nothing -@all',
    ];
    servers.push(await startRedis({ config }));
    return { ca: pair.cert, caFile: join(folder, 'cert.pem'), path, host: `127.0.0.1:${port}` };
  };

  it('takes user and password from the URL, and trusts the authority that is named', async () => {
    const { ca, host } = await start();
    const store = await open({ url: `rediss://bots:right@${host}`, ca });
    const [kept, lock] = [token(), await store.lock(purpose)];
    await store.put(purpose, kept);
    await lock?.release();
    const other = await open({ url: `rediss://bots@${host}`, password: 'right', ca });
    expect(await other.get(purpose)).toMatchObject({ accessToken: kept.accessToken });
    const odd = await open({ url: `rediss://odd@${host}`, password: '%41/@:%', ca });
    expect(await odd.get(purpose)).toMatchObject({ accessToken: kept.accessToken });
    expect(store.name).toBe(`rediss://${host}`);
  });

  it('says why it cannot be used', async () => {
    const { ca, host } = await start();
    const why = async (url: string, more: Partial<RedisTokenStoreOptions> = {}) => {
      const store = await open({ url, ca, ...more });
      const errors = [await thrownBy(store.get(purpose)), await thrownBy(store.get(purpose))];
      for (const error of errors) expect(error).toMatchObject({ code: 'ERR_TOKEN_STORE' });
      return errors.map(({ message }) => message);
    };
    const both = (text: string) => [expect.stringContaining(text), expect.stringContaining(text)];
    expect(await why(`rediss://bots:wrong@${host}`)).toEqual(both('refuses the user or the password'));
    expect(await why(`rediss://nobody:right@${host}`)).toEqual(both('refuses the user or the password'));
    expect(await why(`rediss://bots:right@${host}`, { ca: undefined })).toEqual(both('not trusted'));
    expect(await why('redis://127.0.0.1:1', { timeoutMs: 100 })).toEqual(both('cannot be reached'));
  });

  it('is named in a file, with --ca-file', async () => {
    const s = await openBotDesk();
    const { caFile, host, path } = await start();
    const words = ['--token-store-key-file', path('store.key', key.toString('hex')), '--ca-file', caFile, '--json'];
    const url = path('url', `rediss://bots:right@${host}\n`);
    const run = () => s.run(['token', 'bot', ...words, '--token-store-file', url], { load: loadRedis });
    const first = await run();
    expect(first.stderr).toBe('');
    const { accessToken } = first.json() as { accessToken: string };
    expect((await run()).json()).toMatchObject({ accessToken });
    const store = await open({ url: `rediss://bots:right@${host}`, ca: readFileSync(caFile, 'utf8') });
    const session = await openSession({
      ...{ keystore: openKeystore({ dir: s.keysDir }), name: 'bot', url: s.sandbox.httpUrl, tokenStore: store },
    });
    afterTest(() => session.close());
    expect(await session.accessToken()).toBe(accessToken);
  });

  it.each([[new Uint8Array(0)], [Buffer.from('short')], [undefined as unknown as Uint8Array]])(
    'refuses a key that is not one of 32 bytes: %o',
    async (bad) => {
      expect(await thrownBy(redisTokenStore({ url: 'redis://127.0.0.1:1', key: bad, load: loadRedis }))).toMatchObject({
        code: 'ERR_USAGE',
        message: expect.stringContaining('32 bytes'),
      });
    },
  );
});

describe.skipIf(!hasRedis)('a token store that is away', () => {
  const away = async (...words: string[]) => {
    const s = await openBotDesk();
    const keyFile = join(s.keysDir, 'store.key');
    writeFileSync(keyFile, randomBytes(32), { mode: 0o600 });
    const store = ['--token-store', `redis://127.0.0.1:${await freePort()}`, '--token-store-key-file', keyFile];
    return { s, argv: [...store, ...words] };
  };

  it('is a note of token, which logs in for itself, or its error with --token-store-away refuse', async () => {
    const { s, argv } = await away();
    const found = await s.run(['token', 'bot', ...argv], { load: loadRedis });
    expect(found.exitCode).toBe(0);
    expect(await isTaken(s.sandbox, found.stdout.trim())).toBe(true);
    expect(found.stderr).toMatch(/the token store redis:\S+ cannot be reached: logging in without it/);
    const refused = await s.run(['token', 'bot', '--json', ...argv, '--token-store-away', 'refuse'], {
      load: loadRedis,
    });
    expect(refused.exitCode).toBe(4);
    expect(refused.error()).toMatchObject({ code: 'ERR_TOKEN_STORE' });
  });

  it.each(['login', 'refuse'] as const)('is what auth-server says, too, and does: %s', async (what) => {
    const { s, argv } = await away('--token-store-away', what);
    const abort = new AbortController();
    let ended = null as Promise<CliResult> | null;
    let said = '';
    await new Promise<void>((resolve) => {
      ended = s.run(['auth-server', 'bot', ...argv], {
        signal: abort.signal,
        load: loadRedis,
        onStdout(text) {
          said += text;
          if (said.includes('names')) resolve();
        },
      });
    });
    const [, url = '', secretFile = ''] = /^url +(\S+)\nsecret file +(\S+)$/m.exec(said) ?? [];
    const authorization = `Bearer ${readFileSync(secretFile, 'utf8').trim()}`;
    const response = await fetch(`${url}/v1/bot/token`, { method: 'POST', headers: { authorization } });
    const answer = (await response.json()) as { error?: { code: string } };
    expect(answer.error?.code).toBe(what === 'login' ? undefined : 'ERR_TOKEN_STORE');
    const ready = (await (await fetch(`${url}/readyz`)).json()) as { ready: boolean };
    expect(ready.ready).toBe(what === 'login');
    abort.abort();
    const stderr = (await ended)?.stderr;
    if (what === 'login') expect(stderr).toMatch(/cannot be reached: logging in without it/);
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
      expect(parseStoreKey(content, 'f').equals(key)).toBe(true);
    }
    expect(() => parseStoreKey(Buffer.from('short'), 'f')).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
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
