import { describe, expect, test } from 'vitest';
import { openHttp } from '../../src/deribit/http-transport.js';
import { systemTime } from '../../src/session/time.js';
import { thrownBy, until } from '../support/outcomes.js';
import { next, type World, world } from './support.js';

const SUMMARY = ['private/get_account_summary', { currency: 'BTC' }] as const;
const BUY = ['private/buy', { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'market' }] as const;
const logins = (w: World) => w.calls().filter((call) => call.startsWith('public/auth'));
const open = (w: World, options: Parameters<World['open']>[0] = {}) => w.open({ url: w.sandbox.httpUrl, ...options });

/** A clock that moves on together with the one of the exchange. */
function movable(w: World) {
  let aheadMs = 0;
  return {
    time: { ...systemTime, nowMs: () => Date.now() + aheadMs },
    pass(ms: number): void {
      aheadMs += ms;
      w.sandbox.setFaults([`clock:${aheadMs}`]);
    },
  };
}

describe('a session over HTTP', () => {
  test('logs in once, sends its token with private requests only, and emits an event', async () => {
    const w = await world();
    const sent: string[] = [];
    const session = await open(w, {
      connectHttp: async (endpoint, options) => {
        const transport = openHttp(endpoint, options);
        return {
          ...transport,
          kind: 'http',
          url: transport.url,
          close: () => transport.close(),
          request: (method, params, more) => {
            sent.push(`${method} ${more?.accessToken === undefined ? 'bare' : 'with token'}`);
            return transport.request(method, params, more);
          },
        };
      },
    });
    expect(session.kind).toBe('http');
    await Promise.all([session.request(...SUMMARY), session.request('public/status'), session.accessToken()]);
    expect(sent.sort()).toEqual([
      'private/get_account_summary with token',
      'public/auth bare',
      'public/get_time bare',
      'public/status bare',
    ]);
    expect(await thrownBy(session.subscribe('ticker.BTC-PERPETUAL.raw', () => {}))).toMatchObject({
      code: 'ERR_USAGE',
    });
    expect(await thrownBy(session.request('public/auth'))).toMatchObject({ code: 'ERR_USAGE' });
    const off = () => {};
    session.on('closed', off);
    session.off('closed', off);
  });

  test('renews its token in passing, and waits for that only when it is about to expire', async () => {
    const w = await world({ expiresInS: 1_000 });
    const { time, pass } = movable(w);
    const session = await open(w, { time });
    const first = await session.accessToken();
    const refreshed = next(session, 'refresh');
    pass(850_000);
    await session.accessToken();
    await refreshed;
    expect(await session.accessToken()).not.toBe(first);
    pass(970_000);
    w.sandbox.addFault('refuse-refresh');
    const { equity } = await session.request<{ readonly equity: number }>(...SUMMARY);
    expect(equity).toBeGreaterThan(0);
    expect(logins(w)).toEqual(['public/auth ok', 'public/auth ok', 'public/auth 13009', 'public/auth ok']);
  });

  test('signs anew for a token that has long expired, or that the clocks say has', async () => {
    const w = await world();
    const { time, pass } = movable(w);
    const session = await open(w, { time });
    pass(3_600_000);
    await session.request(...SUMMARY);
    expect(w.calls()).toEqual(['public/auth ok', 'public/auth ok', 'private/get_account_summary ok']);
  });

  test('replaces a token that is not taken any more, once for all who ask', async () => {
    const w = await world();
    const session = await open(w);
    w.sandbox.addFault('error@private/get_account_summary:13009x3');
    const answers = await Promise.all(Array.from({ length: 3 }, () => session.request(...SUMMARY)));
    expect(answers).toHaveLength(3);
    expect(logins(w)).toHaveLength(2);
  });

  test('ends where the new login is refused', async () => {
    const w = await world();
    const session = await open(w);
    w.sandbox.setFaults(['error@private/get_account_summary:13009', 'refuse-login']);
    const closed = next(session, 'closed');
    expect(await thrownBy(session.request(...SUMMARY))).toMatchObject({
      code: 'ERR_UNAUTHORIZED',
      rpc: { code: 13004 },
    });
    expect((await closed).error).toMatchObject({ code: 'ERR_UNAUTHORIZED' });
    expect(await thrownBy(session.accessToken())).toMatchObject({ code: 'ERR_UNAUTHORIZED', maybeSent: false });
    expect(await session.closed).toMatchObject({ code: 'ERR_UNAUTHORIZED' });
  });

  test('waits for an exchange that restarts, where a request was certainly not sent', async () => {
    const w = await world();
    const session = await open(w);
    const restarted = w.sandbox.restart(150);
    // the connection that was kept alive is seen to be closed
    await until(async () => (await thrownBy(fetch(w.sandbox.httpUrl))) instanceof Error);
    expect(await session.request(...BUY)).toMatchObject({ order: { order_state: 'filled' } });
    await restarted;
    expect(w.sandbox.orders()).toHaveLength(1);
  });

  test('sends no order a second time whose answer was lost', async () => {
    const w = await world();
    const session = await open(w);
    w.sandbox.addFault('cut-after@private/buyx1');
    expect(await thrownBy(session.request(...BUY))).toMatchObject({ code: 'ERR_OUTCOME_UNKNOWN', maybeSent: true });
    expect(w.sandbox.orders()).toHaveLength(1);
  });

  test('says that a request was not sent where its token cannot be renewed', async () => {
    const w = await world({ expiresInS: 1_000 });
    const { time, pass } = movable(w);
    const session = await open(w, { time });
    pass(1_000_000);
    w.sandbox.addFault('error@public/auth:11051');
    expect(await thrownBy(session.request(...BUY))).toMatchObject({
      code: 'ERR_RPC',
      rpc: { code: 11051 },
      maybeSent: false,
    });
    expect(w.sandbox.orders()).toEqual([]);
  });

  test('waits at its opening for an exchange that is busy, and corrects a wrong clock', async () => {
    const w = await world({ faults: ['error@public/auth:10028x2', 'clock:-600000'] });
    const session = await open(w);
    const { offsetMs } = await next(session, 'clock');
    expect(Math.abs(offsetMs + 600_000)).toBeLessThan(5_000);
    expect(session.clockOffsetMs).toBe(offsetMs);
    expect(logins(w)).toEqual(['public/auth 10028', 'public/auth 10028', 'public/auth ok']);
  });

  test('fails at once where it is refused or there is nobody, and after a while where it stays busy', async () => {
    const [w, other] = await Promise.all([world(), world()]);
    expect(await thrownBy(open(w, { signer: other.signer }))).toMatchObject({ code: 'ERR_UNAUTHORIZED' });
    w.sandbox.addFault('error@public/auth:11051');
    expect(await thrownBy(open(w, { openWithinMs: 50 }))).toMatchObject({ rpc: { code: 11051 } });
    await w.sandbox.close();
    expect(await thrownBy(open(w))).toMatchObject({ code: 'ERR_NETWORK', maybeSent: false });
  });

  test('ends with the wrong environment, by a signal, and by close', async () => {
    const w = await world();
    const first = await open(w);
    w.sandbox.addFault('wrong-testnet@private/buyx1');
    expect(await thrownBy(first.request(...BUY))).toMatchObject({ code: 'ERR_WRONG_ENVIRONMENT' });
    expect(await first.closed).toMatchObject({ code: 'ERR_WRONG_ENVIRONMENT' });

    expect(await thrownBy(open(w, { signal: AbortSignal.abort() }))).toMatchObject({ code: 'ERR_INTERRUPTED' });
    w.sandbox.addFault('silent@public/authx1');
    expect(await thrownBy(open(w, { signal: AbortSignal.timeout(30) }))).toMatchObject({ code: 'ERR_INTERRUPTED' });
    const stop = new AbortController();
    const second = await open(w, { signal: stop.signal });
    stop.abort();
    expect(await second.closed).toBeNull();

    const third = await open(w);
    w.sandbox.addFault('silent@private/get_account_summaryx1');
    const waiting = thrownBy(third.request(...SUMMARY));
    await expect.poll(() => w.calls()).toContain('private/get_account_summary silent');
    await Promise.all([third.close(), third.close()]);
    expect(await waiting).toMatchObject({ maybeSent: true });
    expect(await thrownBy(third.request(...SUMMARY))).toMatchObject({
      code: 'ERR_CONNECTION_CLOSED',
      maybeSent: false,
    });
  });
});
