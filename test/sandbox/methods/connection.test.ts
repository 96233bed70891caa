import { describe, expect, it, onTestFinished } from 'vitest';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../../src/sandbox/index.js';
import { bootstrap, type Json, post, Socket, token } from '../client.js';

async function start(options: SandboxOptions = {}): Promise<Sandbox> {
  const sandbox = await startSandbox(options);
  onTestFinished(() => sandbox.close());
  return sandbox;
}

async function open(sandbox: Sandbox): Promise<Socket> {
  const socket = await Socket.open(sandbox);
  onTestFinished(() => socket.close());
  return socket;
}

describe('cancel on disconnect', () => {
  const order = { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'limit', price: 40_000 };
  const states = (sandbox: Sandbox) => sandbox.orders().map(({ order_state: state }) => state);
  async function placed(sandbox: Sandbox, ...before: readonly [string, Json?][]): Promise<Socket> {
    const socket = await open(sandbox);
    await socket.request('public/auth', bootstrap(sandbox));
    for (const [method, params] of before) expect((await socket.request(method, params))?.error).toBeUndefined();
    await socket.request('private/buy', order);
    return socket;
  }
  const ended = async (sandbox: Sandbox, socket: Socket) => {
    socket.close();
    await socket.closed();
    await post(sandbox, 'public/test');
  };

  it('is off: orders outlive their connection', async () => {
    const sandbox = await start();
    const socket = await placed(sandbox);
    expect((await socket.request('private/get_cancel_on_disconnect'))?.result).toEqual({
      scope: 'connection',
      enabled: false,
    });
    await ended(sandbox, socket);
    expect(states(sandbox)).toEqual(['open']);
  });

  it('of a connection cancels the orders that it placed, and no others', async () => {
    const sandbox = await start();
    await placed(sandbox);
    const socket = await placed(sandbox, ['private/enable_cancel_on_disconnect']);
    await ended(sandbox, socket);
    expect(states(sandbox)).toEqual(['open', 'cancelled']);
  });

  it('of an account holds for every connection that does not say otherwise', async () => {
    const sandbox = await start();
    const account = { scope: 'account' };
    const socket = await placed(sandbox, ['private/enable_cancel_on_disconnect', account]);
    expect((await socket.request('private/get_cancel_on_disconnect', account))?.result).toEqual({
      scope: 'account',
      enabled: true,
    });
    const other = await placed(sandbox, ['private/disable_cancel_on_disconnect']);
    await ended(sandbox, socket);
    await ended(sandbox, other);
    expect(states(sandbox)).toEqual(['cancelled', 'open']);
    const access = await token(sandbox);
    expect((await post(sandbox, 'private/disable_cancel_on_disconnect', account, access)).result).toBe('ok');
    expect((await post(sandbox, 'private/enable_cancel_on_disconnect', {}, access)).error?.code).toBe(10_030);
  });

  it('leaves orders open after a logout', async () => {
    const sandbox = await start();
    const socket = await placed(sandbox, ['private/enable_cancel_on_disconnect']);
    socket.send('private/logout');
    expect(await socket.closed()).toBe(1000);
    await post(sandbox, 'public/test');
    expect(states(sandbox)).toEqual(['open']);
  });
});
