import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Socket } from 'node:net';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { connect } from '../../../src/deribit/connect.js';
import { openWebSocket } from '../../../src/deribit/websocket-transport.js';
import { world } from '../../session/support.js';
import { failure, httpServer, reply, webSocketServer } from '../servers.js';

/** Everything on the diagnostics channel until the test ends. */
function diagnostics(): readonly Readonly<Record<string, unknown>>[] {
  const events: Readonly<Record<string, unknown>>[] = [];
  const listener = (event: unknown) => void events.push(event as Readonly<Record<string, unknown>>);
  subscribe('deribit-keys', listener);
  onTestFinished(() => void unsubscribe('deribit-keys', listener));
  return events;
}

describe('on Node.js', () => {
  it.each(['ws', 'http'] as const)('diagnostics over %s tell of requests and events, and of no secret', async (via) => {
    const events = diagnostics();
    const w = await world();
    const session = await w.open({ url: via === 'ws' ? w.sandbox.wsUrl : w.sandbox.httpUrl });
    const token = await session.accessToken();
    await session.request('private/get_account_summary', { currency: 'BTC', note: 'canary-parameter' });
    await session.close();
    const kinds = new Set(events.map(({ kind }) => kind));
    for (const kind of ['request', 'answer', 'session']) expect(kinds).toContain(kind);
    expect(events).toContainEqual(expect.objectContaining({ kind: 'session', event: 'login', reason: 'open' }));
    expect(events).toContainEqual(
      expect.objectContaining({ kind: 'answer', method: 'private/get_account_summary', outcome: 'ok' }),
    );
    const text = JSON.stringify(events);
    for (const secret of [token, 'canary-parameter', 'signature', 'equity']) expect(text).not.toContain(secret);
  });

  it.each(['ws', 'http'] as const)(
    'each address of a host is tried for seconds over %s, not for 250 ms',
    async (via) => {
      const connecting = vi.spyOn(Socket.prototype, 'connect');
      onTestFinished(() => connecting.mockRestore());
      const { endpoint } =
        via === 'ws'
          ? await webSocketServer((asked, socket) => socket.send(reply(asked, { result: 1 })))
          : await httpServer((body, _, response) => response.end(reply(JSON.parse(body), { result: 1 })));
      const attemptMs = async (timeoutMs: number) => {
        connecting.mockClear();
        const transport = await connect(endpoint, { timeoutMs });
        await transport.request('public/test', {}, { timeoutMs: 15_000 });
        await transport.close();
        const text = JSON.stringify(connecting.mock.calls);
        return Number(/"autoSelectFamilyAttemptTimeout":(\d+)/.exec(text)?.[1]);
      };
      expect(await attemptMs(15_000)).toBe(3_000);
      expect(await attemptMs(4_000)).toBe(2_000);
    },
  );

  it('nothing more is sent to an exchange that has stopped reading, so that memory stays bounded', async () => {
    const { endpoint } = await webSocketServer(
      () => {},
      (socket) => socket.pause(),
    );
    const transport = await openWebSocket(endpoint);
    const params = { padding: 'x'.repeat(30_000) };
    const pending: Promise<unknown>[] = [];
    let refusal: unknown = null;
    for (let i = 0; i < 2_000 && refusal === null; i += 1) {
      const request = transport.request('public/test', params);
      request.catch((error: unknown) => {
        refusal ??= error;
      });
      pending.push(request);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(refusal).toMatchObject({ code: 'ERR_NOT_SENT', maybeSent: false });
    await failure(transport.request('public/test', params), 'ERR_NOT_SENT');
    await Promise.all([transport.close(), Promise.allSettled(pending)]);
  });
});
