import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openKeystore } from '../../../src/keystore/keystore.js';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { disableKeys, listForBrake } from '../../../src/workflows/account/emergency-brake.js';
import { type Desk, openDesk } from '../../support/desk.js';
import { openWorld, type World, withRequests } from '../../support/world.js';

const DISABLE = 'private/disable_api_key';
const LIST = 'private/list_api_keys';

let sandbox: Sandbox;
let desk: Desk;
beforeEach(async () => {
  sandbox = await startSandbox();
  desk = openDesk(sandbox);
  for (const name of ['bot', 'spare', 'old']) await desk.register(name, 'trade:read');
});
afterEach(() => sandbox.close());

const brake = () => desk.run(['api-keys', 'disable', '--all-but', sandbox.clientId, '--yes']);
const enabled = () => sandbox.keys().filter((key) => key.enabled && key.client_id !== sandbox.clientId);

describe('the emergency brake', () => {
  it('disables every other key', async () => {
    const result = await brake();
    expect(result.exitCode).toBe(0);
    expect(result.json<{ error: unknown; enabled: boolean }[]>()).toMatchObject(
      Array.from({ length: 3 }, () => ({ error: null, enabled: false })),
    );
    expect(enabled()).toEqual([]);
  });

  it('does so while another process holds the lock of a key', async () => {
    const store = openKeystore(desk.folder);
    await store.withLock('bot', async () => {
      expect((await brake()).exitCode).toBe(0);
    });
    expect(enabled()).toEqual([]);
  });

  it('does so where the audit log cannot be written, and tells of no failure', async () => {
    const log = join(desk.folder, 'audit.jsonl');
    rmSync(log);
    mkdirSync(log);
    const result = await brake();
    expect(result.exitCode).toBe(0);
    expect(result.json<{ error: unknown }[]>().every(({ error }) => error === null)).toBe(true);
    expect(enabled()).toEqual([]);
  });

  it.each(['error', 'cut-before', 'cut-after', 'garbage', 'drop-answer'])(
    'continues after a failure (%s) and tells what is true at the end',
    async (fault) => {
      sandbox.setFaults([`${fault}@${DISABLE}${fault === 'error' ? ':13403' : ''}+1x1`]);
      const result = await desk.run([
        'api-keys',
        'disable',
        '--all-but',
        sandbox.clientId,
        '--yes',
        '--timeout',
        '500',
      ]);
      const left = enabled();
      expect(left).toHaveLength(fault === 'error' ? 1 : 0);
      expect(result.exitCode).toBe(fault === 'error' ? 5 : 0);
      const told = result.json<{ clientId: string; enabled: boolean; error: unknown }[]>();
      expect(told.filter((key) => key.error !== null).map((key) => key.clientId)).toEqual(
        left.map((key) => key.client_id),
      );
      expect(told.filter((key) => key.enabled).map((key) => key.clientId)).toEqual(left.map((key) => key.client_id));
    },
  );

  it('needs nothing of a key but its id', async () => {
    const world: World = await openWorld('http');
    await world.register();
    world.sandbox.addKey({ name: 'odd' });
    const context = withRequests(world.context, async (method, send) => {
      const result = await send();
      if (method !== LIST) return result;
      const odd = {
        timestamp: undefined,
        enabled_features: null,
        ip_whitelist: 'x',
        max_scope: {},
        client_secret: 5,
      };
      return [...(result as { name: string }[]).map((key) => (key.name === 'odd' ? { ...key, ...odd } : key)), null];
    });
    const { keys, unreadable } = await listForBrake(context, world.login);
    expect(unreadable).toBe(1);
    const results = await disableKeys(
      context,
      world.login,
      keys.filter((key) => !key.marks.includes('login')),
    );
    expect(results.map(({ error }) => error)).toEqual([null, null]);
    expect(world.keys().filter((key) => key.enabled)).toEqual([]);
  });
});
