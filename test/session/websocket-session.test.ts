import { describe, expect, test } from 'vitest';
import { afterTest, all, caught, next, world } from './support.js';

describe('a session over WebSocket', () => {
  test('logs in once and answers', async () => {
    const w = await world();
    const session = await w.open();
    const [login] = [await next(session, 'login')];
    expect(login).toMatchObject({ reason: 'open', missing: [], expiresInS: 900 });
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => session.request('private/get_account_summary', { currency: 'BTC' })),
    );
    expect(answers).toHaveLength(20);
    expect(await session.accessToken()).toMatch(/^\d+\./);
    await session.close();
    expect(w.calls().filter((call) => call.startsWith('public/auth'))).toEqual(['public/auth ok']);
  });

  test('comes back after a cut, restores subscriptions, then sends what waited', async () => {
    const w = await world();
    const session = await w.open();
    const seen: unknown[] = [];
    await session.subscribe('sandbox.counter.20ms', (message) => seen.push(message.data));
    const back = next(session, 'reconnect');
    w.sandbox.dropConnections();
    await next(session, 'disconnect');
    const waited = session.request('private/get_open_orders', {});
    expect(await back).toMatchObject({ attempts: 1 });
    expect(await waited).toEqual([]);
    expect(w.calls()).toEqual([
      'public/auth ok',
      'private/subscribe ok',
      'public/auth ok',
      'private/subscribe ok',
      'private/get_open_orders ok',
    ]);
  });
});
