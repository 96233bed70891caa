import { describe, expect, test } from 'vitest';
import type { Transport } from '../../src/deribit/transport.js';
import type { WebSocketTransport } from '../../src/deribit/websocket-transport.js';
import { DeribitKeysError } from '../../src/errors.js';
import { Heartbeat } from '../../src/session/connection.js';
import { Cancellation } from '../../src/session/time.js';
import { FakeTime, settled } from '../support/fake-time.js';

function asking(answer: (method: string) => Promise<unknown>): Transport {
  return { kind: 'http', url: 'http://127.0.0.1/api/v2', request: answer, close: async () => {} };
}

describe('the heartbeat of a connection', () => {
  function watched(answers: (method: string) => Promise<unknown>) {
    const asked: string[] = [];
    let isClosed = false;
    const transport = {
      ...asking((method) => {
        asked.push(method);
        return answers(method);
      }),
      close: async () => {
        isClosed = true;
      },
    } as unknown as WebSocketTransport;
    const time = new FakeTime();
    const stop = new Cancellation();
    const watch = new Heartbeat(transport, 10, time);
    const running = watch.run(stop);
    return { asked, watch, time, stop, running, isClosed: () => isClosed };
  }

  test('asks for heartbeats, answers test requests, and leaves a connection alone that speaks', async () => {
    const { asked, watch, time, stop, running, isClosed } = watched(async () => 'ok');
    await settled();
    for (let i = 0; i < 6; i += 1) {
      await time.advance(10_000);
      watch.heard();
      watch.answer({ method: 'heartbeat', params: { type: i % 2 === 0 ? 'test_request' : 'heartbeat' } });
    }
    expect(asked).toEqual(['public/set_heartbeat', 'public/test', 'public/test', 'public/test']);
    stop.fire();
    await running;
    expect(isClosed()).toBe(false);
    expect(time.pending).toBe(0);
  });

  test('asks where nothing is heard, and closes where nothing is answered', async () => {
    let isAlive = true;
    const dead = new DeribitKeysError('ERR_TIMEOUT', 'no answer');
    const { asked, time, running, isClosed } = watched(async () => {
      if (!isAlive) throw dead;
      return 'ok';
    });
    await time.advance(15_000);
    expect(asked).toEqual(['public/set_heartbeat', 'public/test']);
    isAlive = false;
    await time.advance(15_000);
    await running;
    expect(asked).toHaveLength(3);
    expect(isClosed()).toBe(true);
  });

  test('takes a refusal for a sign of life, and asks for heartbeats again', async () => {
    const busy = new DeribitKeysError('ERR_RPC', 'busy', { rpc: { code: 10028, message: 'too_many_requests' } });
    const { asked, time, stop, running, isClosed } = watched(() => Promise.reject(busy));
    await time.advance(30_000);
    expect(asked).toEqual([
      'public/set_heartbeat',
      'public/set_heartbeat',
      'public/test',
      'public/set_heartbeat',
      'public/test',
    ]);
    stop.fire();
    await running;
    expect(isClosed()).toBe(false);
  });
});
