import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { bootstrap, ed25519, type Json, post, Socket } from '../client.js';

let sandbox: Sandbox;
let socket: Socket;
beforeEach(async () => {
  sandbox = await startSandbox({ faultApi: true });
  socket = await Socket.open(sandbox);
  await socket.request('public/auth', bootstrap(sandbox));
});
afterEach(async () => {
  socket.close();
  await sandbox.close();
});

describe('the fault API', () => {
  it('is not there unless it is asked for', async () => {
    const plain = await startSandbox();
    expect((await post(plain, 'sandbox/calls')).error?.code).toBe(-32_601);
    await plain.close();
  });

  it('does what the options do, and no fault strikes it', async () => {
    expect((await post(sandbox, 'sandbox/set_faults', { faults: ['cut-before'] })).result).toBe('ok');
    expect((await post(sandbox, 'sandbox/set_faults', { faults: ['error@public/test:10040'] })).result).toBe('ok');
    expect((await post(sandbox, 'sandbox/add_fault', { fault: 'wrong-testnet' })).result).toBe('ok');
    expect(await post(sandbox, 'public/test')).toMatchObject({ error: { code: 10_040 }, testnet: false });
    expect((await post(sandbox, 'sandbox/add_fault', { fault: 'x' })).error?.data).toMatchObject({ param: 'fault' });
    expect((await post(sandbox, 'sandbox/clear_faults')).result).toBe('ok');
    expect((await post(sandbox, 'public/test')).error).toBeUndefined();
    const calls = (await post(sandbox, 'sandbox/calls')).result as readonly Json[];
    expect(calls.filter(({ method }) => method === 'public/test').map(({ outcome }) => outcome)).toEqual([
      '10040',
      'ok',
    ]);
    expect((await post(sandbox, 'sandbox/orders')).result).toEqual([]);
    const made = await post(sandbox, 'sandbox/add_key', {
      public_key: ed25519().pem,
      max_scope: 'trade:read',
      name: 'w',
      account_id: sandbox.accountIds[1],
    });
    expect(made.result).toMatchObject({ name: 'w', max_scope: 'trade:read' });
    expect((await post(sandbox, 'sandbox/add_key', {})).result).toMatchObject({ name: '' });
    expect((await post(sandbox, 'sandbox/add_key', { public_key: 'x' })).error?.code).toBe(-32_602);
  });

  it('is refused as an option where it cannot be read', async () => {
    await expect(startSandbox({ faults: ['x'] })).rejects.toMatchObject({ code: 'ERR_USAGE' });
    sandbox.addFault('error@public/test:13028x1');
    expect((await post(sandbox, 'public/test')).error).toMatchObject({ message: 'temporarily_unavailable' });
  });

  it('drops connections and restarts, after it has answered', async () => {
    expect((await post(sandbox, 'sandbox/drop_connections')).result).toBe('ok');
    expect(await socket.closed()).toBe(1006);
    const other = await Socket.open(sandbox);
    expect((await other.request('sandbox/restart', { down_ms: -1 }))?.error?.code).toBe(-32_602);
    expect((await other.request('sandbox/restart', { down_ms: 1 }))?.result).toBe('ok');
    expect(await other.closed()).toBe(1006);
    await sandbox.restart();
    expect((await post(sandbox, 'public/test')).error).toBeUndefined();
  });
});
