import { describe, expect, test, vi } from 'vitest';
import type { ChannelMessage } from '../../src/session/index.js';
import { thrownBy } from '../support/outcomes.js';
import { all, next, world } from './support.js';

const COUNTER = 'sandbox.counter.20ms';

describe('subscriptions', () => {
  test('share a channel, and end with the last listener', async () => {
    const w = await world();
    const session = await w.open();
    const [first, second]: ChannelMessage[][] = [[], []];
    const stopFirst = await session.subscribe(COUNTER, (message) => first?.push(message));
    const stopSecond = await session.subscribe([COUNTER, COUNTER], (message) => second?.push(message));
    await expect.poll(() => Math.min(first?.length ?? 0, second?.length ?? 0)).toBeGreaterThan(1);
    expect(first?.[0]).toMatchObject({ channel: COUNTER, data: { count: expect.any(Number) } });
    await stopFirst();
    await stopFirst();
    expect(w.calls()).not.toContain('private/unsubscribe ok');
    await stopSecond();
    expect(w.calls()).toEqual(['public/auth ok', 'private/subscribe ok', 'private/unsubscribe ok']);
  });

  test('take private channels, and as many as there are', async () => {
    const w = await world();
    const session = await w.open();
    const channels = Array.from({ length: 450 }, (_, i) => `sandbox.counter.${60_000 + i}ms`);
    await session.subscribe([...channels, 'user.portfolio.btc'], () => {});
    expect(w.calls().filter((call) => call === 'private/subscribe ok')).toHaveLength(3);
  });

  test('to a channel that there is not are refused, without harm to the others', async () => {
    const w = await world();
    const session = await w.open();
    const error = await thrownBy(session.subscribe(['ticker.NOTHING.raw', COUNTER, 'user.nothing'], () => {}));
    expect(error).toMatchObject({ code: 'ERR_NOT_ON_EXCHANGE' });
    const seen: unknown[] = [];
    await session.subscribe(COUNTER, ({ data }) => seen.push(data));
    await expect.poll(() => seen.length).toBeGreaterThan(1);
  });

  test('that the exchange leaves out of its answer are told apart', async () => {
    const w = await world({}, 'wallet:read');
    const session = await w.open({ scope: 'wallet:read' });
    const error = await thrownBy(session.subscribe('user.portfolio.btc', () => {}));
    expect(error).toMatchObject({ code: 'ERR_RPC', rpc: { code: 13021 } });
  });

  test('that are not given again after a cut are announced', async () => {
    const w = await world();
    const session = await w.open();
    const lost = all(session, 'unsubscribed');
    await session.subscribe(COUNTER, () => {});
    await session.subscribe('sandbox.counter.30ms', () => {});
    w.sandbox.addFault('error@private/subscribe:-32602x2');
    const back = next(session, 'reconnect');
    w.sandbox.dropConnections();
    await back;
    expect(lost).toMatchObject([{ channels: [COUNTER], error: { code: 'ERR_RPC' } }]);
  });

  test('survive an exchange that is busy, a cut, and a login that is not taken, while they are made', async () => {
    const w = await world();
    const session = await w.open();
    w.sandbox.addFault('error@private/subscribe:10028x2');
    const seen: unknown[] = [];
    await session.subscribe(COUNTER, ({ data }) => seen.push(data));
    w.sandbox.addFault('cut-after@private/subscribex1');
    await session.subscribe('sandbox.counter.30ms', ({ data }) => seen.push(data));
    w.sandbox.addFault('error@private/subscribe:13009x1');
    const back = next(session, 'reconnect');
    w.sandbox.dropConnections();
    expect((await back).attempts).toBe(2);
    const before = seen.length;
    await expect.poll(() => seen.length).toBeGreaterThan(before + 2);
  });

  test('can be ended while there is no connection, and are not restored then', async () => {
    const w = await world();
    const session = await w.open();
    const stop = await session.subscribe(COUNTER, () => {});
    const back = next(session, 'reconnect');
    void w.sandbox.restart(30);
    await next(session, 'disconnect');
    await stop();
    await back;
    expect(w.calls().filter((call) => call.includes('subscribe'))).toEqual(['private/subscribe ok']);
  });

  test('with a listener that throws go on, and its error is not hidden', async () => {
    const w = await world();
    const session = await w.open();
    const thrown: unknown[] = [];
    vi.stubGlobal('queueMicrotask', (callback: () => void) => {
      try {
        callback();
      } catch (error) {
        thrown.push(error);
      }
    });
    const seen: unknown[] = [];
    try {
      await session.subscribe(COUNTER, () => {
        throw new Error('mine');
      });
      await session.subscribe(COUNTER, ({ data }) => seen.push(data));
      await expect.poll(() => seen.length).toBeGreaterThan(1);
    } finally {
      await session.close();
      vi.unstubAllGlobals();
    }
    expect(thrown[0]).toMatchObject({ message: 'mine' });
  });
});
