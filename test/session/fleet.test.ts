import { describe, expect, test } from 'vitest';
import { DeribitKeysError } from '../../src/errors.js';
import { openFleet } from '../../src/session/index.js';
import { afterTest } from '../support/after-test.js';
import { FakeTime, settled } from '../support/fake-time.js';
import { thrownBy } from '../support/outcomes.js';
import { next, world } from './support.js';

const SUMMARY = ['private/get_account_summary', { currency: 'BTC' }] as const;

describe('a fleet', () => {
  test('holds many sessions, and brings all of them back after a restart of the exchange', async () => {
    const w = await world();
    const fleet = openFleet({ maxConnections: 60, maxSessionsPerKey: 60, rate: null });
    afterTest(() => fleet.close());
    const backoff = { firstMs: 5, longestMs: 40 };
    const options = { url: w.sandbox.wsUrl, clientId: w.clientId, signer: w.signer, backoff };
    const sessions = await Promise.all(Array.from({ length: 60 }, () => fleet.openSession(options)));
    expect(fleet.sessions.size).toBe(60);
    const back = sessions.map((session) => next(session, 'reconnect'));
    void w.sandbox.restart(60);
    await Promise.all(back);
    await Promise.all(sessions.map((session) => session.request(...SUMMARY)));
    const times = w.sandbox.calls.filter(({ method }) => method === 'public/get_time');
    expect(times).toHaveLength(1);
    await fleet.close();
    expect(fleet.sessions.size).toBe(0);
    expect(await thrownBy(fleet.openSession(options))).toMatchObject({ code: 'ERR_USAGE' });
  });

  test('keeps to the connections of an address and to the sessions of a key', async () => {
    const w = await world({ limits: { connectionsPerIp: 5, sessionsPerKey: 2 } });
    const { client_id: otherId } = w.sandbox.addKey({ publicKey: w.publicKeyPem });
    const fleet = openFleet({ maxConnections: 3, maxSessionsPerKey: 2 });
    afterTest(() => fleet.close());
    const key = { url: w.sandbox.wsUrl, clientId: w.clientId, signer: w.signer };
    const other = { ...key, clientId: otherId };
    const [first] = await Promise.all([fleet.openSession(key), fleet.openSession(key)]);
    expect((await thrownBy(fleet.openSession(key))).message).toContain('2 sessions already');
    await fleet.openSession(other);
    expect((await thrownBy(fleet.openSession(other))).message).toContain('3 connections already');
    await first?.close();
    const again = await fleet.openSession(key);
    expect(await again.request(...SUMMARY)).toMatchObject({ currency: 'BTC' });
    expect(await thrownBy(fleet.openSession({ ...key, clientId: 'nobody', url: w.sandbox.httpUrl }))).toMatchObject({
      code: 'ERR_UNAUTHORIZED',
    });
    expect(fleet.sessions.size).toBe(3);
  });

  test('pays for logins and requests out of pools, so that the exchange never has to say 10028', async () => {
    const w = await world({ limits: { credits: { pool: 2_600, refillPerS: 10_000 } } });
    const fleet = openFleet({ rate: { cost: 500, pool: 1_000, refillPerS: 9_000 } });
    afterTest(() => fleet.close());
    const options = { url: w.sandbox.httpUrl, clientId: w.clientId, signer: w.signer };
    const [a, b] = await Promise.all([fleet.openSession(options), fleet.openSession(options)]);
    await Promise.all(Array.from({ length: 12 }, (_, i) => (i % 2 === 0 ? a : b)?.request(...SUMMARY)));
    expect(w.calls().filter((call) => call.includes('10028'))).toEqual([]);
  });

  test('lets only so many connect at the same time, and those who give up make room', async () => {
    const w = await world();
    const time = new FakeTime();
    const fleet = openFleet({ connectsAtOnce: 2, rate: null, time });
    let connecting = 0;
    let most = 0;
    const connectWebSocket = () => {
      connecting += 1;
      most = Math.max(most, connecting);
      return new Promise<never>(() => {});
    };
    const stop = new AbortController();
    const options = { url: w.sandbox.wsUrl, clientId: w.clientId, signer: w.signer, connectWebSocket };
    const opening = Array.from({ length: 5 }, () => thrownBy(fleet.openSession({ ...options, signal: stop.signal })));
    await settled();
    expect(connecting).toBe(2);
    expect(most).toBe(2);
    stop.abort();
    // the two that hang in a connection which never comes about cannot be waited for
    for (const error of await Promise.all(opening.slice(2))) expect(error).toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(connecting).toBe(2);
  });

  test('gives each session its time to open from its turn to connect', async () => {
    const w = await world();
    const time = new FakeTime();
    const fleet = openFleet({ connectsAtOnce: 1, rate: null, time });
    afterTest(() => fleet.close());
    let attempts = 0;
    let fail = (): void => {};
    const away = () => new DeribitKeysError('ERR_NETWORK', 'away', { maybeSent: true });
    const first = () => new Promise<never>((_, reject) => (fail = () => reject(away())));
    const second = async () => {
      attempts += 1;
      throw away();
    };
    const key = { url: w.sandbox.wsUrl, clientId: w.clientId, signer: w.signer };
    const backoff = { firstMs: 1_000, longestMs: 1_000 };
    const slow = thrownBy(fleet.openSession({ ...key, connectWebSocket: first, openWithinMs: 0 }));
    const waiting = thrownBy(fleet.openSession({ ...key, backoff, connectWebSocket: second, openWithinMs: 5_000 }));
    await time.advance(20_000);
    expect(attempts).toBe(0);
    fail();
    expect(await slow).toMatchObject({ code: 'ERR_NETWORK' });
    await time.advance(20_000);
    expect(await waiting).toMatchObject({ code: 'ERR_NETWORK' });
    expect(attempts).toBeGreaterThan(1);
  });

  test.each([{ maxConnections: 0 }, { maxSessionsPerKey: 0 }, { connectsAtOnce: 0 }])('refuses %o', (bad) => {
    expect(() => openFleet(bad)).toThrow(/must be a number of at least/);
  });
});
