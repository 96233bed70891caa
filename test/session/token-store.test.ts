import { describe, expect, it } from 'vitest';
import { Secret } from '../../src/crypto/secret.js';
import { disableApiKey } from '../../src/deribit/api-keys.js';
import { accountOf, loginWithClientSecret } from '../../src/deribit/auth.js';
import { resolveEndpoint } from '../../src/deribit/endpoints.js';
import { openWebSocket } from '../../src/deribit/websocket-transport.js';
import { DeribitKeysError } from '../../src/errors.js';
import { memoryTokenStore, openFleet, type Session, type TokenStore } from '../../src/session/index.js';
import { afterTest } from '../support/after-test.js';
import { thrownBy } from '../support/outcomes.js';
import { all, next, type World, world } from './support.js';

const summary = (session: Session) => session.request('private/get_account_summary', { currency: 'BTC' });
const logins = (w: World) => w.calls().filter((call) => call.startsWith('public/auth'));

/** The exchange ends the session that the token belongs to. */
async function endSession(w: World, session: Session): Promise<void> {
  const accessToken = new Secret(await session.accessToken());
  const connection = await openWebSocket(resolveEndpoint({ url: w.sandbox.wsUrl }));
  await connection.request('private/logout', { invalidate_token: true }, { accessToken }).catch(() => {});
}

async function disableKey(w: World): Promise<void> {
  const connection = await openWebSocket(resolveEndpoint({ url: w.sandbox.wsUrl }));
  const { clientId, clientSecret } = w.sandbox;
  const login = await loginWithClientSecret(connection, { clientId, clientSecret: new Secret(clientSecret) });
  await disableApiKey(accountOf(connection, login), { keyId: w.keyId });
  await connection.close();
}

/** A memory store that can be away. */
function brittleStore(): TokenStore & { isAway: boolean } {
  const store = memoryTokenStore();
  const guarded = <A extends readonly unknown[], R>(work: (...args: A) => Promise<R>) =>
    (async (...args: A): Promise<R> => {
      if (brittle.isAway) throw new DeribitKeysError('ERR_TOKEN_STORE', 'the token store cannot be reached');
      return work(...args);
    }) as (...args: A) => Promise<R>;
  const brittle = {
    ...store,
    isAway: false,
    get: guarded(store.get),
    put: guarded(store.put),
    lock: guarded(store.lock),
  };
  return brittle;
}

describe.each(['ws', 'http'] as const)('Sessions over %s that share a token store', (kind) => {
  const setUp = async (options: Parameters<typeof world>[0] = {}) => {
    const w = await world(options);
    const url = kind === 'ws' ? w.sandbox.wsUrl : w.sandbox.httpUrl;
    const open = (tokenStore: TokenStore, more = {}) => w.open({ url, tokenStore, ...more });
    return { w, open };
  };

  it('log in once and count as one session of the exchange', async () => {
    const { w, open } = await setUp({ limits: { sessionsPerKey: 2 } });
    const store = memoryTokenStore();
    const sessions = await Promise.all(Array.from({ length: 20 }, () => open(store)));
    await Promise.all(sessions.map(summary));
    expect(logins(w)).toEqual(['public/auth ok']);
    const tokens = await Promise.all(sessions.map((session) => session.token()));
    expect(new Set(tokens.map(({ accessToken }) => accessToken)).size).toBe(1);
    expect(tokens[0]?.scope).toContain('session:deribit_keys');
  });

  it('replace a token that the exchange no longer accepts once, and answer every request', async () => {
    const { w, open } = await setUp();
    const store = memoryTokenStore();
    const sessions = await Promise.all(Array.from({ length: 10 }, () => open(store)));
    for (const session of sessions.slice(0, 1)) await endSession(w, session);
    await Promise.all(sessions.map(summary));
    expect(logins(w)).toEqual(['public/auth ok', 'public/auth ok']);
  });

  it('renew the token before it expires, one for all', async () => {
    const { w, open } = await setUp({ expiresInS: 2 });
    const store = memoryTokenStore();
    const sessions = await Promise.all(Array.from({ length: 5 }, () => open(store)));
    const refreshes = sessions.map((session) => all(session, 'refresh'));
    const adopted = sessions.map((session) => all(session, 'shared'));
    const isRenewed = () => sessions.every((_, i) => (refreshes[i]?.length ?? 0) + (adopted[i]?.length ?? 0) > 0);
    await expect
      .poll(
        async () => {
          await Promise.all(sessions.map(summary));
          return isRenewed();
        },
        { timeout: 60_000, interval: 50 },
      )
      .toBe(true);
    const renewals = w.calls().filter((call) => call === 'public/auth ok').length;
    expect(renewals).toBeLessThan(sessions.length);
  });

  it('keep the token of the others when one of them logs out', async () => {
    const { w, open } = await setUp();
    const store = memoryTokenStore();
    const [one, other] = await Promise.all([open(store), open(store)]);
    await one.close({ logout: true });
    await summary(other);
    expect(logins(w)).toEqual(['public/auth ok']);
    expect(w.calls().filter((call) => call.includes('13009'))).toEqual([]);
  });

  it('keep a token in use while the store is away, and log in for themselves where they need another one', async () => {
    const { w, open } = await setUp();
    const store = brittleStore();
    const session = await open(store);
    store.isAway = true;
    await summary(session);
    expect(logins(w)).toHaveLength(1);
    const unshared = next(session, 'unshared');
    await endSession(w, session);
    await summary(session);
    expect((await unshared).error.code).toBe('ERR_TOKEN_STORE');
    expect(logins(w)).toHaveLength(2);
    store.isAway = false;
    await endSession(w, session);
    await summary(session);
    const third = await open(store);
    await summary(third);
    expect(logins(w)).toHaveLength(3);
  });

  it('wait for the store where they are told to', async () => {
    const { open } = await setUp();
    const store = brittleStore();
    store.isAway = true;
    const error = await thrownBy(open(store, { tokenStoreAway: 'refuse', openWithinMs: 30 }));
    expect(error.code).toBe('ERR_TOKEN_STORE');
  });

  it.each(['get', 'put', 'lock'] as const)('go on where %s of a store of one’s own throws', async (broken) => {
    const { w, open } = await setUp();
    const store = {
      ...memoryTokenStore(),
      name: 'a table',
      async [broken](): Promise<never> {
        throw new TypeError('no such table');
      },
    };
    const session = await open(store);
    await summary(session);
    const unshared = next(session, 'unshared');
    await endSession(w, session);
    await summary(session);
    const { error } = await unshared;
    expect(error).toMatchObject({ code: 'ERR_TOKEN_STORE', message: 'the token store a table failed' });
    expect(error.cause).toBeInstanceOf(TypeError);
  });

  it('end with the refusal when the key is disabled', async () => {
    const { w, open } = await setUp();
    const session = await open(memoryTokenStore());
    await disableKey(w);
    expect((await thrownBy(summary(session))).code).toBe('ERR_UNAUTHORIZED');
    expect((await session.closed)?.message).toContain('invalid_credentials');
  });

  it('do not share a token of a connection', async () => {
    const { open } = await setUp();
    const error = await thrownBy(open(memoryTokenStore(), { scope: 'trade:read connection' }));
    expect(error.code).toBe('ERR_USAGE');
  });
});

describe('A session over WebSocket with a token store', () => {
  it('subscribes to private channels with a token that another one logged in for', async () => {
    const w = await world();
    const tokenStore = memoryTokenStore();
    await w.open({ tokenStore });
    const session = await w.open({ tokenStore });
    const messages: unknown[] = [];
    await session.subscribe('user.portfolio.btc', ({ data }) => messages.push(data));
    await session.request('private/buy', { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'market' });
    await expect.poll(() => messages.length, { timeout: 60_000 }).toBeGreaterThan(0);
    expect(logins(w)).toEqual(['public/auth ok']);
  });

  it('comes back after a cut without another login, and restores its channels', async () => {
    const w = await world();
    const session = await w.open({ tokenStore: memoryTokenStore(), cancelOnDisconnect: 'connection' });
    await session.subscribe('user.portfolio.btc', () => {});
    const back = next(session, 'reconnect');
    w.sandbox.dropConnections();
    await back;
    await summary(session);
    expect(logins(w)).toEqual(['public/auth ok']);
    expect(w.calls().filter((call) => call.startsWith('private/subscribe'))).toHaveLength(2);
  });

  it('comes back with a new token where the exchange has lost the old one', async () => {
    const w = await world();
    const session = await w.open({ tokenStore: memoryTokenStore(), cancelOnDisconnect: 'connection' });
    await session.subscribe('user.portfolio.btc', () => {});
    const back = next(session, 'reconnect');
    await endSession(w, session);
    w.sandbox.dropConnections();
    await back;
    await summary(session);
    expect(logins(w)).toEqual(['public/auth ok', 'public/auth ok']);
  });
});

describe('A fleet with a token store', () => {
  it('counts the sessions that share a token as one of their key', async () => {
    const w = await world();
    const fleet = openFleet({ maxSessionsPerKey: 1, tokenStore: memoryTokenStore(), rate: null });
    afterTest(() => fleet.close());
    const options = { url: w.sandbox.wsUrl, clientId: w.clientId, signer: w.signer };
    const sessions = await Promise.all([1, 2, 3].map(() => fleet.openSession(options)));
    await Promise.all(sessions.map(summary));
    expect(logins(w)).toEqual(['public/auth ok']);
  });
});
